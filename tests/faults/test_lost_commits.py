"""The connection to PostgreSQL is cut while a call is being settled: it is charged once, and nothing stays held.

A real gateway process reaches its database through a wire that the test cuts (tests/fakes/cutting_proxy.py): at the
statement that ends the hold, at the COMMIT before the server has it, and after the server has carried it out.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from billing.money import UNITS_PER_USD
from simulator.server import Running as Simulator
from storage.calls import CallRow
from tests.fakes.cutting_proxy import Cut, CuttingProxy
from tests.faults.processes import Running, answer, started, write_files
from tests.journeys.books import Books
from tests.journeys.mix import Arrivals, Planned, Told, draw_seed, make, plan_in_turn, simulated_providers

CREDIT = 10 * UNITS_PER_USD
SETTLING = b"DELETE FROM hold"
"""How the statement that ends a hold begins, and with it every settlement."""
HOLDING = b"INSERT INTO hold"
CUTS = {
    "at the statement": Cut(SETTLING),
    "before COMMIT": Cut(b"COMMIT", after=SETTLING),
    "after COMMIT": Cut(b"COMMIT", after=SETTLING, delivered=True),
}
ROUNDS = 60 if os.environ.get("FIND_TOKEN_EXAM") == "1" else 4
AWAY_SECONDS = (1.0, 13.0) if os.environ.get("FIND_TOKEN_EXAM") == "1" else (1.0,)
"""How long the database stays away; after ten seconds nobody waits for a settlement any more."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A gateway behind the wire, and who can see everything."""

    wire: CuttingProxy
    gateway: Running
    simulator: Simulator
    arrivals: Arrivals
    books: Books
    planned: Sequence[Planned]
    settings: Path

    async def make(self, *numbers: int) -> list[Told]:
        """Make these calls."""
        return await make(self.gateway.url, [self.planned[number] for number in numbers], self.arrivals)

    async def prove(self, told: Sequence[Told]) -> list[CallRow]:
        """Nothing is held, one line for each call, the books agree; returns the lines in the order of the calls."""
        await self.books.until_nothing_is_held()
        self.books.prove_calls(told, self.arrivals)
        self.books.prove()
        assert (await answer(self.settings.parent, "audit", "--config", str(self.settings)))["ok"]
        by_key = {row.key_id: row for row in self.books.rows()}
        return [by_key[one.planned.key_id] for one in told if one.planned.key_id in by_key]


@asynccontextmanager
async def scene(folder: Path, database_url: str, kinds: Sequence[str], calls: int) -> AsyncIterator[Scene]:
    """Everything started; the first call, of the first kind, is made and settled, so that every connection is open."""
    books = Books(database_url)
    planned = plan_in_turn(draw_seed(), books.open_account(CREDIT, calls), kinds)
    async with simulated_providers() as simulator, CuttingProxy(database_url) as wire:
        settings = write_files(folder, wire.url, simulator.url)
        async with started(folder, "serve", "--config", str(settings)) as gateway:
            yield Scene(wire, gateway, simulator, Arrivals(simulator), books, planned, settings)
            assert 0 == await gateway.stop(), gateway.log.read_text()


@pytest.mark.parametrize("place", list(CUTS))
async def test_a_settlement_whose_connection_is_cut_is_posted_once(
    postgres_database_url: str, tmp_path: Path, place: str
) -> None:
    """S-008, S-116: whether COMMIT reached the server or not: the caller has its answer, there is one charge, nothing is held;
    nobody pays for a call that no provider served."""
    async with scene(tmp_path, postgres_database_url, ["plain", "streamed", "hopeless", "byok plain"], ROUNDS) as stage:
        told: list[Told] = []
        for number in range(ROUNDS):
            stage.wire.cut_at(CUTS[place])
            told += await stage.make(number)
            await stage.wire.was_cut(number + 1)
        rows = await stage.prove(told)
    hopeless = [one.planned.name == "hopeless" for one in told]
    assert any(hopeless)
    assert hopeless == [one.status == 503 for one in told] == [one.status != 200 for one in told]
    assert (
        hopeless
        == [row.billing_outcome == "failed" for row in rows]
        == [row.billing_outcome != "complete" for row in rows]
    )
    assert [row.cost for row in rows] == [one.cost or 0 for one in told]
    assert [row.cost > 0 for row in rows] == [
        row.mode == "standard" and not failed for row, failed in zip(rows, hopeless, strict=True)
    ]


@pytest.mark.parametrize("delivered", [False, True], ids=["before COMMIT", "after COMMIT"])
async def test_a_hold_whose_commit_is_lost_is_given_back(
    postgres_database_url: str, tmp_path: Path, delivered: bool
) -> None:
    """S-116: nobody knows whether the hold stands: no provider is asked, the caller is told 503, and the money is free again."""
    async with scene(tmp_path, postgres_database_url, ["plain"], ROUNDS + 1) as stage:
        told: list[Told] = []
        for number in range(ROUNDS):
            stage.wire.cut_at(Cut(b"COMMIT", after=HOLDING, delivered=delivered))
            told += await stage.make(number)
            await stage.wire.was_cut(number + 1)
        await stage.books.until_nothing_is_held()
        assert [503] * ROUNDS == [one.status for one in told]
        assert [] == stage.books.rows()
        last = await stage.make(ROUNDS)
        await stage.prove(told + last)
    assert [200] == [one.status for one in last]


@pytest.mark.parametrize("away_seconds", AWAY_SECONDS)
async def test_a_delivered_stream_is_charged_when_the_database_is_back(
    postgres_database_url: str, tmp_path: Path, away_seconds: float
) -> None:
    """S-040: all of a stream has been delivered when the database goes away: its charge is posted once, and never forgotten."""
    async with scene(tmp_path, postgres_database_url, ["streamed"], 2) as stage:
        stage.wire.cut_at(Cut(SETTLING), stays_down=True)
        calling = asyncio.create_task(stage.make(0))
        await stage.wire.was_cut()
        await asyncio.sleep(away_seconds)
        assert 1 == len(stage.books.holds()), "the hold stands while nothing can be settled"
        stage.wire.restore()
        [told] = await calling
        await stage.books.until_nothing_is_held()
        again = await _until_served(stage)
        [row, _] = await stage.prove([told, *again])
    assert b'"finish_reason":"stop"' in told.received
    assert ("complete", 0) < (row.billing_outcome, row.cost)
    assert "complete" == row.billing_outcome
    if away_seconds < 10:
        assert row.cost == told.cost
        assert told.received.rstrip(b"\r\n0").endswith(b"data: [DONE]")
    else:
        assert b"[DONE]" not in told.received, "the last bytes leave only when the charge stands"


async def _until_served(stage: Scene) -> list[Told]:
    """The next call, as soon as the gateway has its database again."""
    [told] = await stage.make(1)
    assert 200 == told.status
    return [told]
