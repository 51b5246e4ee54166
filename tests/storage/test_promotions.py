"""Promotional credit that lapses: what is left of that lot is taken, once, and nothing else; the books agree."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from storage.audit import audit
from storage.database import Database
from storage.expiry import Expiry
from storage.identifiers import now_microseconds
from storage.ledger import place_hold, post_credit
from storage.lots import read_credits
from storage.postings import find_balance, release_hold
from storage.promotions import find_due, find_lapses, give_promotion, lapse_promotion

NewAccount = Callable[..., str]


def left_of(database: Database, account: str) -> dict[str, int]:
    """What is left of each lot."""
    with database.session(snapshot=True) as connection:
        return {lot.id: lot.left for lot in read_credits(connection, account, 14).lots.lots}


def test_only_what_is_left_of_it_is_taken(database: Database, new_account: NewAccount) -> None:
    """Not before its time, not twice, and from no other lot, though it stands in the middle of them."""
    account = new_account(0)
    with database.session() as connection:
        give_promotion(connection, "first", account, 100, "for ever", 1, None)
        give_promotion(connection, "second", account, 50, "for a while", 2, 1_000)
        post_credit(connection, "paid", account, 30, "stripe:clearing", "card", 3)
        assert {"second": 1_000} == find_lapses(connection, account)
        assert ([], [("second", account)]) == (find_due(connection, 999), find_due(connection, 1_000))
        assert 0 == lapse_promotion(connection, "second", account, 999)
        assert 50 == lapse_promotion(connection, "second", account, 1_000)
        assert 0 == lapse_promotion(connection, "second", account, 1_001)
        assert ([], {}) == (find_due(connection, 2_000), find_lapses(connection, account))
        assert 130 == find_balance(connection, account).balance
        assert [] == audit(connection)

    assert {"first": 100, "second": 0, "paid": 30} == left_of(database, account)


def test_what_calls_hold_is_left_to_them(database: Database, new_account: NewAccount) -> None:
    """And follows when they have given it back."""
    account = new_account(0)
    with database.session() as connection:
        give_promotion(connection, "gift", account, 100, "for a while", 1, 1_000)
        place_hold(connection, "r1", account, (60,), None, "p1", 10**17, 1)
        assert 40 == lapse_promotion(connection, "gift", account, 1_000)
        assert [("gift", account)] == find_due(connection, 1_000)
        assert 0 == lapse_promotion(connection, "gift", account, 1_001)
        release_hold(connection, "r1", account)
        assert 60 == lapse_promotion(connection, "gift", account, 1_002)
        assert [] == find_due(connection, 1_003)
        assert [] == audit(connection)
        assert 0 == find_balance(connection, account).balance


def test_a_debt_is_not_made(database: Database, new_account: NewAccount) -> None:
    """What was spent is spent: only what is there is taken."""
    account = new_account(0)
    with database.session() as connection:
        give_promotion(connection, "gift", account, 100, "for a while", 1, 1_000)
        post_credit(connection, "other", account, 10, "promotion", "for ever", 2)
        give_promotion(connection, "late", account, 5, "for a while", 3, 900)
        assert 5 == lapse_promotion(connection, "late", account, 1_000)
        assert 100 == lapse_promotion(connection, "gift", account, 1_000)
        assert 10 == find_balance(connection, account).balance
        with pytest.raises(ValueError, match="after it is given"):
            give_promotion(connection, "past", account, 5, "too late", 10, 10)


async def test_a_running_gateway_does_it(database: Database, new_account: NewAccount) -> None:
    """With its other expiries, whoever runs it, and once."""
    account, now = new_account(0), now_microseconds()
    with database.session() as connection:
        give_promotion(connection, "gift", account, 100, "for a while", now - 10, now - 5)

    for _ in range(2):
        await Expiry(database, 365).run()

    with database.session(snapshot=True) as connection:
        assert 0 == find_balance(connection, account).balance
        assert [] == audit(connection)
