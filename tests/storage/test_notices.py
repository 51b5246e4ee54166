"""What accounts are told: each warning once, while it is true; a low balance once after each recharge."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from billing.lots import DAY_MICROSECONDS as DAY
from storage.database import Connection, Database, open_database
from storage.expiry import Expiry, day_of
from storage.notices import find_low, find_unsent, mail_low_balance, mail_notice

NewAccount = Callable[..., str]
START = 20_000 * DAY


def active(database: Database, account_id: str, instant: int) -> None:
    with database.session() as connection:
        connection.execute("UPDATE account SET last_active = ? WHERE id = ?", (instant, account_id))


def mails(database: Database) -> list[tuple[object, ...]]:
    with database.session() as connection:
        return connection.execute("SELECT kind, id FROM mail ORDER BY created, id").fetchall()


async def told(databases: list[Database], now: int) -> int:
    """Every process looks, and then every process acts on what it saw."""
    seen = [await one.read(find_unsent, 365, now, 100) for one in databases]
    done = await asyncio.gather(
        *(one.run(mail_notice, notice, now) for one, found in zip(databases, seen, strict=True) for notice in found)
    )
    return sum(done)


async def test_each_warning_is_mailed_once_and_by_one_process(
    postgres_database_url: str, postgres_database: Database
) -> None:
    """Over a year and two processes on one database: 30, 7 and 1 days before, and before deactivation, by UTC days."""
    other = open_database(postgres_database_url)
    await other.start()
    databases = [postgres_database, other]
    with postgres_database.session() as connection:
        for name, balance in (("rich", 100), ("poor", 0)):
            row = (name, f"{name}@b.de", START, START, balance)
            connection.execute("INSERT INTO account VALUES (?, ?, 'active', ?, ?, ?, 0, NULL)", row)
    try:
        days = []
        for day in (300, 334, 335, 336, 357, 358, 359, 364):
            now = START + day * DAY + 1
            await asyncio.gather(*(Expiry(one, 365).run(now) for one in databases))
            days += [day] * await told(databases, now)
    finally:
        await other.close()

    assert [335, 335, 358, 364] == days
    due = START + 365 * DAY
    assert {
        ("expiry", f"notice:rich:expiry_30:{due}"),
        ("expiry", f"notice:rich:expiry_7:{due}"),
        ("expiry", f"notice:rich:expiry_1:{due}"),
        ("deactivation", f"notice:poor:deactivation:{due}"),
    } == set(mails(postgres_database))
    with postgres_database.session() as connection:
        facts = connection.execute("SELECT facts FROM mail WHERE kind = 'expiry'").fetchall()
    assert all(day_of(due) in row[0] for row in facts)


async def test_what_is_not_true_any_more_is_not_told(database: Database, new_account: NewAccount) -> None:
    """Used since, deactivated since, or past: nobody is warned."""
    used, gone, past = new_account(100), new_account(100), new_account(100)
    for account in (used, gone, past):
        active(database, account, START)
    now = START + 335 * DAY + 1
    await Expiry(database, 365).run(now)
    active(database, used, now - 1)
    with database.session() as connection:
        connection.execute("UPDATE account SET status = 'deactivated' WHERE id = ?", (gone,))

    assert [past] == [notice.account_id for notice in await database.read(find_unsent, 365, now, 100)]
    assert [] == await database.read(find_unsent, 365, START + 365 * DAY, 100)


def recharge(connection: Connection, name: str, account: str, paid: int) -> None:
    connection.execute(
        "INSERT INTO recharge VALUES (?, ?, 1000, 1000, 'paid', NULL, NULL, 1000, 1000, 0, 0, '', ?, ?, 0)",
        (name, account, paid, paid),
    )


async def test_a_low_balance_is_told_once_after_each_recharge(database: Database, new_account: NewAccount) -> None:
    """Not to who never paid, not to who has enough, not twice; again after the next recharge is used up."""
    low, rich, never = new_account(50), new_account(500), new_account(50)
    with database.session() as connection:
        for name, account in (("r1", low), ("r2", rich)):
            recharge(connection, name, account, START)
    now = START + DAY

    assert [("r1", low)] == await database.read(find_low, 100, now, 10)
    assert await database.run(mail_low_balance, "r1", low, 100, now)
    assert not await database.run(mail_low_balance, "r1", low, 100, now)
    assert not await database.run(mail_low_balance, "r2", rich, 100, now)
    assert [] == await database.read(find_low, 100, now, 10)
    with database.session() as connection:
        recharge(connection, "r3", low, START + 1)
    assert [("r3", low)] == await database.read(find_low, 100, now, 10)
    assert [] == await database.read(find_low, 100, START + 366 * DAY, 10)
    assert never not in repr(mails(database))
