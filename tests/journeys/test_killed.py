"""A gateway that is killed in the middle of its work leaves holds and nothing else; they are given back, and the books agree.

Real processes: `find-token serve` is killed with SIGKILL while calls of every kind are under way, and started again on the
same database, SQLite and PostgreSQL. Nobody waits for the dead to be believed dead: the sweep is told when it is.
"""

from __future__ import annotations

import asyncio
import importlib.resources
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from billing.matrix import Ending
from billing.money import UNITS_PER_USD
from providers.catalogue import load_shipped
from simulator.facts import KEYS, base_url
from storage.identifiers import now_microseconds
from storage.ledger import Ledger
from tests.journeys.books import Books
from tests.journeys.mix import (
    SECTIONS,
    Arrivals,
    Planned,
    Told,
    draw_seed,
    make,
    plan,
    settings_text,
    simulated_providers,
)

BEFORE, AFTER, LONG = 200, 100, 5
"""Calls of the mix for the first and the second process, and calls that the first one cannot have finished."""
ENDED_BEFORE_THE_KILL = 80
CREDIT = 100 * UNITS_PER_USD
SERVER = {"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0", "shutdown_seconds": 5}

StartCommand = Callable[..., AbstractContextManager[Any]]


async def test_the_holds_of_a_killed_gateway_are_given_back(
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., Any],
    start_command: StartCommand,
) -> None:
    """Whatever a caller was told stands in the books; after the sweep no hold is left and the audit passes."""
    seed = draw_seed()
    books = Books(database_url)
    keys = books.open_account(CREDIT, BEFORE + AFTER + LONG + 1)
    mixed = plan(seed, keys[: BEFORE + AFTER])
    endless = plan(seed, keys[BEFORE + AFTER :], BEFORE + AFTER, only="endless")
    async with simulated_providers() as simulator:
        arrivals = Arrivals(simulator)
        settings = _write_files(tmp_path, monkeypatch, database_url, simulator.url)
        with start_command(tmp_path, "serve", "--config", str(settings)) as first:
            told = await _make_until_killed(first, mixed[:BEFORE], endless[:LONG], arrivals)
            assert -signal.SIGKILL == await asyncio.to_thread(first.process.wait)
        killed_at = now_microseconds()
        orphans = set(books.holds())
        assert LONG <= len(orphans)
        assert (await asyncio.to_thread(command, "audit", "--config", settings))["ok"]

        with start_command(tmp_path, "serve", "--config", str(settings)) as second:
            living = asyncio.create_task(make(second.told["url"], endless[LONG:], arrivals))
            told += await make(second.told["url"], mixed[BEFORE:], arrivals)
            await _until_only_one_is_held(books, orphans)
            await _sweep(books, orphans, killed_at)
            assert 1 == len(books.holds()), "the call of the process that lives"
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
            await books.until_nothing_is_held()
            assert 0 == await asyncio.to_thread(second.stop)

    told += [Told(call, b"") for call in (*mixed, *endless) if call not in {one.planned for one in told}]
    books.prove_calls(told, arrivals, lost={call.number for call in (*mixed[:BEFORE], *endless[:LONG])})
    assert 0 < books.prove()
    assert orphans == {row.request_id for row in books.rows() if row.billing_outcome == Ending.GATEWAY_DIED.value}
    audited = await asyncio.to_thread(command, "audit", "--config", settings)
    print(f"{len(orphans)} holds given back, {len(books.rows())} lines of the log")
    assert (True, 0) == (audited["ok"], audited["summary"]["open_holds"])


def _write_files(folder: Path, monkeypatch: pytest.MonkeyPatch, database_url: str, simulator_url: str) -> Path:
    """What an operator has: the shipped catalogue at the simulator's addresses, keys in the environment, and settings."""
    catalogue = importlib.resources.files("providers").joinpath("catalogue.toml").read_text(encoding="utf-8")
    for name, provider in load_shipped()["providers"].items():
        assert 1 == catalogue.count(f'"{provider["base_url"]}"')
        catalogue = catalogue.replace(f'"{provider["base_url"]}"', f'"{base_url(simulator_url, name)}"')
        monkeypatch.setenv(f"{name.upper()}_API_KEY", KEYS[name])
    (folder / "catalogue.toml").write_text(catalogue)
    settings = folder / "find-token.toml"
    settings.write_text(
        'catalogue = "catalogue.toml"\n\n' + settings_text(database_url, server=SERVER, **SECTIONS), encoding="utf-8"
    )
    return settings


async def _make_until_killed(
    process: Any, mixed: list[Planned], endless: list[Planned], arrivals: Arrivals
) -> list[Told]:
    """Make the calls, and kill the process when so many have ended and the endless ones are under way."""
    under_way = asyncio.create_task(make(process.told["url"], endless, arrivals, concurrency=len(endless)))
    async with asyncio.timeout(20):
        while not all(arrivals[call.number] for call in endless):
            await asyncio.sleep(0.01)
    ended = 0

    def kill_in_the_middle(_told: Told) -> None:
        nonlocal ended
        ended += 1
        if ended == ENDED_BEFORE_THE_KILL:
            process.process.kill()

    told = await make(process.told["url"], mixed, arrivals, on_told=kill_in_the_middle)
    assert len(told) < len(mixed), "some calls were never made"
    return told + await under_way


async def _sweep(books: Books, orphans: set[str], killed_at: int) -> None:
    """As another process of the same gateway does it, at the moment at which whoever was silent since the kill is dead."""
    await books.database.start()
    try:
        ledger = Ledger(books.database, owner="another process")
        await ledger.heartbeat()
        assert [] == await ledger.sweep(killed_at), "a process that lived half a minute ago is not believed dead"
        assert orphans >= set(await ledger.sweep(killed_at, dead_after_seconds=0))
        assert [] == await ledger.sweep(killed_at, dead_after_seconds=0)
    finally:
        await books.database.close()
    assert orphans.isdisjoint(books.holds())


async def _until_only_one_is_held(books: Books, orphans: set[str]) -> None:
    """Besides the orphans: callers who leave are gone a little before their calls."""
    async with asyncio.timeout(15):
        while len(set(books.holds()) - orphans) != 1:
            await asyncio.sleep(0.02)
