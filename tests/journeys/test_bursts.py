"""Bursts of calls on balances that are too small for them, over one process and over several: nothing is overspent.

Real processes on one database: `find-token serve` on SQLite, two of them on one file, three on one PostgreSQL. A caller
does not know which of them it speaks to. ``FIND_TOKEN_MIX_SEED=…`` draws the same balances and the same split again.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from billing.money import UNITS_PER_USD, Money, format_usd, parse_usd
from storage.accounts import create_account
from storage.audit import audit
from storage.calls import LARGEST_PAGE, CallRow, list_calls
from storage.database import Database, open_database
from storage.identifiers import now_microseconds
from storage.keys import create_key
from storage.ledger import Balance, find_balance, post_credit
from storage.migrating import migrate
from tests.faults.processes import PATIENT, started, write_files
from tests.journeys.mix import Arrivals, Told, draw_seed, make, plan_in_turn, simulated_providers

BURSTS, CALLS = (20, 200) if os.environ.get("FIND_TOKEN_EXAM") == "1" else (3, 60)
FIRST_NUMBER = 1000
"""All prompts have as many digits, so all calls hold the same."""


@pytest.mark.parametrize(("kind", "processes"), [("sqlite", 1), ("sqlite", 2), ("postgresql", 3)])
async def test_bursts_spend_what_there_is_and_no_more(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, processes: int
) -> None:
    """In each burst Σ costs ≤ credit, the balance is never below zero, providers see exactly the calls that were served,
    as many are served as are covered for sure, and all of them where the balance suffices for all."""
    database_url = request.getfixturevalue(f"{'postgres' if kind == 'postgresql' else kind}_database_url")
    source = random.Random(draw_seed())
    database = open_database(database_url)
    migrate(database)
    async with simulated_providers() as simulator, AsyncExitStack() as resources:
        settings = write_files(tmp_path, database_url, simulator.url, routing=PATIENT)
        urls = [
            (await resources.enter_async_context(started(tmp_path, "serve", "--config", str(settings)))).url
            for _ in range(processes)
        ]
        arrivals = Arrivals(simulator)
        hold = await find_hold(database, urls[0], arrivals)
        overspent = served = 0
        for number in range(BURSTS):
            # Every third balance suffices for all; of the others some do not suffice for one.
            covered = CALLS if number % 3 == 2 else source.randint(0, CALLS // 3)
            burst = Burst(database, FIRST_NUMBER + (number + 1) * CALLS, covered, hold)
            told = await burst.make(urls, arrivals, source)
            overspent += max(0, sum(row.cost for row in burst.rows()) - burst.credit)
            served += burst.prove(told, arrivals)
    with database.session(snapshot=True) as connection:
        assert [] == audit(connection)
    print(f"{kind} × {processes}: {BURSTS * CALLS} calls, {served} served, overspent {format_usd(overspent)} USD")
    assert 0 == overspent


class Burst:
    """Calls at once on an account of their own, which covers so many holds and a little more."""

    def __init__(self, database: Database, first: int, covered: int, hold: Money) -> None:
        self._database = database
        self._first = first
        self._covered = covered
        self.credit: Money = covered * hold + hold // 2
        self.account_id, self._key = open_account(database, f"burst-{first}", self.credit)
        self._lowest: list[Money] = []

    async def make(self, urls: Sequence[str], arrivals: Arrivals, source: random.Random) -> list[Told]:
        """All calls at once, each at one of the processes."""
        planned = plan_in_turn(self._first, [self._key] * CALLS, ["in a burst"], self._first)
        shares: dict[str, list[int]] = {url: [] for url in urls}
        for position in range(CALLS):
            shares[source.choice(urls)].append(position)
        async with self._watched():
            told = await asyncio.gather(
                *(
                    make(url, [planned[position] for position in share], arrivals, concurrency=len(share))
                    for url, share in shares.items()
                    if share
                )
            )
        return [one for share in told for one in share]

    def prove(self, told: Sequence[Told], arrivals: Arrivals) -> int:
        """What must be true of this burst; returns how many were served."""
        served = [one for one in told if one.status == 200]
        assert {one.planned.number for one in served} == {
            one.planned.number for one in told if arrivals[one.planned.number]
        }
        assert all(1 == arrivals[one.planned.number] for one in served)
        assert CALLS == len(told)
        assert {402} >= {one.status for one in told if one.status != 200}
        assert self._covered <= len(served), "a call was refused although the balance covered it"
        rows = {row.request_id: row.cost for row in self.rows()}
        assert rows == {one.request_id: one.cost for one in served}
        balance = self._balance()
        assert (self.credit - sum(rows.values()), 0) == (balance.balance, balance.held)
        assert 0 <= min(self._lowest)
        return len(served)

    def rows(self) -> list[CallRow]:
        """The billing log of the account."""
        with self._database.session(snapshot=True) as connection:
            rows, more = list_calls(connection, self.account_id, limit=LARGEST_PAGE)
        assert more is None
        return rows

    def _balance(self) -> Balance:
        with self._database.session(snapshot=True) as connection:
            return find_balance(connection, self.account_id)

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """Look again and again at the balance, and at what of it is not held."""

        async def watch() -> None:
            while True:
                balance = await asyncio.to_thread(self._balance)
                self._lowest += [balance.balance, balance.available]
                await asyncio.sleep(0.02)

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            await asyncio.sleep(0.1)
            assert not watching.done(), "the balance could be read all the time"
            watching.cancel()


def open_account(database: Database, name: str, credit: Money) -> tuple[str, tuple[str, str]]:
    """An account and a key of it."""
    with database.session() as connection:
        account = create_account(connection, f"{name}@example.com")
        if credit:
            now = now_microseconds()
            post_credit(connection, f"gift:{account.id}", account.id, credit, "promotion", "test", now)
        record, key = create_key(connection, account.id, "test", "sk-ft_")
    return account.id, (record.key_id, key)


async def find_hold(database: Database, url: str, arrivals: Arrivals) -> Money:
    """What a call holds, as a refusal of one on an empty account says."""
    _, key = open_account(database, "empty", 0)
    [told] = await make(url, plan_in_turn(0, [key], ["in a burst"], FIRST_NUMBER), arrivals)
    assert 402 == told.status
    hold = parse_usd(told.error["required_usd"])
    assert 0 < hold < UNITS_PER_USD
    return hold
