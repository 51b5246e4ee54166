"""What another catalogue would change in prices: models that come and go, and for each upstream what costs what from when.

Two price lists are compared at every moment at which one of them changes, so it does not matter how each is divided into
rows: what is told is what callers would be charged otherwise, and what providers are said to charge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import pairwise

from billing.price_book import PriceBook
from billing.pricing import PLAIN_RULE, Price, Rates, Schedule, price_at
from providers.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class RateChange:
    """One rate that is another: None where there is no such rule on that side."""

    schedule: str
    """``price``, what we sell at, or ``cost``, what the provider charges."""
    rule: str
    kind: str
    old: int | None
    new: int | None

    @property
    def percent(self) -> str | None:
        """By how much it changes, with one decimal; None where there is nothing to compare with."""
        if not self.old or self.new is None:
            return None
        return f"{Decimal(100 * (self.new - self.old)) / self.old:+.1f}"


@dataclass(frozen=True, slots=True)
class Period:
    """From when until when what is in force differs; ``until`` is None where it goes on."""

    since: datetime
    until: datetime | None
    old_version: str | None
    new_version: str | None
    changes: tuple[RateChange, ...]


@dataclass(frozen=True, slots=True)
class UpstreamChange:
    """An upstream whose prices differ."""

    upstream: str
    periods: tuple[Period, ...]


@dataclass(frozen=True, slots=True)
class PriceChanges:
    """Everything that another catalogue would change in prices."""

    models_added: tuple[str, ...]
    models_removed: tuple[str, ...]
    upstreams_added: tuple[str, ...]
    upstreams_removed: tuple[str, ...]
    upstreams_changed: tuple[UpstreamChange, ...]


def compare(old: Catalogue, new: Catalogue) -> PriceChanges:
    """What ``new`` would change against ``old``."""
    before, after = old.price_book(), new.price_book()
    names, other = list(before), list(after)
    return PriceChanges(
        models_added=tuple(name for name in new.models if name not in old.models),
        models_removed=tuple(name for name in old.models if name not in new.models),
        upstreams_added=tuple(name for name in other if name not in names),
        upstreams_removed=tuple(name for name in names if name not in other),
        upstreams_changed=tuple(
            UpstreamChange(name, periods)
            for name in other
            if name in names and (periods := tuple(_periods(name, before, after)))
        ),
    )


def _periods(upstream: str, before: PriceBook, after: PriceBook) -> Iterator[Period]:
    old, new = before.prices_of(upstream), after.prices_of(upstream)
    moments: list[datetime | None] = [*sorted({price.effective_from for price in (*old, *new)}), None]
    for since, until in pairwise(moments):
        assert since is not None, "only the last is open"
        was, becomes = price_at(old, since), price_at(new, since)
        changes = tuple(_changes(was, becomes))
        if changes:
            yield Period(since, until, was.version if was else None, becomes.version if becomes else None, changes)


def _changes(was: Price | None, becomes: Price | None) -> Iterator[RateChange]:
    for schedule in ("price", "cost"):
        old, new = _rules(was, schedule), _rules(becomes, schedule)
        for rule in dict.fromkeys((*old, *new)):
            for kind in ("input", "cached_input", "cache_write", "output"):
                left = getattr(old[rule], kind) if rule in old else None
                right = getattr(new[rule], kind) if rule in new else None
                if left != right:
                    yield RateChange(schedule, rule, kind, left, right)


def _rules(price: Price | None, schedule: str) -> dict[str, Rates]:
    """The rates of a price by their rule; a window's days and holidays belong to it."""
    if price is None:
        return {}
    chosen = price.schedule if schedule == "price" else price.cost or price.schedule
    return dict(_named_rates(chosen))


def _named_rates(schedule: Schedule) -> Iterator[tuple[str, Rates]]:
    yield PLAIN_RULE, schedule.rates
    for tier in schedule.tiers:
        yield tier.rule, tier.rates
    for window in schedule.windows:
        days = ",".join(map(str, sorted(window.days)))
        holidays = ",".join(day.isoformat() for day in sorted(window.except_dates))
        yield f"{window.rule} on days {days}" + (f" except {holidays}" if holidays else ""), window.rates
