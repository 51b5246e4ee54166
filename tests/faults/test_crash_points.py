"""A gateway that dies at any point of the money's way loses nothing and charges nobody twice.

For each point and each operation a real process serves calls of every kind and is killed by SIGKILL at that moment; the
installed command is started again on the same database. Ordinarily a few points are tried and nobody waits for the dead to
be believed dead; with FIND_TOKEN_EXAM=1 all of them, and the second process itself has to give back every hold within a
minute of its start.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from billing.money import UNITS_PER_USD, parse_usd
from simulator.server import Running as Simulator
from storage.audit import audit
from storage.database import open_database
from storage.identifiers import new_id, now_microseconds
from storage.ledger import Ledger, Purpose, place_hold
from storage.migrating import migrate, pending
from tests.faults.crash_points import CASES, COMMANDS, LEFT, NOBODY, POINTS, REFUSED
from tests.faults.load import CALLS, kinds_for, make_until_death
from tests.faults.processes import DYING, PATIENT, Running, answer, run, started, write_files
from tests.journeys.books import Books
from tests.journeys.mix import Arrivals, Planned, Told, draw_seed, make, plan_in_turn, simulated_providers

EXAM = os.environ.get("FIND_TOKEN_EXAM") == "1"
AT_ONCE = 8 if EXAM else 3
"""Gateways that are tried at the same time: in the exam most of them only wait."""
CREDIT = 100 * UNITS_PER_USD
AFTER = 16
"""Calls that the second process must serve."""
ORPHANS = 4
"""Holds that another process has left behind long ago."""
GIVEN_BACK_SECONDS = 60
WITHOUT_GATEWAY = (*COMMANDS, "migrate")

CHOSEN = {
    "sqlite": (
        ("hold:after-commit", "streamed"),
        ("attempt:request-sent", "plain"),
        ("stream:midway", "streamed"),
        ("answer:whole", "byok"),
        ("settle:before-commit", "plain"),
        ("settle:after-commit", "streamed"),
        ("answer:before-last-bytes", "plain"),
        ("release:before-commit", "refused"),
        ("command:after-commit", "credit"),
        ("migrate:after-one", "migrate"),
    ),
    "postgresql": (
        ("hold:after-commit", "byok"),
        ("stream:first-byte", "streamed"),
        ("settle:after-begin", "streamed"),
        ("settle:after-commit", "plain"),
        ("command:before-commit", "key"),
        ("migrate:after-one", "migrate"),
    ),
}
"""What is tried in an ordinary run."""


@pytest.mark.timeout(0 if EXAM else 300)
async def test_a_gateway_that_dies_anywhere_loses_nothing(
    request: pytest.FixtureRequest, new_database: Callable[[], str], tmp_path: Path
) -> None:
    """S-109: at every point: nothing lost, nothing charged twice, no hold left, one line for each call that came to a provider,
    whoever was told of a cost has paid exactly that, the audit passes, and calls work again."""
    kind = request.node.callspec.params["new_database"]
    cases = CASES if EXAM else CHOSEN[kind]
    seed = draw_seed()
    room = asyncio.Semaphore(AT_ONCE)
    failures: list[str] = []
    longest = 0.0

    async def one(number: int, point: str, operation: str) -> None:
        nonlocal longest
        folder = tmp_path / f"case-{number}"
        folder.mkdir()
        async with room:
            try:
                case = Case(folder, new_database(), point, operation, seed + number)
                longest = max(longest, await case.prove())
            except Exception as error:  # noqa: BLE001 - every case is tried, and told by its name
                failures.append(f"{point} × {operation}: {type(error).__name__} {error}")

    await asyncio.gather(*(one(number, *case) for number, case in enumerate(cases)))
    print(*failures, sep="\n")
    print(f"{kind}: {len(cases)} cases, {len(failures)} failed; holds were given back after {longest:.1f} s at most")
    assert [] == failures


class Case:
    """One point, reached on behalf of one operation, on a database of its own."""

    def __init__(self, folder: Path, database_url: str, point: str, operation: str, seed: int) -> None:
        self._folder = folder
        self._database_url = database_url
        self._point = point
        self._operation = operation
        self._seed = seed

    async def prove(self) -> float:
        """Die, start again, and look at the books; how many seconds after the start the last hold was gone."""
        if self._operation == "migrate":
            await self._prove_migrating()
            return 0.0
        books = Books(self._database_url)
        if self._operation in COMMANDS:
            await self._prove_command(books)
            return 0.0
        async with simulated_providers() as simulator:
            return await self._prove_serving(books, simulator)

    def _dying(self) -> tuple[str, ...]:
        return (*DYING, "die", self._point, self._operation, str(_nth(self._point, self._operation, self._seed)))

    async def _prove_serving(self, books: Books, simulator: Simulator) -> float:
        keys = books.open_account(CREDIT, CALLS + AFTER + ORPHANS)
        orphans = plan_in_turn(self._seed, keys[-ORPHANS:], ["plain"], CALLS + AFTER)
        leave_orphans(books, orphans)
        planned = plan_in_turn(self._seed, keys[:-ORPHANS], kinds_for(self._operation))
        arrivals = Arrivals(simulator)
        settings = write_files(self._folder, self._database_url, simulator.url, routing=PATIENT)
        async with started(self._folder, "serve", "--config", str(settings), program=self._dying()) as first:
            told = await make_until_death(first.url, planned[:CALLS], arrivals, self._database_url, self._operation)
            assert -signal.SIGKILL == await first.died(), first.log.read_text()
        died_at = now_microseconds()
        assert_audited(books)
        restarted = time.monotonic()
        async with started(self._folder, "serve", "--config", str(settings)) as second:
            told += await make(second.url, planned[CALLS : CALLS + AFTER // 2], arrivals, concurrency=2)
            if EXAM:
                await books.until_nothing_is_held(GIVEN_BACK_SECONDS, look_seconds=0.5)
            else:
                await sweep(books, died_at)
            seconds = time.monotonic() - restarted
            await self._prove_second(second, planned[CALLS + AFTER // 2 :], arrivals, books, told)
        told += [Told(call, b"") for call in orphans]
        books.prove_calls(
            told,
            arrivals,
            lost={one.planned.number for one in told if one.planned.number < CALLS} | {call.number for call in orphans},
        )
        assert 0 < books.prove()
        if EXAM:
            assert (await answer(self._folder, "audit", "--config", str(settings)))["ok"]
        return seconds

    async def _prove_second(
        self, second: Running, planned: Sequence[Planned], arrivals: Arrivals, books: Books, told: list[Told]
    ) -> None:
        """Calls work, every one of them, and the process stops well."""
        after = await make(second.url, planned, arrivals, concurrency=2)
        told += after
        await books.until_nothing_is_held()
        good = [one for one in after if "refused" not in one.planned.name and one.planned.name != "hopeless"]
        assert good
        assert {200} == {one.status for one in good}
        assert all(one.cost is not None for one in good)
        assert 0 == await second.stop(), second.log.read_text()

    async def _prove_command(self, books: Books) -> None:
        """An operator's command has written all or nothing, and can be given again."""
        (_, _), *_ = books.open_account(CREDIT)
        settings = self._folder / "find-token.toml"
        settings.write_text(f'[storage]\ndatabase = "{self._database_url}"\n')
        words = {
            "credit": ("account", "credit", "grace@example.com", "7.5", "--reason", "test"),
            "key": ("key", "create", "grace@example.com", "--name", "second"),
        }[self._operation]
        code, printed, complained = await run(self._folder, *words, "--config", str(settings), program=self._dying())
        assert (-signal.SIGKILL, b"") == (code, printed), complained.decode()
        assert_audited(books)
        written = self._point == "command:after-commit"
        assert (written, 1 + written) == await self._seen(settings)
        await answer(self._folder, *words, "--config", str(settings))
        assert_audited(books)
        credit, keys = await self._seen(settings)
        assert 2 + written == (keys if self._operation == "key" else credit + 1)

    async def _seen(self, settings: Path) -> tuple[int, int]:
        """How often 7.5 dollars were given, and how many keys there are, by what `account show` says."""
        shown = await answer(self._folder, "account", "show", "grace@example.com", "--config", str(settings))
        given, rest = divmod(parse_usd(shown["balance"]) - CREDIT, parse_usd("7.5"))
        assert 0 == rest
        if self._operation == "key":
            assert 0 == given
            given = len(shown["keys"]) - 1
        return given, 1 + given if self._operation == "credit" else len(shown["keys"])

    async def _prove_migrating(self) -> None:
        """What was applied stays applied, the rest follows, and nothing is applied twice."""
        settings = self._folder / "find-token.toml"
        settings.write_text(f'[storage]\ndatabase = "{self._database_url}"\n')
        database = open_database(self._database_url)
        every = pending(database)
        code, printed, complained = await run(self._folder, "migrate", "--config", str(settings), program=self._dying())
        assert (-signal.SIGKILL, b"") == (code, printed), complained.decode()
        applied = 1 if self._point == "migrate:after-one" else 0
        assert every[applied:] == pending(database)
        assert {"applied": every[applied:]} == await answer(self._folder, "migrate", "--config", str(settings))
        assert [] == migrate(database)


