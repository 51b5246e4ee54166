"""Notices, expiry and deactivation: once each, never on the word of one clock, never against a call in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from billing.lots import DAY_MICROSECONDS as DAY
from storage.accounts import find_account, set_status
from storage.audit import audit
from storage.corrections import restore_expired
from storage.database import Database, open_database
from storage.expiry import Done, Expiry, day_of, list_expiring, reactivate, stages
from storage.ledger import Ledger, Settlement, place_hold, post_credit, post_settlement
from storage.postings import InsufficientCredit, release_hold

NewAccount = Callable[..., str]
MakeSettlement = Callable[..., Settlement]
START = 20_000 * DAY
HOUR = DAY // 24


def active(database: Database, account_id: str, instant: int) -> None:
    with database.session() as connection:
        connection.execute("UPDATE account SET last_active = ? WHERE id = ?", (instant, account_id))


def notices(database: Database) -> list[tuple[object, ...]]:
    with database.session() as connection:
        return connection.execute("SELECT kind, expires_on, recorded FROM notice ORDER BY recorded, kind").fetchall()


async def run_daily(expiry: Expiry, first: int, last: int) -> list[tuple[int, Done]]:
    """Once a day, from one day after START to another; the days on which something was done."""
    results = [(day, await expiry.run(START + day * DAY)) for day in range(first, last + 1)]
    return [(day, done) for day, done in results if done != Done()]


async def test_an_idle_account_is_warned_three_times_and_then_its_credits_expire(
    database: Database, new_account: NewAccount
) -> None:
    """S-057: 30, 7 and 1 days before, each once, and on day 365 all of it, in one entry; the books agree."""
    account = new_account(100)
    active(database, account, START)

    done = await run_daily(Expiry(database, 365), 1, 370)

    noticed = [(335, Done(notices=1)), (358, Done(notices=1)), (364, Done(notices=1))]
    assert [*noticed, (365, Done(expired=1, amount=100))] == done[:4]
    expires_on = day_of(START + 365 * DAY)
    expected = [("expiry_30", 335), ("expiry_7", 358), ("expiry_1", 364)]
    assert [(kind, expires_on, START + day * DAY) for kind, day in expected] == notices(database)[:3]
    with database.session() as connection:
        assert (f"expiry:{account}:{expires_on}", 100) == connection.execute(
            "SELECT id, amount FROM entry WHERE credit = 'expired'"
        ).fetchone()
        assert [] == audit(connection)


async def test_activity_on_the_last_day_keeps_everything(database: Database, new_account: NewAccount) -> None:
    """S-057: active on day 364: nothing is taken on day 366, and the next warning is a year away."""
    account = new_account(100)
    active(database, account, START)
    expiry = Expiry(database, 365)
    await run_daily(expiry, 334, 363)
    active(database, account, START + 364 * DAY)

    assert [] == await run_daily(expiry, 364, 400)


async def test_a_clock_that_jumps_and_comes_back_takes_nothing(database: Database, new_account: NewAccount) -> None:
    """S-057: 400 days ahead for some hours: one notice, no expiry; at the right time all happens as if it had not been."""
    account = new_account(100)
    active(database, account, START)
    expiry = Expiry(database, 365)

    for hours in (0, 1, 19):
        await expiry.run(START + 400 * DAY + hours * HOUR)
    assert 1 == len(notices(database))
    done = await run_daily(expiry, 1, 365)

    assert [335, 358, 364, 365] == [day for day, _ in done]
    assert Done(expired=1, amount=100) == done[-1][1]


async def test_an_account_with_a_call_in_flight_is_left_alone(database: Database, new_account: NewAccount) -> None:
    """S-057: also with one that holds nothing, on the caller's own key; when it is over, the credits expire."""
    account = new_account(100)
    active(database, account, START)
    expiry = Expiry(database, 365)
    await expiry.run(START + 364 * DAY)
    with database.session() as connection:
        place_hold(connection, "r1", account, (0,), None, "p1", 10**17, 1)

    assert Done() == await expiry.run(START + 366 * DAY)
    await database.run(release_hold, "r1", account)
    assert Done(expired=1, amount=100) == await expiry.run(START + 366 * DAY)


