"""`find-token status`: circuits, what is in flight and the ledger's queue of the gateway that runs, read from its metrics.

From the metrics and from nowhere else: with several workers their page is one, and what is shown is what is alerted on.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any, Final

import click

from billing.money import UNITS_PER_USD, format_usd
from proxy.command_line import Command, CommandFailed, Options, answer_with
from proxy.opening import load

WAIT_SECONDS: Final = 10
Samples = list[tuple[str, dict[str, str], float]]
"""Name without our prefix, labels, value."""


@click.command(cls=Command)
@click.pass_obj
def status(options: Options) -> None:
    """What the running gateway says of its circuits, the calls in flight and its ledger."""
    answer = status_from(_samples(options))
    answer_with(options, answer, status_as_text(answer))


def status_from(samples: Samples) -> dict[str, Any]:
    """The figures of a metrics page that tell how a gateway is."""
    single = {name: value for name, labels, value in samples if not labels}
    attempts: dict[str, list[float]] = {}
    for name, labels, value in samples:
        if name == "upstream_attempts_total":
            counts = attempts.setdefault(labels["provider"], [0, 0])
            counts[0] += value
            counts[1] += value if labels["outcome"] == "served" else 0
    up = {labels["provider"]: value == 1 for name, labels, value in samples if name == "provider_up"}
    probed = {labels["provider"]: value == 1 for name, labels, value in samples if name == "probe_up"}
    held = single.get("holds_usd", float("nan"))
    return {
        "version": next((labels["version"] for name, labels, _ in samples if name == "build_info"), None),
        "calls_in_flight": int(single.get("calls_in_flight", 0)),
        "streams_open": int(single.get("streams_open", 0)),
        "ledger_queue": int(single.get("ledger_queue_length", 0)),
        "held_usd": format_usd(round(held * UNITS_PER_USD))
        if held == held
        else None,  # NaN: the books cannot be reached.
        "providers": [
            {
                "provider": provider,
                "up": up.get(provider, True),
                "attempts": int(attempts.get(provider, [0, 0])[0]),
                "served": int(attempts.get(provider, [0, 0])[1]),
                "probe": {True: "answered", False: "failed", None: None}[probed.get(provider)],
            }
            for provider in [*up, *(name for name in probed if name not in up)]
        ],
        "circuits": [
            {**labels, "state": "open" if value else "closed"}
            for name, labels, value in samples
            if name == "circuit_state"
        ],
    }


def status_as_text(answer: dict[str, Any]) -> str:
    """One fact a line; circuits that are closed are only counted."""
    circuits = answer["circuits"]
    away = [f"{one['provider']}/{one['upstream_model']}" for one in circuits if one["state"] == "open"]
    lines = [
        f"find-token {answer['version']}",
        f"in flight: {answer['calls_in_flight']} calls, {answer['streams_open']} of them streams that have begun",
        f"ledger: {answer['ledger_queue']} jobs waiting, {answer['held_usd'] or 'unknown'} USD held",
        *(
            f"{one['provider']}: {'up' if one['up'] else 'DOWN'}, {one['served']} of {one['attempts']} attempts served"
            + (f", the last free probe {'was ' * (one['probe'] == 'answered')}{one['probe']}" if one["probe"] else "")
            for one in answer["providers"]
        ),
        f"circuits: {len(circuits) - len(away)} closed, {len(away)} open"
        + "".join(f"\n  open: {name}" for name in away),
    ]
    return "\n".join(lines)


def _samples(options: Options) -> Samples:
    """The metrics at the admin address that the settings name."""
    from prometheus_client.parser import text_string_to_metric_families

    from metrics.instruments import PREFIX
    from proxy.checks import parse_listen

    host, port = parse_listen(load(options).settings.server.admin_listen)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - an address that means all of them
    url = f"http://[{host}]:{port}/metrics" if ":" in host else f"http://{host}:{port}/metrics"
    try:
        with urllib.request.urlopen(url, timeout=WAIT_SECONDS) as response:  # noqa: S310 - the scheme is ours
            page = response.read().decode()
        families = list(text_string_to_metric_families(page))
    except urllib.error.HTTPError as error:
        raise CommandFailed(f"no gateway answers at {url}: status {error.code}") from error
    except (OSError, ValueError) as error:
        raise CommandFailed(f"no gateway answers at {url}: {getattr(error, 'reason', error)}") from error
    samples = [
        (sample.name.removeprefix(PREFIX), dict(sample.labels), sample.value)
        for family in families
        for sample in family.samples
        if sample.name.startswith(PREFIX)
    ]
    if not samples:
        raise CommandFailed(f"no gateway answers at {url}: its metrics are another program's")
    return samples
