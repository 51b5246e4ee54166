"""Promises of the operator's report: every sum is exact, and every amount stands with the provider it belongs to."""

from __future__ import annotations

import itertools
import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from storage.calls import AttemptRow, CallRow, insert_call
from storage.database import Database
from storage.ledger import Settlement
from storage.report import GROUPS, MICROSECONDS_PER_DAY, Figures, make_report

MakeSettlement = Callable[..., Settlement]
DAYS = 4
BREAKDOWNS = [by for size in (1, 2, 3) for by in itertools.permutations(GROUPS, size)]


def random_calls(
    source: random.Random, row: CallRow, attempt: AttemptRow
) -> Iterator[tuple[CallRow, list[AttemptRow]]]:
    """Calls of some days, of up to four attempts at several providers; of dead gateways and free ones too."""
    for number in range(source.randrange(30, 60)):
        attempts = [
            replace(
                attempt,
                number=place + 1,
                provider=source.choice(("alpha", "beta", "gamma")),
                model=source.choice(("one", "two")),
                upstream_cost=source.choice((0, 1, source.randrange(10**12))),
                borne_by=source.choice(("account", "operator", "nobody")),
            )
            for place in range(source.randrange(5))
        ]
        cost, fee, absorbed = source.randrange(10**12), source.randrange(10**10), source.choice((0, 7, 10**9))
        told = {"provider": attempts[-1].provider, "model": attempts[-1].model} if attempts else {}
        if not attempts:
            cost = fee = absorbed = 0
        edge = source.choice((0, MICROSECONDS_PER_DAY - 1, source.randrange(MICROSECONDS_PER_DAY)))
        yield (
            replace(
                row,
                request_id=f"req_{number}",
                created=source.randrange(20_000, 20_000 + DAYS) * MICROSECONDS_PER_DAY + edge,
                **{"provider": None, "model": None, **told},
                provider_cost=cost,
                fee=fee,
                cost=cost + fee,
                absorbed=absorbed,
            ),
            attempts,
        )


def by_hand(
    calls: list[tuple[CallRow, list[AttemptRow]]], by: tuple[str, ...]
) -> tuple[dict[tuple[Any, ...], Figures], Figures]:
    """The same sums, one amount after another."""
    sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * 7)
    for row, attempts in calls:
        for told, amounts in [
            (row, (1, 0, 0, row.cost, row.fee, row.absorbed, 0)),
            *((one, (0, 1, one.upstream_cost, 0, 0, 0, failed(one))) for one in attempts),
        ]:
            parts = {"day": row.created // MICROSECONDS_PER_DAY, "provider": told.provider, "model": told.model}
            for group in (tuple(parts[name] for name in by), ("total",)):
                sums[group] = [sum(pair) for pair in zip(sums[group], amounts, strict=True)]
    total = sums.pop(("total",), [0] * 7)
    return {group: Figures(*amounts) for group, amounts in sums.items()}, Figures(*total)


def failed(attempt: AttemptRow) -> int:
    """What of an attempt's cost no account pays."""
    return attempt.upstream_cost if attempt.borne_by == "operator" else 0


def test_every_breakdown_is_what_a_sum_by_hand_gives(database: Database, make_settlement: MakeSettlement) -> None:
    """Over calls drawn from a seed: lines and totals, for some days of all, to the last digit."""
    seed = int(os.environ.get("FIND_TOKEN_SEED") or random.SystemRandom().randrange(2**32))
    print(f"FIND_TOKEN_SEED={seed}")
    source = random.Random(seed)
    pattern = make_settlement("req", "account")
    calls = list(random_calls(source, pattern.row, pattern.attempts[0]))
    with database.session() as connection:
        for row, attempts in calls:
            insert_call(connection, row, attempts, balance_after=0)
    first, last = sorted(source.sample(range(20_000, 20_000 + DAYS), 2))
    since, until = first * MICROSECONDS_PER_DAY, (last + 1) * MICROSECONDS_PER_DAY
    chosen = [(row, attempts) for row, attempts in calls if since <= row.created < until]

    with database.session(snapshot=True) as connection:
        for by in BREAKDOWNS:
            made = make_report(connection, since, until, by)
            lines, totals = by_hand(chosen, by)
            assert lines == {line.group: line.figures for line in made.lines}
            assert (totals, False) == (made.totals, made.truncated)
            order = [[(part is not None, part) for part in line.group] for line in made.lines]
            assert sorted(order) == order


def test_a_call_at_two_providers_is_in_the_figures_of_both(database: Database, make_settlement: MakeSettlement) -> None:
    """Revenue stands with the provider that served, each attempt's cost with the one that was tried."""
    served = make_settlement("req_1", "account", 300, 16, model="two", provider="beta")
    attempt = served.attempts[0]
    tried = (
        replace(attempt, number=1, provider="alpha", model="one", upstream_cost=70, borne_by="operator"),
        replace(attempt, number=2, provider="beta", model="two", upstream_cost=300, borne_by="account"),
    )
    with database.session() as connection:
        insert_call(connection, served.row, tried, balance_after=0)
        made = make_report(connection, 0, 2_000_000, ("provider",))

    alpha, beta = made.lines
    assert (("alpha",), Figures(0, 1, 70, 0, 0, 0, 70), -70) == (alpha.group, alpha.figures, alpha.figures.margin)
    assert (("beta",), Figures(1, 1, 300, 316, 16, 0, 0), 16) == (beta.group, beta.figures, beta.figures.margin)
    assert Figures(1, 2, 370, 316, 16, 0, 70) == made.totals


def test_a_report_is_bounded(database: Database, make_settlement: MakeSettlement) -> None:
    """So many lines and no more, which is told; the totals count what is left out. Without any call all is zero."""
    with database.session() as connection:
        empty = make_report(connection, 0, 10**15, ("day",))
        for number in range(3):
            row = make_settlement(f"req_{number}", "account", 5, model=f"model {number}").row
            insert_call(connection, row, (), balance_after=0)
        made = make_report(connection, 0, 10**15, ("model",), limit=2)
        whole = make_report(connection, 0, 10**15, ("model",), limit=3)

    assert ((), False, Figures(0, 0, 0, 0, 0, 0, 0)) == (empty.lines, empty.truncated, empty.totals)
    assert (2, True, 15) == (len(made.lines), made.truncated, made.totals.revenue)
    assert (3, False) == (len(whole.lines), whole.truncated)


@pytest.mark.parametrize("by", [(), ("hour",), ("day", "day"), ("day; DROP TABLE call",)])
def test_what_no_report_is_broken_down_by(by: tuple[str, ...], database: Database) -> None:
    """Unknown names, none, or one twice: a mistake of the program, told before the database is asked."""
    with database.session(snapshot=True) as connection, pytest.raises(ValueError, match="broken down by"):
        make_report(connection, 0, 1, by)
