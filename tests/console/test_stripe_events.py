"""Stripe's objects as they are published, and everything that is none."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st
from stripe.checkout import Session

from billing.recharges import DisputeTold, RefundedTold, RefundTold, SessionTold
from console.stripe_events import READERS, Unreadable, read_event, read_session
from tests.fakes.stripe import FakeStripe

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = (
    "id",
    "amount",
    "amount_total",
    "amount_refunded",
    "currency",
    "payment_intent",
    "charge",
    "metadata",
    "status",
)


def opened(fake: FakeStripe) -> dict[str, Any]:
    """A session as the fake makes it."""
    price = {"currency": "usd", "unit_amount": "2000"}
    lines = [{"quantity": "1", "price_data": price}]
    ids = {"recharge_id": "recharge_1", "account_id": "acct_1"}
    return fake._open_session(
        {"line_items": lines, "mode": "payment", "metadata": ids, "success_url": "s", "cancel_url": "c"}
    )


def test_the_fake_speaks_as_stripe_does() -> None:
    """Every field that it answers is one that Stripe's own library knows."""
    fake = FakeStripe()
    session = fake.pay(opened(fake)["id"])
    intent = session["payment_intent"]
    known: list[tuple[type, dict[str, Any]]] = [
        (Session, session),
        (stripe.Charge, fake.charges[intent]),
        (stripe.Refund, fake.refund(intent, 100)),
        (stripe.Dispute, fake.dispute(intent)),
    ]

    for kind, found in known:
        assert set() == found.keys() - kind.__annotations__.keys(), kind


def test_the_types_are_stripes() -> None:
    """Every type of event that we hear is one that Stripe's library lets an endpoint ask for."""
    known = inspect.getsource(inspect.getmodule(stripe.params.WebhookEndpointCreateParams) or stripe)

    assert [] == [kind for kind in READERS if f'"{kind}"' not in known]


def test_each_kind_is_read() -> None:
    """With ids, cents and what it means."""
    fake = FakeStripe()
    session = fake.pay(opened(fake)["id"])
    intent = session["payment_intent"]
    refund = fake.refund(intent, 100, {"refund_id": "refund_1"})
    told = {
        kind: read_event({"id": "evt_1", "type": kind, "data": {"object": found}})[2]
        for kind, found in (
            ("checkout.session.completed", session),
            ("charge.refunded", fake.charges[intent]),
            ("refund.created", refund),
            ("charge.dispute.closed", {**fake.dispute(intent), "id": "dp_1", "status": "won"}),
        )
    }

    assert {
        "checkout.session.completed": SessionTold(
            session_id=session["id"],
            recharge_id="recharge_1",
            account_id="acct_1",
            state="paid",
            currency="usd",
            amount_cents=2_000,
            payment_intent=intent,
        ),
        "charge.refunded": RefundedTold(payment_intent=intent, refunded_cents=100),
        "refund.created": RefundTold(
            payment_intent=intent, stripe_id=refund["id"], refund_id="refund_1", cents=100, status="sent"
        ),
        "charge.dispute.closed": DisputeTold(payment_intent=intent, dispute_id="dp_1", cents=2_000, phase="returned"),
    } == told


@pytest.mark.parametrize(
    ("session", "state"),
    [
        ({"status": "open", "payment_status": "unpaid"}, "open"),
        ({"status": "complete", "payment_status": "unpaid"}, "unpaid"),
        ({"status": "complete", "payment_status": "no_payment_required"}, "unpaid"),
        ({"status": "complete", "payment_status": "paid"}, "paid"),
        ({"status": "expired", "payment_status": "unpaid"}, "expired"),
    ],
)
def test_how_a_session_stands(session: dict[str, str], state: str) -> None:
    """Only what says "paid" is paid."""
    assert state == read_session({"id": "cs_1", **session}).state


def test_other_types_tell_nothing() -> None:
    """They are no error."""
    assert ("evt_1", "invoice.paid", None) == read_event({"id": "evt_1", "type": "invoice.paid"})


@given(st.sampled_from(sorted(READERS)), st.dictionaries(st.sampled_from(NAMES), JSON))
def test_junk_is_unreadable_and_never_a_crash(kind: str, found: dict[str, Any]) -> None:
    """Whatever types the fields have."""
    try:
        _, _, told = read_event({"id": "evt_1", "type": kind, "data": {"object": found}})
    except Unreadable:
        return
    assert told is not None
