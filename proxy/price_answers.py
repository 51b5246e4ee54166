"""What the commands about prices answer: their JSON, and the same for reading."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from billing.money import format_usd
from billing.pricing import format_rate

if TYPE_CHECKING:  # only for annotations, so that asking for help waits for no database driver
    from providers.price_changes import Period, PriceChanges, RateChange
    from storage.recosting import Recosting
    from storage.rerating import Correction

LONGEST_LIST: Final = 1000
"""Calls that are named one by one; all are counted."""

_LISTS: Final = (
    ("models_added", "added: model {}"),
    ("models_removed", "removed: model {}"),
    ("upstreams_added", "added: {}"),
    ("upstreams_removed", "removed: {}"),
)


def changes_as_json(changes: PriceChanges) -> dict[str, Any]:
    """Rates as decimal strings, in USD per million tokens."""
    return {
        **{name: list(getattr(changes, name)) for name, _ in _LISTS},
        "upstreams_changed": [
            {"upstream": one.upstream, "periods": [_period_as_json(period) for period in one.periods]}
            for one in changes.upstreams_changed
        ],
    }


def _period_as_json(period: Period) -> dict[str, Any]:
    return {
        "from": period.since.isoformat(),
        "until": period.until.isoformat() if period.until is not None else None,
        "old_version": period.old_version,
        "new_version": period.new_version,
        "changes": [_change_as_json(change) for change in period.changes],
    }


def _change_as_json(change: RateChange) -> dict[str, Any]:
    return {
        "schedule": change.schedule,
        "rule": change.rule,
        "kind": change.kind,
        "old": None if change.old is None else format_rate(change.old),
        "new": None if change.new is None else format_rate(change.new),
        "percent": change.percent,
    }


def recosting_as_json(recosting: Recosting) -> dict[str, Any]:
    """By model, and all together."""
    models = recosting.models
    rows = {name: (one.calls, one.cost, one.new_cost) for name, one in sorted(models.items())}
    total = [sum(row[column] for row in rows.values()) for column in range(3)]
    return {
        "models": [{"model": name, **_costs(*row)} for name, row in rows.items()],
        "total": _costs(*total),
        "left_out": [{"reason": reason, "calls": count} for reason, count in sorted(recosting.left_out.items())],
    }


def _costs(calls: int, cost: int, new_cost: int) -> dict[str, Any]:
    amounts = {"cost": format_usd(cost), "new_cost": format_usd(new_cost), "difference": format_usd(new_cost - cost)}
    return {"calls": calls, **amounts}


def changes_as_text(answer: dict[str, Any]) -> str:
    """A line for each thing that changes."""
    lines = [sentence.format(name) for key, sentence in _LISTS for name in answer[key]]
    for one in answer["upstreams_changed"]:
        for period in one["periods"]:
            until = f" until {period['until']}" if period["until"] is not None else ""
            lines.append(f"changed: {one['upstream']} from {period['from']}{until}")
            lines += [_change_line(change) for change in period["changes"]]
    lines = lines or ["no price changes"]
    if "calls" in answer:
        calls = answer["calls"]
        lines.append(f"calls since {calls['since']}:")
        for row in (*calls["models"], {"model": "all", **calls["total"]}):
            lines.append(
                f"  {row['model']}: {row['calls']} calls, {row['cost']} -> {row['new_cost']} USD ({row['difference']})"
            )
        lines += [f"  left out: {row['calls']} calls, because {row['reason']}" for row in calls["left_out"]]
    return "\n".join(lines)


def _change_line(change: dict[str, Any]) -> str:
    old, new = (one if one is not None else "none" for one in (change["old"], change["new"]))
    percent = f" ({change['percent']} %)" if change["percent"] is not None else ""
    return f"  {change['schedule']} {change['rule']} {change['kind']}: {old} -> {new}{percent}"


def rerating_as_json(corrections: Iterable[Correction]) -> dict[str, Any]:
    """Counts and sums by what became of the calls; those that are not as they were are named, up to a limit."""
    from storage.rerating import OUTCOMES, UNCHANGED

    counts, sums = dict.fromkeys(OUTCOMES, 0), dict.fromkeys(OUTCOMES, 0)
    calls: list[dict[str, Any]] = []
    looked_at = 0
    for one in corrections:
        looked_at += 1
        if one.outcome == UNCHANGED:
            continue
        counts[one.outcome] += 1
        sums[one.outcome] += one.difference
        if len(calls) < LONGEST_LIST:
            calls.append(_correction_as_json(one))
    totals = {name: {"calls": counts[name], "difference": format_usd(sums[name])} for name in OUTCOMES}
    return {"looked_at": looked_at, **totals, "calls": calls, "truncated": sum(counts.values()) > len(calls)}


def _correction_as_json(one: Correction) -> dict[str, Any]:
    return {
        "request_id": one.request_id,
        "account_id": one.account_id,
        "outcome": one.outcome,
        "difference": format_usd(one.difference),
        "price_version": one.version or None,
        "reason": one.sentence or None,
    }


def rerating_as_text(answer: dict[str, Any]) -> str:
    """A line for each call that is not as it was, then the sums."""
    from storage.rerating import OUTCOMES

    lines = [
        f"{call['request_id']}  {call['outcome']:12}  {call['difference']:>14}  {call['reason'] or call['price_version']}"
        for call in answer["calls"]
    ]
    if answer["truncated"]:
        lines.append(f"… and more: only the first {LONGEST_LIST} are named")
    lines += [
        f"{name}: {answer[name]['calls']} calls, {answer[name]['difference']} USD"
        for name in OUTCOMES
        if answer[name]["calls"]
    ]
    lines.append(f"{answer['looked_at']} calls looked at" + (", nothing was written" if answer["dry_run"] else ""))
    return "\n".join(lines)
