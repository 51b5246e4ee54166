"""Writes deploy/grafana.json: what an operator looks at, in four rows. `make dashboard` runs it; edit this file, not the JSON.

    python deploy/dashboard.py

A panel is a title, the unit of its axis, and queries with a legend each. A sentence under the title says what is normal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("grafana.json")
COLUMNS, WIDTH, HEIGHT = 3, 8, 7
SOURCE = {"type": "prometheus", "uid": "${source}"}
HERE = 'instance=~"$instance"'


def total(name: str, matchers: str = "", by: str = "") -> str:
    """How much of a counter there is per second, summed ``by`` some labels."""
    inside = ", ".join(part for part in (HERE, matchers) if part)
    grouping = f" by ({by}) " if by else ""
    return f"sum{grouping}(rate(findtoken_{name}{{{inside}}}[$__rate_interval]))"


def or_zero(query: str) -> str:
    """A sum without labels, 0 where nothing was ever counted."""
    return f"({query} or vector(0))"


def gained(name: str, by: str) -> str:
    """What a counter grew by in the time that is shown."""
    return f"sum by ({by}) (increase(findtoken_{name}{{{HERE}}}[$__range]))"


def quantile(share: float, name: str, by: str = "") -> str:
    """The value that so many observations of a histogram stay below."""
    grouping = ", ".join(part for part in ("le", by) if part)
    return f"histogram_quantile({share}, {total(name + '_bucket', by=grouping)})"


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture: ``queries`` are pairs of a query and the legend of its lines."""

    title: str
    says: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"


CALLS = total("requests_total")
FAILED = total("requests_total", 'code=~"5.."')
BROKEN_OFF = total("requests_total", 'code!~"5..", outcome=~"cut_by_provider|nothing_produced"')
SOLD = total("spend_usd_total", 'mode="standard"')
CHARGED = total("upstream_cost_usd_total")
ABSORBED = total("absorbed_usd_total")

OVERVIEW = (
    Panel(
        "Calls", "By status; 499 is a caller who left.", "reqps", ((total("requests_total", by="code"), "{{code}}"),)
    ),
    Panel(
        "Calls that fail",
        "The share that ends with 5xx or is broken off by a provider. One in a thousand is the objective.",
        "percentunit",
        ((f"{or_zero(FAILED)} / {CALLS}", "5xx"), (f"{or_zero(BROKEN_OFF)} / {CALLS}", "broken off")),
    ),
    Panel(
        "How long calls take",
        "From the request's head to the end of the answer; streams take as long as they are.",
        "s",
        ((quantile(0.5, "request_seconds"), "half"), (quantile(0.95, "request_seconds"), "19 of 20")),
    ),
    Panel(
        "In flight",
        "Calls that wait or are answered, by gateway.",
        "short",
        ((f"findtoken_calls_in_flight{{{HERE}}}", "{{instance}}"),),
    ),
    Panel(
        "Refused at the door",
        "Over a limit, no capacity, or no HTTP.",
        "reqps",
        (
            (total("rate_limited_total"), "over a limit"),
            (total("shed_total", by="reason"), "no capacity: {{reason}}"),
            (total("turned_away_total", by="code"), "{{code}}"),
        ),
    ),
    Panel(
        "The books",
        "Jobs that wait for the ledger, by gateway; near zero.",
        "short",
        ((f"findtoken_ledger_queue_length{{{HERE}}}", "{{instance}}"),),
    ),
    Panel(
        "How long commits take",
        "A batch of holds and settlements, until it is durable.",
        "s",
        ((quantile(0.5, "ledger_commit_seconds"), "half"), (quantile(0.99, "ledger_commit_seconds"), "99 of 100")),
    ),
    Panel(
        "Alone, or behind",
        "Limits decided without Redis, log lines that nobody read, and spans that no collector took; all zero.",
        "ops",
        (
            (total("limits_local_total"), "without Redis"),
            (total("log_lines_dropped_total"), "log lines lost"),
            (total("spans_dropped_total"), "spans lost"),
        ),
    ),
    Panel(
        "What runs",
        "Versions, and gateways whose newest configuration is in force.",
        "short",
        (
            (f"count by (version) (findtoken_build_info{{{HERE}}})", "{{version}}"),
            (f"sum(findtoken_config_last_reload_successful{{{HERE}}})", "configuration in force"),
            (or_zero(total("config_reloads_total")), "reloads per second"),
        ),
    ),
)

