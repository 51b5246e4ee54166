"""Asking for a refund takes its money at once; its end is written once, whoever learns of it first."""

from __future__ import annotations

from billing.recharges import RefundTold
from storage.database import Connection, Database
from storage.payments import hear_payment, hear_session
from storage.postings import find_balance
from storage.recharges import Recharge, find_recharge
from storage.refunds import NothingRefundable, RefundRow, ask_refund, find_unfinished, finish_refund, list_refunds
from tests.storage.test_payments import DOLLAR, opened, paid

DAY = 86_400_000_000


def bought(connection: Connection, account: str) -> Recharge:
    """Ten dollars, paid at the first instant."""
    opened(connection, account)
    hear_session(connection, find_recharge(connection, "recharge_1"), paid(), None, 1)
    found = find_recharge(connection, "recharge_1")
    assert found is not None
    return found


def test_asked_sent_and_asked_again(database: Database, new_account) -> None:  # type: ignore[no-untyped-def]
    """The one that stands is returned; nothing is taken twice."""
    account = new_account()
    with database.session() as connection:
        recharge = bought(connection, account)
        first = ask_refund(connection, "refund_1", recharge, 14, "owner", 10)
        assert isinstance(first, RefundRow)
        assert first == ask_refund(connection, "refund_2", recharge, 14, "owner", 11)
        assert 0 == find_balance(connection, account).balance
        assert [(first, find_recharge(connection, "recharge_1"))] == find_unfinished(connection, 20, 5)
        done = finish_refund(connection, first, "re_1", 12)
        assert done == ask_refund(connection, "refund_3", recharge, 14, "owner", 13)
        assert ("sent", "re_1", 1_000) == (done.status, done.stripe_id, done.cents)
        assert [] == find_unfinished(connection, 20, 5)


def test_refused_is_given_back_and_may_be_asked_again(database: Database, new_account) -> None:  # type: ignore[no-untyped-def]
    """Under another id."""
    account = new_account()
    with database.session() as connection:
        recharge = bought(connection, account)
        first = ask_refund(connection, "refund_1", recharge, 14, "owner", 10)
        assert isinstance(first, RefundRow)
        assert "failed" == finish_refund(connection, first, None, 11).status
        assert 10 * DOLLAR == find_balance(connection, account).balance
        assert "failed" == finish_refund(connection, first, "re_1", 12).status
        second = ask_refund(connection, "refund_2", recharge, 14, "owner", 13)
        assert isinstance(second, RefundRow)
        assert ("refund_2", "asked") == (second.id, second.status)


def test_stripe_may_tell_of_it_first(database: Database, new_account) -> None:  # type: ignore[no-untyped-def]
    """Without our id in it: its twin is forgotten when we learn that they are the same."""
    account = new_account()
    with database.session() as connection:
        recharge = bought(connection, account)
        asked = ask_refund(connection, "refund_1", recharge, 14, "owner", 10)
        assert isinstance(asked, RefundRow)
        told = RefundTold(payment_intent="pi_1", stripe_id="re_1", refund_id="", cents=1_000, status="sent")
        hear_payment(connection, recharge, told, None, 11)
        finish_refund(connection, asked, "re_1", 12)
        assert ["refund_1"] == [row.id for row in list_refunds(connection, "pi_1")]
        assert 0 == find_balance(connection, account).balance


def test_too_old_or_not_paid(database: Database, new_account) -> None:  # type: ignore[no-untyped-def]
    """After the window, and before the payment."""
    account = new_account()
    with database.session() as connection:
        recharge = bought(connection, account)
        late = ask_refund(connection, "refund_1", recharge, 14, "owner", 14 * DAY + 1)
        assert isinstance(late, NothingRefundable)
        assert 10 * DOLLAR == find_balance(connection, account).balance
