"""A figure of a payment that is changed by hand is found and named."""

from __future__ import annotations

import pytest

from billing.recharges import DisputeTold, RefundedTold
from storage.audit import audit
from storage.database import Database
from storage.payments import hear_payment, hear_session
from storage.recharges import find_by_payment, find_recharge
from tests.storage.test_payments import opened, paid

FORGERIES = (
    ("UPDATE recharge SET credited = credited - 1", "recharge recharge_1"),
    ("UPDATE recharge SET refunded = 0", "recharge recharge_1"),
    ("UPDATE recharge SET amount = amount - 1", "recharge recharge_1"),
    ("UPDATE recharge SET paid_cents = 0", "recharge recharge_1"),
    ("UPDATE payment SET refunded_cents = 0", "recharge recharge_1"),
    ("UPDATE dispute SET taken = NULL", "dispute dp_1"),
    ("UPDATE dispute SET given_back = 5", "dispute dp_1"),
    ("DELETE FROM recharge", "entry recharge_1"),
)


@pytest.mark.parametrize(("statement", "subject"), FORGERIES)
def test_a_forged_figure_is_found(database: Database, new_account, statement: str, subject: str) -> None:  # type: ignore[no-untyped-def]
    """Right before, named after."""
    account = new_account()
    with database.session() as connection:
        opened(connection, account)
        hear_session(connection, find_recharge(connection, "recharge_1"), paid(), None, 5)
        for told in (
            RefundedTold(payment_intent="pi_1", refunded_cents=300),
            DisputeTold(payment_intent="pi_1", dispute_id="dp_1", cents=500, phase="opened"),
        ):
            hear_payment(connection, find_by_payment(connection, "pi_1"), told, None, 6)
        assert [] == audit(connection)
        connection.execute(statement)
        assert subject in [disagreement.subject for disagreement in audit(connection)]
