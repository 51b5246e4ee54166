"""The audit proves right books right, and names every kind of wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from storage.accounts import create_account
from storage.audit import Summary, audit, summary
from storage.database import Connection, Database, open_database
from storage.ledger import Settlement, place_hold, post_credit, post_settlement
from storage.migrating import migrate

MakeSettlement = Callable[..., Settlement]


@pytest.fixture
def books(database_url: str, make_settlement: MakeSettlement) -> Iterator[tuple[Connection, str]]:
    """One account: 1000 credited, one call of 60 settled with 7 absorbed, 100 held for another."""
    database = open_database(database_url)
    migrate(database)
    with database.session() as connection:
        account = create_account(connection, "a@example.com").id
        post_credit(connection, "gift", account, 1000, "promotion", "welcome", 1)
        for request_id in ("r1", "r2"):
            place_hold(connection, request_id, account, (100,), None, "p1", 0, 1)
        post_settlement(connection, make_settlement("r1", account, 50, 10, absorbed=7), 2)
        connection.execute("INSERT INTO key_spending (key_id, period, spent, held) VALUES ('key_1', 'none', 60, 0)")
    with database.session() as connection:
        yield connection, account


def test_right_books_have_no_disagreement(books: tuple[Connection, str]) -> None:
    """And their figures add up."""
    connection, _ = books

    assert [] == audit(connection)
    assert Summary(
        accounts=1,
        calls=1,
        entries=4,
        open_holds=1,
        balances=940,
        held=100,
        credited=1000,
        charged=60,
        revenue=60,
        absorbed=7,
        paid=0,
        promoted=1000,
        refunded=0,
        disputed=0,
        expired=0,
        rerated=0,
    ) == summary(connection)


INSERT_ENTRY = """INSERT INTO entry (id, debit, credit, amount, kind, reference, reason, created)
    VALUES ('{}', '{}', '{}', {}, '{}', '{}', '', 1)"""


@pytest.mark.parametrize(
    ("planted", "sentence"),
    [
        ("UPDATE account SET balance = 941", "account {}: the balance is 941, its entries sum to 940"),
        ("UPDATE account SET held = 99", "account {}: 99 is held, its open holds sum to 100"),
        ("DELETE FROM hold", "account {}: 100 is held, its open holds sum to 0"),
        (
            "UPDATE hold SET account_id = 'acct_gone'",
            "hold r2: a hold stands for the account acct_gone, which does not exist",
        ),
        (
            "UPDATE key_spending SET held = 5",
            "key key_1: 5 counts as held for its spending limit, its open holds sum to 0",
        ),
        (
            "UPDATE hold SET key_id = 'key_1', key_period = 'none'",
            "key key_1: 0 counts as held for its spending limit, its open holds sum to 100",
        ),
        ("UPDATE hold SET request_id = 'r1'", "hold r1: 100 is still held for a call that was settled"),
        ("UPDATE call SET cost = 61", "call r1: the cost is 61, provider cost and fee sum to 60"),
        ("UPDATE call SET cost = 61, fee = 11", "call r1: the cost is 61, the entries took 60 from the account"),
        ("UPDATE call SET absorbed = 8", "call r1: 8 were absorbed, the entries say 7"),
        ("DELETE FROM call", "entry r1:usage: an entry belongs to the call r1, which is not in the billing log"),
        (
            "UPDATE call SET cost = 61, fee = 11",
            "account {}: the balance is 940, what was credited less what its calls cost is 939",
        ),
        (
            INSERT_ENTRY.format("odd", "revenue:fee", "revenue:fee", 5, "correction", "x"),
            "entry odd: an entry must move a positive amount from one ledger account to another",
        ),
        (
            INSERT_ENTRY.format("lost", "promotion", "customer:acct_gone", 5, "promotion", "x"),
            "entry lost: an entry names the account acct_gone, which does not exist",
        ),
        (
            INSERT_ENTRY.format("r1:second", "absorbed", "revenue:usage", 5, "absorbed", "r1"),
            "entry r1:second: an entry of a call has the id r1:absorbed",
        ),
    ],
)
def test_a_planted_disagreement_is_named(books: tuple[Connection, str], planted: str, sentence: str) -> None:
    """With the row it is about, what it should be and what it is."""
    connection, account = books
    connection.execute(planted)

    found = audit(connection)

    assert sentence.format(account) in [one.sentence for one in found]
    assert all(one.sentence.startswith(one.subject) for one in found)


def test_a_negative_hold_is_named_where_the_schema_would_let_it_by(
    sqlite_database_url: str, make_settlement: MakeSettlement
) -> None:
    """The schema refuses amounts below zero; a file that somebody edited past it is found out."""
    database = open_database(sqlite_database_url)
    migrate(database)
    with database.session() as connection:
        account = create_account(connection, "a@example.com").id
    with database.session() as connection:
        connection.execute("PRAGMA ignore_check_constraints = 1")
        connection.execute("UPDATE account SET held = -1")
        connection.execute(INSERT_ENTRY.format("minus", "promotion", f"customer:{account}", -5, "promotion", "x"))

        sentences = [one.sentence for one in audit(connection)]

    assert f"account {account}: -1 is held, its open holds sum to 0" in sentences
    assert "entry minus: an entry must move a positive amount from one ledger account to another" in sentences


async def test_the_audit_runs_while_others_write(
    database: Database, new_account: Callable[..., str], make_settlement: MakeSettlement
) -> None:
    """It sees one state throughout: half a settlement, or a later one, never shows."""
    account = new_account(1000)
    with database.session(snapshot=True) as connection:
        before = summary(connection)
        await database.run(place_hold, "r1", account, (100,), None, "p1", 0, 1)
        await database.run(post_settlement, make_settlement("r1", account, 50), 2)
        found, after = audit(connection), summary(connection)

    assert ([], before) == (found, after)
