"""Facts and entries in one transaction; what is about no recharge is kept for whoever looks, and for whoever pays later."""

from __future__ import annotations

from billing.recharges import DisputeTold, RefundedTold, RefundTold, SessionTold
from storage.audit import audit
from storage.database import Connection, Database
from storage.payments import Event, hear_payment, hear_session, list_unmatched
from storage.postings import find_balance
from storage.recharges import create_recharge, find_by_payment, find_recharge, open_recharge

DOLLAR = 10**8


def paid(recharge_id: str = "recharge_1", intent: str = "pi_1") -> SessionTold:
    """A session that paid ten dollars."""
    return SessionTold(
        session_id="cs_1",
        recharge_id=recharge_id,
        account_id="",
        state="paid",
        currency="usd",
        amount_cents=1_000,
        payment_intent=intent,
    )


def opened(connection: Connection, account: str) -> None:
    """A recharge of ten dollars that waits to be paid."""
    create_recharge(connection, "recharge_1", account, 10 * DOLLAR, 1_000, 1)
    open_recharge(connection, "recharge_1", "cs_1")


def test_a_payment_its_refund_and_its_dispute(database: Database, new_account) -> None:  # type: ignore[no-untyped-def]
    """Each moves the balance once, under an entry of its own, and the audit agrees."""
    account = new_account()
    refunded = RefundedTold(payment_intent="pi_1", refunded_cents=300)
    dispute = DisputeTold(payment_intent="pi_1", dispute_id="dp_1", cents=1_000, phase="opened")
    balances = []
    with database.session() as connection:
        opened(connection, account)
        for now in (10, 20):
            hear_session(connection, find_recharge(connection, "recharge_1"), paid(), Event("evt_1", "t"), now)
            for told in (refunded, dispute):
                hear_payment(connection, find_by_payment(connection, "pi_1"), told, None, now)
                balances.append(find_balance(connection, account).balance)
        ids = [row[0] for row in connection.execute("SELECT id FROM entry ORDER BY id").fetchall()]
        assert [] == audit(connection)

    assert [7 * DOLLAR, -3 * DOLLAR] + [-3 * DOLLAR] * 2 == balances
    assert ["dispute:dp_1", "recharge_1", "refund:recharge_1:1"] == ids


def test_facts_wait_for_their_payment(database: Database, new_account) -> None:  # type: ignore[no-untyped-def]
    """And are noted until then; whoever finds the payment only while writing is told to come again."""
    account = new_account()
    refund = RefundTold(payment_intent="pi_1", stripe_id="re_1", refund_id="", cents=400, status="sent")
    with database.session() as connection:
        opened(connection, account)
        assert "unmatched" == hear_payment(connection, None, refund, Event("evt_1", "refund.created"), 5).outcome
        assert [("evt_1", "refund.created", "pi_1", 5)] == list_unmatched(connection, 10)
        hear_session(connection, find_recharge(connection, "recharge_1"), paid(), None, 6)
        assert 6 * DOLLAR == find_balance(connection, account).balance
        assert "again" == hear_payment(connection, None, refund, None, 7).outcome
        assert [] == audit(connection)


def test_a_payment_pays_one_recharge(database: Database, new_account) -> None:  # type: ignore[no-untyped-def]
    """Told of another it is refused, and so is another payment for the first."""
    account = new_account()
    with database.session() as connection:
        opened(connection, account)
        create_recharge(connection, "recharge_2", account, 10 * DOLLAR, 1_000, 1)
        first, second = (find_recharge(connection, name) for name in ("recharge_1", "recharge_2"))
        assert "credited" == hear_session(connection, first, paid(), None, 5).outcome
        assert "refused" == hear_session(connection, second, paid("recharge_2"), None, 6).outcome
        assert "refused" == hear_session(connection, first, paid(intent="pi_2"), None, 7).outcome
        assert 10 * DOLLAR == find_balance(connection, account).balance
