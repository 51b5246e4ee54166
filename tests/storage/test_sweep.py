"""Heartbeats, and the holds of those that fell silent. What the ledger makes of them is in test_ledger.py."""

from __future__ import annotations

from collections.abc import Callable

from storage.audit import audit
from storage.calls import find_call
from storage.database import Connection, Database
from storage.postings import Balance, Purpose, find_balance, place_hold
from storage.sweep import beat, bury, find_orphans, follow_clock, release_orphan

NewAccount = Callable[..., str]


async def test_a_heartbeat_is_told_by_the_database_s_clock(database: Database) -> None:
    """The first makes the process known, the next moves its instant, and never its start."""
    first = await database.run(beat, "p1")
    second = await database.run(beat, "p1")

    assert first < second
    with database.session() as connection:
        assert [("p1", first, second)] == connection.execute("SELECT id, started, heartbeat FROM process").fetchall()


async def test_orphans_are_the_holds_of_the_silent_and_the_unknown(database: Database, new_account: NewAccount) -> None:
    """In the order of accounts, so that sweeping locks as everybody does."""
    accounts = sorted(new_account(100) for _ in range(2))

    def hold_all(connection: Connection) -> int:
        now = beat(connection, "alive")
        for number, (owner, account) in enumerate(
            [("alive", accounts[0]), ("unknown", accounts[1]), ("unknown", accounts[0])]
        ):
            place_hold(connection, f"r{number}", account, (1,), None, owner, now + 1_000_000, now)
        return now

    now = await database.run(hold_all)

    assert [("r2", accounts[0]), ("r1", accounts[1])] == await database.read(find_orphans, now)
    assert ["r0", "r2", "r1"] == [name for name, _ in await database.read(find_orphans, now + 1)]


async def test_an_owner_that_speaks_up_in_time_keeps_its_hold(database: Database, new_account: NewAccount) -> None:
    """Asked again in the transaction that would release it."""
    account = new_account(100)

    def hold(connection: Connection) -> None:
        place_hold(connection, "r1", account, (1,), None, "p1", 10**17, 1)

    await database.run(hold)
    [orphan] = await database.read(find_orphans, 10)
    now = await database.run(beat, "p1")

    assert not await database.run(release_orphan, *orphan, now)
    assert await database.run(release_orphan, *orphan, now + 1)
    assert not await database.run(release_orphan, *orphan, now + 1)


async def test_deadlines_follow_a_clock_that_is_set(database: Database, new_account: NewAccount) -> None:
    """Those of the process that asks; and whoever seems to have spoken later than now has spoken now."""
    account = new_account(100)

    def hold_and_step(connection: Connection) -> list[tuple[object, ...]]:
        now = beat(connection, "p1")
        beat(connection, "p2")
        connection.execute("UPDATE process SET heartbeat = ? WHERE id = 'p2'", (now + 5,))
        for number in (1, 2):
            place_hold(connection, f"r{number}", account, (1,), None, f"p{number}", now + 1_000, now)
        follow_clock(connection, "p1", -400, now)
        deadlines = connection.execute(
            "SELECT request_id, deadline - ? FROM hold ORDER BY request_id", (now,)
        ).fetchall()
        return deadlines + connection.execute("SELECT id, heartbeat - ? FROM process ORDER BY id", (now,)).fetchall()

    assert [("r1", 600), ("r2", 1_000), ("p1", 0), ("p2", 0)] == await database.run(hold_and_step)


async def test_a_hold_past_its_deadline_is_an_orphan(database: Database, new_account: NewAccount) -> None:
    """Even while its owner lives: a hold whose end was lost in a program's mistake must not stand for ever."""
    account = new_account(100)

    def hold(connection: Connection) -> int:
        now = beat(connection, "alive")
        place_hold(connection, "r1", account, (1,), None, "alive", now - 10, now)
        return now

    now = await database.run(hold)

    assert [] == await database.read(find_orphans, now - 10)
    assert [("r1", account)] == await database.read(find_orphans, now - 9)


async def test_the_call_of_a_dead_process_has_its_row(database: Database, new_account: NewAccount) -> None:
    """Free, with what its hold remembered; the whole hold is back and the books agree."""
    account = new_account(100)
    purpose = Purpose("key_7", "/v1/chat/completions", "deepseek-chat", "credits", streamed=True, started=77)

    def hold(connection: Connection) -> None:
        place_hold(connection, "r1", account, (60,), None, "dead", 10**17, 5, purpose)

    await database.run(hold)
    assert await database.run(release_orphan, "r1", account, 100)

    with database.session() as connection:
        row = find_call(connection, account, "r1")
        assert Balance(100, 0) == find_balance(connection, account)
        assert [] == audit(connection)
    assert row is not None
    assert ("gateway_died", 0, 77, "key_7", "deepseek-chat", None, "standard", True, 500, 100, ()) == (
        row.billing_outcome,
        row.cost,
        row.created,
        row.key_id,
        row.requested_model,
        row.provider,
        row.mode,
        row.streamed,
        row.status,
        row.balance_after,
        row.attempts,
    )


async def test_the_call_of_a_dead_process_says_whose_key_it_was_for(
    database: Database, new_account: NewAccount
) -> None:
    """The gateway's or the caller's own."""
    account = new_account(100)

    def hold(connection: Connection) -> None:
        for payer in ("credits", "provider_key"):
            purpose = Purpose("key_7", "/v1/chat/completions", "m", payer, streamed=False, started=77)
            place_hold(connection, payer, account, (1,), None, "dead", 10**17, 5, purpose)

    await database.run(hold)
    for payer in ("credits", "provider_key"):
        assert await database.run(release_orphan, payer, account, 100)

    with database.session() as connection:
        rows = [find_call(connection, account, payer) for payer in ("credits", "provider_key")]
    told = [(row.payer, row.mode) for row in rows if row is not None]
    assert [("credits", "standard"), ("provider_key", "byok")] == told


async def test_a_dead_process_is_forgotten_once_it_holds_nothing(database: Database, new_account: NewAccount) -> None:
    """Not before: its holds must still be known as its own."""
    account = new_account(100)

    def hold(connection: Connection) -> int:
        place_hold(connection, "r1", account, (1,), None, "p1", 0, 1)
        beat(connection, "p2")
        return beat(connection, "p1")

    now = await database.run(hold)
    await database.run(bury, now + 1)

    with database.session() as connection:
        assert [("p1",)] == connection.execute("SELECT id FROM process").fetchall()
