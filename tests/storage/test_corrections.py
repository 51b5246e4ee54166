"""Adjustments and undone expiries: posted once under their id, never below what is there, and the books agree."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from storage.accounts import UnknownAccount, find_account
from storage.audit import audit
from storage.corrections import post_adjustment, post_expiry, restore_expired
from storage.database import Database
from storage.ledger import place_hold
from storage.postings import Balance, InsufficientCredit, LedgerViolation

NewAccount = Callable[..., str]


def test_an_adjustment_is_posted_once_under_its_name(database: Database, new_account: NewAccount) -> None:
    """Again it changes nothing; another amount under the name is refused."""
    account = new_account(100)
    with database.session() as connection:
        assert Balance(105, 0) == post_adjustment(connection, "one", account, 5, "a gift", 7)
        assert Balance(105, 0) == post_adjustment(connection, "one", account, 5, "a gift", 8)
        with pytest.raises(LedgerViolation, match="another entry"):
            post_adjustment(connection, "one", account, -5, "other", 9)
        with pytest.raises(LedgerViolation, match="more than nothing"):
            post_adjustment(connection, "two", account, 0, "other", 9)
        with pytest.raises(UnknownAccount):
            post_adjustment(connection, "three", "acct_gone", 5, "other", 9)
        assert [] == audit(connection)


def test_no_more_is_taken_back_than_is_available(database: Database, new_account: NewAccount) -> None:
    """What is held for a call is not available."""
    account = new_account(100)
    with database.session() as connection:
        place_hold(connection, "r1", account, (60,), None, "p1", 10**17, 1)
        refused = post_adjustment(connection, "one", account, -41, "too much", 7)
        assert isinstance(refused, InsufficientCredit)
        assert (40, 41) == (refused.available, refused.required)
        assert Balance(60, 60) == post_adjustment(connection, "one", account, -40, "all of it", 7)
        assert [] == audit(connection)


def test_an_expiry_is_undone_once_and_counts_as_activity(database: Database, new_account: NewAccount) -> None:
    """S-057: a day's expiry is posted once; undoing it twice undoes nothing more."""
    account = new_account(100)
    with database.session() as connection:
        assert post_expiry(connection, account, 100, "2026-11-27", "idle", 10)
        assert not post_expiry(connection, account, 100, "2026-11-27", "idle", 11)
        assert (f"expiry:{account}:2026-11-27", 100) == restore_expired(connection, account, "sorry", 10**16)
        assert restore_expired(connection, account, "sorry", 13) is None
        found = find_account(connection, account)
    assert found is not None
    assert (100, 10**16) == (found.balance, found.last_active)
