"""The audit finds every wrong that a correction can do, by planting each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from storage.audit import audit, summary
from storage.corrections import post_adjustment, restore_expired
from storage.database import Database
from storage.expiry import expire_account, record_notice
from storage.postings import Settlement, place_hold, post_credit, post_settlement

DAY = 86_400_000_000
INSERT = """INSERT INTO entry (id, debit, credit, amount, kind, reference, reason, created)
    VALUES (?, ?, ?, ?, ?, ?, '', ?)"""


@pytest.fixture
def account(database: Database, new_account: Callable[..., str]) -> str:
    """100 given, 50 paid, 10 taken back, all of it expired, restored, and expired again."""
    name = new_account(100)
    with database.session() as connection:
        post_credit(connection, "paid", name, 50, "stripe:clearing", "", 2)
        post_adjustment(connection, "one", name, -10, "", 3)
        connection.execute("UPDATE account SET last_active = 0")
        for now in (365 * DAY, 800 * DAY):
            last_active = 0 if now == 365 * DAY else 400 * DAY
            record_notice(connection, name, "expiry_1", last_active, 365, now - DAY)
            assert 140 == expire_account(connection, name, 365, now)
            if last_active == 0:
                restore_expired(connection, name, "", 400 * DAY)
    return name


def test_right_corrections_have_no_disagreement(database: Database, account: str) -> None:
    """And their figures: what was paid and promoted has expired."""
    with database.session(snapshot=True) as connection:
        found, figures = audit(connection), summary(connection)

    assert [] == found
    assert (50, 90, 0, 0, 140, 0, 0) == (
        figures.paid,
        figures.promoted,
        figures.refunded,
        figures.disputed,
        figures.expired,
        figures.rerated,
        figures.balances,
    )


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (("x", "somewhere", "customer:{}", 5, "gift", "x", 9), "an account cannot exchange money with somewhere"),
        (("x", "disputed:other", "customer:{}", 5, "dispute", "x", 9), "cannot exchange money with disputed:other"),
        (("x", "expired", "customer:{}", 5, "adjustment", "x", 9), "promotion or revenue, not expired"),
        (("x", "customer:{}", "expired", 5, "loss", "x", 9), "touch the ledger account expired, not loss"),
        (("expiry:y", "customer:{}", "expired", 5, "expiry", "x", 9), "an expiry has the id of its account and day"),
        (
            ("expiry:{}:1971-06-01", "customer:{}", "expired", 500, "expiry", "x", 9),
            "took 360 more than the account had",
        ),
        (("expiry:{}:1971-06-01", "customer:{}", "expired", 5, "expiry", "x", 9), "no notice before this expiry"),
        (("restore:x", "expired", "customer:{}", 5, "restore", "x", 9), "is undone took 0, given back are 5"),
        (("x", "customer:{}", "stripe:clearing", 5, "refund", "none", 9), "names none, which is no recharge"),
        (("x", "customer:{}", "stripe:clearing", 51, "refund", "paid", 9), "50 were paid, 51 of it were taken back"),
        (("x", "customer:{}", "disputed:{}", 51, "dispute", "paid", 9), "50 were paid, 51 of it were taken back"),
        (("x", "customer:{}", "expired", 5, "expiry", "x", 9), "charged, refunded, disputed and expired is -5"),
    ],
)
def test_a_planted_correction_is_named(
    database: Database, account: str, entry: tuple[object, ...], sentence: str
) -> None:
    """With the row it is about."""
    values = [value.format(account, account) if isinstance(value, str) else value for value in entry]
    with database.session() as connection:
        connection.execute(INSERT, values)
        found = [one.sentence for one in audit(connection)]

    assert [] != [one for one in found if sentence in one], found


def test_a_notice_of_nobody_is_named(database: Database, account: str) -> None:
    """Notices refer to accounts that exist."""
    with database.session() as connection:
        connection.execute("UPDATE notice SET account_id = 'acct_gone' WHERE recorded < ?", (400 * DAY,))
        found = [one.sentence for one in audit(connection)]

    assert "notice of acct_gone: a notice names an account that does not exist" in found


@pytest.mark.parametrize(
    ("request_id", "amount", "sentence"),
    [
        ("gone", 5, "a re-rating belongs to the call gone, which is not in the billing log"),
        ("r1", 61, "call r1: it cost 60, and re-ratings gave back 61"),
    ],
)
def test_a_planted_rerating_is_named(
    database: Database,
    new_account: Callable[..., str],
    make_settlement: Callable[..., Settlement],
    request_id: str,
    amount: int,
    sentence: str,
) -> None:
    """It belongs to a call, and gives back no more than that cost."""
    name = new_account(1000)
    with database.session() as connection:
        place_hold(connection, "r1", name, (100,), None, "p1", 0, 1)
        post_settlement(connection, make_settlement("r1", name, 50, 10), 2)
        entry_id, customer = f"rerate:v:{request_id}:usage", f"customer:{name}"
        connection.execute(INSERT, (entry_id, "revenue:usage", customer, amount, "adjustment", request_id, 3))
        found = [one.sentence for one in audit(connection)]

    assert [] != [one for one in found if sentence in one], found
