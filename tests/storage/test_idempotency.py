"""One claim per key, also between processes; what is kept is sealed, bounded and forgotten in time; the dead block nobody."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable

import pytest

from storage import idempotency
from storage.database import Connection, Database, open_database
from storage.idempotency import (
    DONE,
    KEPT_MICROSECONDS,
    LOST,
    NEW,
    RUNNING,
    Answers,
    Claim,
    claim_key,
    hash_of,
)
from storage.ledger import Ledger, Settlement
from storage.migrating import migrate
from storage.sealing import Sealer
from storage.sweep import beat
from tests.fakes.cutting_proxy import Cut, CuttingProxy

MakeSettlement = Callable[..., Settlement]
SEALER = Sealer(base64.b64encode(b"k" * 32).decode())
KEY = hash_of("order-1")


@pytest.fixture
def account_id(new_account: Callable[..., str]) -> str:
    """An account with some credit."""
    return new_account(1_000)


@pytest.fixture
async def answers(database: Database) -> AsyncIterator[Answers]:
    """The answers of a living process called p1."""
    await database.run(beat, "p1")
    opened = Answers(database, SEALER, "p1")
    yield opened
    await opened.close()


def age(database: Database, microseconds: int, table: str = "idempotency", column: str = "created") -> None:
    """Let everything have happened so much earlier."""
    with database.session() as connection:
        connection.execute(f"UPDATE {table} SET {column} = {column} - ?", (microseconds,))


async def test_the_first_gets_the_claim(answers: Answers, account_id: str) -> None:
    """Everybody else is told whose it is, and for what; another account's key is another key."""
    first = await answers.claim(account_id, KEY, "body-1", "r1")
    second = await answers.claim(account_id, KEY, "body-2", "r2")
    other = await answers.claim("acc_other", KEY, "body-1", "r3")

    assert Claim(NEW, "r1", "body-1") == first
    assert Claim(RUNNING, "r1", "body-1") == second
    assert Claim(NEW, "r3", "body-1") == other


async def test_of_many_processes_at_once_one_gets_it(database_url: str, answers: Answers, account_id: str) -> None:
    """Each on a connection of its own."""
    databases = [open_database(database_url) for _ in range(4)]
    for number, one in enumerate(databases):
        await one.start()
        await one.run(beat, f"p{number}")
    try:
        racers = [Answers(one, SEALER, f"p{number}") for number, one in enumerate(databases)]
        for round_ in range(10):
            claims = await asyncio.gather(
                *(
                    racer.claim(account_id, f"{KEY}{round_}", "body", f"r{number}-{turn}")
                    for number, racer in enumerate(racers)
                    for turn in range(3)
                )
            )
            assert 1 == sum(claim.state == NEW for claim in claims)
            assert 1 == len({claim.request_id for claim in claims})
    finally:
        for one in databases:
            await one.close()


async def test_what_was_kept_comes_back_to_its_own_key_alone(
    database: Database, answers: Answers, account_id: str
) -> None:
    """Sealed; also to another process with the same secret key, and to nobody with another one or none."""
    await answers.claim(account_id, KEY, "body", "r1")
    await answers.keep(account_id, KEY, "r1", b"the answer \xff")

    assert DONE == (await answers.claim(account_id, KEY, "body", "r2")).state
    assert b"the answer \xff" == await Answers(database, SEALER, "p2").read(account_id, KEY, "r1")
    for reader in (
        Answers(database, Sealer(base64.b64encode(b"j" * 32).decode()), "p1"),
        Answers(database, Sealer(""), "p1"),
    ):
        assert await reader.read(account_id, KEY, "r1") is None
    assert await answers.read(account_id, KEY, "r2") is None
    assert await answers.read("acc_other", KEY, "r1") is None
    with database.session() as connection:
        connection.execute("UPDATE idempotency SET account_id = 'acc_other'")
    assert await answers.read("acc_other", KEY, "r1") is None