PROVIDERS = (
    Panel(
        "Up",
        "0 while a circuit of the provider is open.",
        "short",
        ((f"min by (provider) (findtoken_provider_up{{{HERE}}})", "{{provider}}"),),
    ),
    Panel(
        "Open circuits",
        "1 for an upstream that is left alone now.",
        "short",
        (
            (
                f"max by (provider, upstream_model) (findtoken_circuit_state{{{HERE}}})",
                "{{provider}}/{{upstream_model}}",
            ),
        ),
    ),
    Panel(
        "Attempts",
        "By what came of them.",
        "reqps",
        ((total("upstream_attempts_total", by="provider, outcome"), "{{provider}}: {{outcome}}"),),
    ),
    Panel(
        "Failovers",
        "Calls that left this provider for the next candidate.",
        "reqps",
        ((total("failovers_total", by="provider"), "{{provider}}"),),
    ),
    Panel(
        "Retries",
        "Never more than a fifth of a provider's requests.",
        "reqps",
        ((total("retries_total", by="provider"), "{{provider}}"),),
    ),
    Panel(
        "How long attempts take",
        "19 of 20 are quicker.",
        "s",
        ((quantile(0.95, "upstream_seconds", "provider"), "{{provider}}"),),
    ),
    Panel(
        "What the gateway adds",
        "To a call, without the wait for providers.",
        "s",
        ((quantile(0.5, "overhead_seconds"), "half"), (quantile(0.99, "overhead_seconds"), "99 of 100")),
    ),
    Panel(
        "Free probes",
        "Of providers that no call tells of, and how many answered the last one.",
        "short",
        (
            (or_zero(total("probes_total")), "probes per second"),
            (or_zero(f"sum(findtoken_probe_up{{{HERE}}})"), "answered the last one"),
        ),
    ),
    Panel(
        "Unusable reports",
        "Values of usage that were no whole numbers in range; zero.",
        "ops",
        ((or_zero(total("usage_ignored_total")), "ignored"),),
    ),
)

MONEY = (
    Panel(
        "Left at providers",
        "On the operator's accounts, each in its own currency; pay in before it is nothing.",
        "short",
        ((f"min by (provider, currency) (findtoken_provider_wallet{{{HERE}}})", "{{provider}}, {{currency}}"),),
    ),
    Panel(
        "What accounts pay",
        "In the time shown, by provider.",
        "currencyUSD",
        ((gained("spend_usd_total", "provider"), "{{provider}}"),),
        "bargauge",
    ),
    Panel(
        "What providers charge",
        "In the time shown, failed attempts included.",
        "currencyUSD",
        ((gained("upstream_cost_usd_total", "provider"), "{{provider}}"),),
        "bargauge",
    ),
    Panel(
        "Margin",
        "What is left per hour between the two, on standard calls.",
        "currencyUSD",
        (
            (
                f"3600 * ({SOLD} - {CHARGED})",
                "USD per hour",
            ),
        ),
    ),
    Panel(
        "Absorbed",
        "What calls cost beyond their holds, per hour. Not zero means a provider that ignores limits.",
        "currencyUSD",
        ((f"3600 * {or_zero(ABSORBED)}", "USD per hour"),),
    ),
    Panel("Held", "For calls in flight.", "currencyUSD", ((f"max(findtoken_holds_usd{{{HERE}}})", "held"),)),
    Panel(
        "Recharges",
        "What was credited for payments, and payments that differ from what was asked for.",
        "currencyUSD",
        (
            (f"sum(increase(findtoken_recharges_usd_total{{{HERE}}}[$__range]))", "credited"),
            (f"sum(increase(findtoken_recharge_differences_total{{{HERE}}}[$__range]))", "differences"),
        ),
        "stat",
    ),
    Panel(
        "Webhooks",
        "Of Stripe, by what became of them.",
        "reqps",
        ((total("webhooks_total", by="type, outcome"), "{{type}}: {{outcome}}"),),
    ),
    Panel("Mails", "Sent, to be sent again, given up.", "ops", ((or_zero(total("mails_total")), "mails"),)),
    Panel("Tokens", "By kind.", "short", ((total("tokens_total", by="kind"), "{{kind}}"),)),
)

STREAMS = (
    Panel("Open streams", "By gateway.", "short", ((f"findtoken_streams_open{{{HERE}}}", "{{instance}}"),)),
    Panel(
        "Until the first token",
        "19 of 20 are quicker.",
        "s",
        ((quantile(0.95, "time_to_first_token_seconds", "model"), "{{model}}"),),
    ),
    Panel(
        "How streams and answers end",
        "Those that were begun.",
        "reqps",
        ((total("requests_total", 'outcome!~"refused|failed"', "outcome"), "{{outcome}}"),),
    ),
    Panel(
        "Callers who left", "Before their answer was complete.", "reqps", ((total("client_disconnects_total"), "left"),)
    ),
)

ROWS = (("Overview", OVERVIEW), ("Providers", PROVIDERS), ("Money", MONEY), ("Streams", STREAMS))


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    return {
        "uid": "find-token",
        "title": "find-token",
        "tags": ["find-token"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_source(), _instance()]},
        "panels": list(_panels()),
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _instance() -> dict[str, Any]:
    return {
        "name": "instance",
        "label": "Gateway",
        "type": "query",
        "datasource": SOURCE,
        "query": "label_values(findtoken_build_info, instance)",
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def _panels() -> Iterator[dict[str, Any]]:
    """Rows and panels with their places, three panels beside each other."""
    number, top = 0, 0
    for title, panels in ROWS:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "gridPos": {"x": 0, "y": top, "w": 24, "h": 1},
            "panels": [],
        }
        top += 1
        for place, panel in enumerate(panels):
            number += 1
            line, column = divmod(place, COLUMNS)
            grid = {"x": column * WIDTH, "y": top + line * HEIGHT, "w": WIDTH, "h": HEIGHT}
            yield {"id": number, "gridPos": grid, **_panel(panel)}
        top += -(-len(panels) // COLUMNS) * HEIGHT


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": SOURCE,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0 if panel.title != "Margin" else None},
            "overrides": [],
        },
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query, "legendFormat": legend}
            for index, (query, legend) in enumerate(panel.queries)
        ],
    }


def as_text() -> str:
    """The file's text."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(as_text(), encoding="utf-8")
