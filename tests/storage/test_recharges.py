"""Rows of recharges: found by whom they concern, asked about once, never paid back to an earlier state."""

from __future__ import annotations

import pytest

from storage.accounts import UnknownAccount, set_status
from storage.database import Database
from storage.recharges import (
    create_recharge,
    fail_abandoned,
    fail_recharge,
    find_by_session,
    find_recharge,
    find_unheard,
    open_recharge,
    take_up,
)


def test_a_recharge_from_wish_to_session(database: Database, new_account) -> None:  # type: ignore[no-untyped-def]
    """Made before Stripe is asked; found by its id, its session and its owner only."""
    owner, other = new_account(), new_account()
    with database.session() as connection:
        create_recharge(connection, "recharge_1", owner, 10**9, 1_000, 5_000_000)
        made = find_recharge(connection, "recharge_1", owner)
        assert made is not None
        assert ("created", False) == (made.status, made.may_be_paid)
        assert find_recharge(connection, "recharge_1", other) is None
        open_recharge(connection, "recharge_1", "cs_1")
        fail_recharge(connection, "recharge_1")
        opened = find_by_session(connection, "cs_1")
        assert opened is not None
        assert ("open", True) == (opened.status, opened.may_be_paid)


def test_a_deactivated_account_buys_nothing(database: Database, new_account) -> None:  # type: ignore[no-untyped-def]
    """Nor does one that is not there."""
    account = new_account()
    with database.session() as connection:
        set_status(connection, account, "deactivated")
        for name in (account, "acct_none"):
            with pytest.raises(UnknownAccount):
                create_recharge(connection, "recharge_1", name, 10**9, 1_000, 1)


def test_who_takes_up_a_question_asks_it_alone(database: Database, new_account) -> None:  # type: ignore[no-untyped-def]
    """The longest unasked come first; what was never opened is ended."""
    account = new_account()
    with database.session() as connection:
        for number in (1, 2, 3):
            create_recharge(connection, f"recharge_{number}", account, 10**9, 1_000, number * 10_000_000)
        for number in (1, 2):
            open_recharge(connection, f"recharge_{number}", f"cs_{number}")
        due = find_unheard(connection, "open", 30_000_000, 0, 10)
        assert ["recharge_1", "recharge_2"] == [recharge.id for recharge in due]
        assert take_up(connection, "recharge_1", 40_000_000, 30_000_000)
        assert not take_up(connection, "recharge_1", 40_000_001, 30_000_000)
        assert 1 == fail_abandoned(connection, 90_000_000)