def _nth(point: str, operation: str, seed: int) -> int:
    """The how-manieth time; a process says that it lives once before it serves, and dies where calls are under way."""
    if point.startswith("heartbeat"):
        return 2
    if operation in (*WITHOUT_GATEWAY, NOBODY, LEFT, REFUSED):
        return 1
    return random.Random(seed).randint(1, 4)


def leave_orphans(books: Books, planned: Sequence[Planned]) -> None:
    """Holds of a process that nobody knows: the next sweep finds them."""
    now = now_microseconds()
    with books.database.session() as connection:
        for call in planned:
            purpose = Purpose(call.key_id, "/v1/chat/completions", "qwen-max", "credits", streamed=False, started=now)
            arguments = (books.account_id, [1000], None, "process_gone", now + 10**12, now, purpose)
            place_hold(connection, new_id("req_"), *arguments)


def assert_audited(books: Books) -> None:
    """The books agree with themselves."""
    with books.database.session(snapshot=True) as connection:
        assert [] == audit(connection)


async def sweep(books: Books, died_at: int) -> None:
    """As the second process would do it half a minute later."""
    # A sweep that comes too early would take the holds of calls that have just been told to their callers.
    await books.database.start()
    try:
        await Ledger(books.database, owner="another process").sweep(died_at, dead_after_seconds=0)
    finally:
        await books.database.close()
    await books.until_nothing_is_held()