async def test_without_an_answer_the_key_remembers_the_call(
    database: Database, answers: Answers, account_id: str
) -> None:
    """Also where there is no secret key to seal it with: nothing readable is stored."""
    await answers.claim(account_id, KEY, "body", "r1")
    await answers.keep(account_id, KEY, "r1", None)
    assert Claim(LOST, "r1", "body") == await answers.claim(account_id, KEY, "body", "r2")
    unsealed = Answers(database, Sealer(""), "p1")
    await unsealed.claim(account_id, "other", "body", "r3")
    await unsealed.keep(account_id, "other", "r3", b"answer")
    assert Claim(LOST, "r3", "body") == await unsealed.claim(account_id, "other", "body", "r4")


async def test_a_freed_key_can_be_claimed_again(answers: Answers, account_id: str) -> None:
    """Only by the call that has it, and not when it has ended."""
    await answers.claim(account_id, KEY, "body", "r1")
    await answers.free(account_id, KEY, "another call")
    assert RUNNING == (await answers.claim(account_id, KEY, "body", "r2")).state
    await answers.free(account_id, KEY, "r1")
    assert NEW == (await answers.claim(account_id, KEY, "other body", "r2")).state
    await answers.keep(account_id, KEY, "r2", b"answer")
    await answers.free(account_id, KEY, "r2")
    assert DONE == (await answers.claim(account_id, KEY, "other body", "r3")).state


async def test_a_claim_that_nobody_waits_for_is_freed(
    answers: Answers, account_id: str, sqlite_database_url: str, database_url: str
) -> None:
    """The caller left while it was made."""
    waiting = asyncio.create_task(answers.claim(account_id, KEY, "body", "r1"))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(5):
        while (await answers.claim(account_id, KEY, "body", "r2")).state != NEW:
            await asyncio.sleep(0.01)
    assert (RUNNING, "r2") == ((again := await answers.claim(account_id, KEY, "body", "r3")).state, again.request_id)


async def test_a_claim_in_doubt_is_freed(postgres_database: Database, postgres_database_url: str) -> None:
    """The answer to its COMMIT was lost, so its caller was refused: it must not stand in anybody's way."""
    async with CuttingProxy(postgres_database_url) as wire:
        database = open_database(wire.url)
        await database.start()
        answers = Answers(database, SEALER, "p1")
        await database.run(beat, "p1")
        wire.cut_at(Cut(b"COMMIT", after=b"INSERT INTO idempotency", delivered=True))
        with pytest.raises(idempotency.StorageUnavailable):
            await answers.claim("acc_1", KEY, "body", "r1")
        async with asyncio.timeout(10):
            while (await answers.claim("acc_1", KEY, "body", "r2")).request_id != "r2":
                await asyncio.sleep(0.05)
        await answers.close()
        await database.close()


async def test_after_a_day_a_key_is_new(database: Database, answers: Answers, account_id: str) -> None:
    """Whether it was deleted by then or not; a call that runs keeps its key."""
    for key in ("done", "running"):
        await answers.claim(account_id, key, "body", f"r-{key}")
    await answers.keep(account_id, "done", "r-done", b"answer")
    age(database, KEPT_MICROSECONDS - 60_000_000)
    assert DONE == (await answers.claim(account_id, "done", "body", "r2")).state
    await answers.forget_expired()
    assert 2 == stored(database)
    age(database, 120_000_000)
    assert RUNNING == (await answers.claim(account_id, "running", "body", "r2")).state
    assert Claim(NEW, "r2", "new body") == await answers.claim(account_id, "done", "new body", "r2")
    assert await answers.read(account_id, "done", "r-done") is None


async def test_expired_rows_are_deleted(database: Database, answers: Answers, account_id: str) -> None:
    """All that has ended, or whose process is gone; those of calls that run stay."""
    for key in ("done", "lost", "running", "dead"):
        await answers.claim(account_id, key, "body", f"r-{key}")
    await answers.keep(account_id, "done", "r-done", b"answer")
    await answers.keep(account_id, "lost", "r-lost", None)
    with database.session() as connection:
        connection.execute("UPDATE idempotency SET owner = 'gone' WHERE key_hash = 'dead'")
    age(database, KEPT_MICROSECONDS + 1)
    await answers.forget_expired()

    with database.session(snapshot=True) as connection:
        assert [("running",)] == connection.execute("SELECT key_hash FROM idempotency").fetchall()


def stored(database: Database) -> int:
    """How many rows there are."""
    with database.session(snapshot=True) as connection:
        return len(connection.execute("SELECT key_hash FROM idempotency").fetchall())


