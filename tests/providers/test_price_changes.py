"""What another catalogue would change is told by what is in force when, however its rows are divided."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from providers.catalogue import Catalogue, build
from providers.price_changes import RateChange, compare

PLAIN = {"context": 100, "max_output": 10, "provider": "p"}
JANUARY, MARCH, JUNE = (datetime(2026, month, 1, tzinfo=UTC) for month in (1, 3, 6))


def row(since: datetime, input: str = "1", output: str = "2", **fields: Any) -> dict[str, Any]:
    """One price."""
    return {"from": since, "input": Decimal(input), "output": Decimal(output), **fields}


def catalogue(**models: list[dict[str, Any]]) -> Catalogue:
    """Models with these prices."""
    provider = {"dialect": "openai", "base_url": "https://example.com"}
    return build(
        {"providers": {"p": provider}, "models": {name: {**PLAIN, "prices": prices} for name, prices in models.items()}}
    )


def test_the_same_prices_change_nothing() -> None:
    """Nor does a further row that says the same, or the order of rows."""
    old = catalogue(m=[row(JANUARY), row(JUNE, "3")])
    new = catalogue(m=[row(JUNE, "3"), row(JANUARY), row(MARCH)])

    assert () == compare(old, new).upstreams_changed


def test_models_come_and_go() -> None:
    """With their upstreams."""
    changes = compare(catalogue(a=[row(JANUARY)], b=[row(JANUARY)]), catalogue(b=[row(JANUARY)], c=[row(JANUARY)]))

    assert (("c",), ("a",), ("c:p/c",), ("a:p/a",), ()) == (
        changes.models_added,
        changes.models_removed,
        changes.upstreams_added,
        changes.upstreams_removed,
        changes.upstreams_changed,
    )


def test_a_rate_that_changes_is_told_with_percent_and_period() -> None:
    """Cached and written tokens follow the input where they are not priced on their own; so does what it costs us."""
    changes = compare(
        catalogue(m=[row(JANUARY), row(JUNE, "3")]), catalogue(m=[row(JANUARY), row(MARCH, "1.25"), row(JUNE, "3")])
    )
    (change,) = changes.upstreams_changed
    (period,) = change.periods

    assert ("m:p/m", MARCH, JUNE, "m:p/m@2026-01-01", "m:p/m@2026-03-01") == (
        change.upstream,
        period.since,
        period.until,
        period.old_version,
        period.new_version,
    )
    assert ["input", "cached_input", "cache_write"] * 2 == [one.kind for one in period.changes]
    first = period.changes[0]
    assert ("price", "plain", 10**12, 1_250_000_000_000, "+25.0") == (
        first.schedule,
        first.rule,
        first.old,
        first.new,
        first.percent,
    )


def test_tiers_windows_and_costs_are_compared() -> None:
    """A rule that is there on one side only has no percentage; other holidays are another window."""
    window = {"days": [1, 2], "from": "01:00", "to": "04:00", "input": 5, "output": 5}
    tier = {"above_prompt_tokens": 50, "input": 1, "output": 2}
    cost = {"input": Decimal("0.5"), "output": 2}
    old = catalogue(m=[row(JANUARY, windows=[window], cost=cost)])
    new = catalogue(
        m=[row(JANUARY, windows=[{**window, "except_dates": ["2026-10-01"]}], tiers=[tier], cost={**cost, "output": 1})]
    )
    (period,) = compare(old, new).upstreams_changed[0].periods
    rules = {(one.schedule, one.rule) for one in period.changes}

    assert {
        ("price", "tier:50"),
        ("price", "window:01:00-04:00 on days 1,2"),
        ("price", "window:01:00-04:00 on days 1,2 except 2026-10-01"),
        ("cost", "plain"),
    } == rules
    assert period.until is None
    assert {None, "-50.0"} == {one.percent for one in period.changes}


def test_a_price_that_begins_on_one_side_is_told() -> None:
    """Before it there was none."""
    (period,) = compare(catalogue(m=[row(MARCH)]), catalogue(m=[row(JANUARY)])).upstreams_changed[0].periods

    assert (JANUARY, MARCH, None) == (period.since, period.until, period.old_version)
    assert {(None, None)} == {(one.old, one.percent) for one in period.changes}


def test_a_percentage_needs_something_to_compare_with() -> None:
    """Not nothing, and not free."""
    change = RateChange("price", "plain", "input", 200, 100)

    assert "-50.0" == change.percent
    assert replace(change, old=0).percent is None
    assert replace(change, new=None).percent is None