async def test_every_point_is_on_the_way_and_none_is_unlisted(sqlite_database_url: str, tmp_path: Path) -> None:
    """One process that lives reaches every point on behalf of every operation, and reaches no other."""
    seen = tmp_path / "seen.txt"
    recording = (*DYING, "record", str(seen))
    database_url = sqlite_database_url
    settings = tmp_path / "find-token.toml"
    settings.write_text(f'[storage]\ndatabase = "{database_url}"\n')
    assert 0 == (await run(tmp_path, "migrate", "--config", str(settings), program=recording))[0]
    books = Books(database_url)
    keys = books.open_account(CREDIT, 60 + ORPHANS)
    leave_orphans(books, plan_in_turn(1, keys[60:], ["plain"], 60))
    async with simulated_providers() as simulator:
        arrivals = Arrivals(simulator)
        settings = write_files(tmp_path, database_url, simulator.url)
        for words in (
            ("account", "credit", "grace@example.com", "7.5", "--reason", "test"),
            ("key", "create", "grace@example.com", "--name", "second"),
        ):
            assert 0 == (await run(tmp_path, *words, "--config", str(settings), program=recording))[0]
        async with started(tmp_path, "serve", "--config", str(settings), program=recording) as gateway:
            planned = plan_in_turn(1, keys[:50], kinds_for(LEFT)) + plan_in_turn(1, keys[50:60], ["hopeless"], 50)
            await make_until_death(gateway.url, planned[:8], arrivals, database_url, LEFT)
            await make_until_death(gateway.url, planned[8:], arrivals, database_url, "")
            await books.until_nothing_is_held(30)
            await _until_told(seen, "sweep:after")
            assert 0 == await gateway.stop()
    reached = {(point, operation) for point, operation in map(str.split, seen.read_text().splitlines())}
    assert (set(), set()) == (set(CASES) - reached, reached - set(CASES)), "not reached, and not listed"


async def _until_told(seen: Path, point: str) -> None:
    async with asyncio.timeout(30):
        while point not in seen.read_text():
            await asyncio.sleep(0.1)


def test_the_list_is_long_and_each_point_is_explained() -> None:
    """The exam tries more than forty cases; a point says what has been done by then."""
    assert 40 <= len(CASES) == len(set(CASES))
    assert all(point.sentence.endswith(".") for point in POINTS.values())
    assert {case for chosen in CHOSEN.values() for case in chosen} <= set(CASES)