async def test_answers_of_an_account_are_bounded(
    database: Database, answers: Answers, account_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit the oldest go first; their keys still know the call. Another account's are left alone."""
    monkeypatch.setattr(idempotency, "ACCOUNT_LIMIT_BYTES", 3_200)
    await answers.claim("acc_other", KEY, "body", "r-other")
    await answers.keep("acc_other", KEY, "r-other", b"x" * 1_000)
    for number in range(5):
        await answers.claim(account_id, f"k{number}", "body", f"r{number}")
        await answers.keep(account_id, f"k{number}", f"r{number}", b"x" * 1_000)

    states = [(await answers.claim(account_id, f"k{number}", "body", "again")).state for number in range(5)]
    assert [LOST, LOST, DONE, DONE, DONE] == states
    assert DONE == (await answers.claim("acc_other", KEY, "body", "again")).state


@pytest.mark.parametrize(
    ("before_death", "becomes"),
    [("claimed", NEW), ("held", RUNNING), ("swept", NEW), ("charged", LOST), ("free of charge", NEW), ("byok", LOST)],
)
async def test_what_becomes_of_the_key_of_a_dead_process(
    before_death: str,
    becomes: str,
    database: Database,
    answers: Answers,
    ledger: Ledger,
    account_id: str,
    make_settlement: MakeSettlement,
) -> None:
    """The books decide: a hold says that nothing is known yet, a charge or a delivery that the call was made."""
    claim = await answers.claim(account_id, KEY, "body", "r1")
    assert NEW == claim.state
    if before_death != "claimed":
        await ledger.hold("r1", account_id, [100], deadline=10**17)
    if before_death in ("charged", "free of charge", "byok"):
        delivered = before_death != "free of charge"
        outcome = "complete" if delivered else "failed"
        cost = 50 if before_death == "charged" else 0
        await ledger.settle(
            make_settlement("r1", account_id, cost, delivered=delivered, billing_outcome=outcome, cost=cost)
        )
    assert RUNNING == (await answers.claim(account_id, KEY, "body", "r2")).state, "its process may live"
    age(database, 31_000_000, "process", "heartbeat")
    if before_death == "swept":
        other = Ledger(database, "p2")
        await other.heartbeat()
        assert ["r1"] == await other.sweep()
    told = await Answers(database, SEALER, "p2").claim(account_id, KEY, "new body", "r2")

    expected = Claim(NEW, "r2", "new body") if becomes == NEW else Claim(becomes, "r1", "body")
    assert expected == told
    if becomes == NEW:
        await answers.keep(account_id, KEY, "r1", b"too late")
        assert await answers.read(account_id, KEY, "r1") is None, "the dead has no say any more"


async def test_holds_and_claims_of_one_account_do_not_lock_each_other_out(
    database_url: str, ledger: Ledger, answers: Answers, account_id: str
) -> None:
    """Two processes that do both at once, in every order: nobody is refused."""
    database = open_database(database_url)
    await database.start()
    other_ledger, other = Ledger(database, "p2"), Answers(database, SEALER, "p2")
    await other_ledger.heartbeat()
    try:
        work = []
        for number in range(60):
            mine, theirs = (ledger, other) if number % 2 else (other_ledger, answers)
            work.append(mine.hold(f"r{number}", account_id, [1], deadline=10**17))
            work.append(theirs.claim(account_id, f"k{number % 7}", "body", f"c{number}"))
        done = await asyncio.gather(*work)
    finally:
        await database.close()

    assert 7 == sum(isinstance(one, Claim) and one.state == NEW for one in done)


def test_a_claim_is_a_function_of_the_database(sqlite_database_url: str) -> None:
    """Undone and run again, as a job of a batch may be, it has the same outcome."""
    database = open_database(sqlite_database_url)
    migrate(database)

    def claim(connection: Connection, request_id: str) -> str:
        return claim_key(connection, "acc", KEY, "body", request_id, "p1").state

    def claim_and_fail() -> None:
        with database.session() as connection:
            assert NEW == claim(connection, "r1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        claim_and_fail()
    with database.session() as connection:
        assert NEW == claim(connection, "r1")