async def test_three_nodes_expire_once(database: Database, database_url: str, new_account: NewAccount) -> None:
    """S-057: all at the same moment, each with its own connections, while calls try to hold: one of them gets the money, and
    each account is warned once."""
    accounts = [new_account(100) for _ in range(8)]
    for account in accounts:
        active(database, account, START)
    nodes = [database, open_database(database_url), open_database(database_url)]
    for node in nodes[1:]:
        await node.start()
    warned = await asyncio.gather(*(Expiry(node, 365).run(START + 364 * DAY) for node in nodes))
    assert 8 == sum(one.notices for one in warned) == len(notices(database))
    ledger = Ledger(database, "p1")

    async def hold(account: str) -> int:
        try:
            held = await ledger.hold(f"r:{account}", account, (100,), deadline=10**17)
        except InsufficientCredit:
            return 0
        return held.amount

    runs = asyncio.gather(*(Expiry(node, 365).run(START + 366 * DAY) for node in nodes))
    holds = asyncio.gather(*(hold(account) for account in accounts))
    done, held = await runs, await holds
    for node in nodes[1:]:
        await node.close()

    assert 800 == sum(one.amount for one in done) + sum(held)
    with database.session() as connection:
        assert [] == audit(connection)
        assert (sum(held),) == connection.execute("SELECT CAST(SUM(balance) AS BIGINT) FROM account").fetchone()


async def test_what_was_restored_does_not_expire_again_at_once(database: Database, new_account: NewAccount) -> None:
    """S-057: undoing counts as activity: a whole time passes, warnings included, before it expires again."""
    account = new_account(100)
    active(database, account, START)
    expiry = Expiry(database, 365)
    await run_daily(expiry, 364, 365)
    with database.session() as connection:
        restore_expired(connection, account, "sorry", START + 366 * DAY)

    assert [] == await run_daily(expiry, 366, 700)
    assert 366 + 365 == (await run_daily(expiry, 701, 731))[-1][0]
    with database.session() as connection:
        assert [] == audit(connection)


async def test_without_credits_an_account_is_deactivated_after_a_notice(
    database: Database, new_account: NewAccount
) -> None:
    """After 12 months; reactivating counts as activity. A deactivated account's credits never expire."""
    empty, kept = new_account(), new_account(100)
    for account in (empty, kept):
        active(database, account, START)
    with database.session() as connection:
        set_status(connection, kept, "deactivated")

    assert [(335, Done(notices=1)), (365, Done(deactivated=1))] == await run_daily(Expiry(database, 365), 330, 400)
    with database.session() as connection:
        reactivate(connection, empty, START + 400 * DAY)
        found, untouched = find_account(connection, empty), find_account(connection, kept)
    assert found is not None
    assert untouched is not None
    assert ("active", 100) == (found.status, untouched.balance)
    assert [] == await run_daily(Expiry(database, 365), 401, 500)


async def test_what_counts_as_activity(
    database: Database, new_account: NewAccount, make_settlement: MakeSettlement
) -> None:
    """A delivered call and a recharge do, a promotion and a call that failed do not."""
    account = new_account()

    def last_active() -> int:
        with database.session() as connection:
            found = find_account(connection, account)
        assert found is not None
        return found.last_active

    active(database, account, START)
    with database.session() as connection:
        post_credit(connection, "gift", account, 50, "promotion", "x", START + 1)
        place_hold(connection, "r1", account, (10,), None, "p1", 10**17, START)
        post_settlement(connection, make_settlement("r1", account, delivered=False), START + 2)
    assert START == last_active()
    with database.session() as connection:
        place_hold(connection, "r2", account, (10,), None, "p1", 10**17, START)
        post_settlement(connection, make_settlement("r2", account, 5), START + 3)
    assert START + 3 == last_active()
    with database.session() as connection:
        post_credit(connection, "paid", account, 50, "stripe:clearing", "x", START + 4)
    assert START + 4 == last_active()


async def test_what_is_due_is_listed_with_its_notices(database: Database, new_account: NewAccount) -> None:
    """The first due first, within the days asked for."""
    first, second = new_account(100), new_account(200)
    active(database, first, START)
    active(database, second, START + 5 * DAY)
    await Expiry(database, 365).run(START + 336 * DAY)

    with database.session() as connection:
        found = list_expiring(connection, 365, 40, START + 336 * DAY)
        near = list_expiring(connection, 365, 29, START + 336 * DAY)

    assert [(first, 100, ("expiry_30",)), (second, 200, ())] == [
        (one.account_id, one.balance, one.notices) for one in found
    ]
    assert [first] == [one.account_id for one in near]


def test_notices_that_would_come_before_the_activity_are_left_out() -> None:
    """With a short time only the later ones are given; the last one always is, because nothing expires without it."""
    assert ["expiry_30", "expiry_7", "expiry_1"] == [stage.kind for stage in stages(365)]
    assert ["expiry_7", "expiry_1"] == [stage.kind for stage in stages(30)]
    assert ["expiry_1"] == [stage.kind for stage in stages(1)]


async def test_by_its_own_clock_a_new_account_is_left_alone(database: Database, new_account: NewAccount) -> None:
    """The two clocks agree here, so the run is a real one that finds nothing to do."""
    new_account(100)

    assert Done() == await Expiry(database, 365).run()
