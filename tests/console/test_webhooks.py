"""What the webhook answers and counts; scenarios of fraud and mishap are in tests/faults/test_payments.py."""

from __future__ import annotations

from tests.paying import SESSION, Shop


async def test_what_becomes_of_each_is_said_and_counted(shop: Shop) -> None:
    """By the type of the event, types that are not ours together."""
    _, session_id = await shop.open(20)
    session = shop.stripe.pay(session_id)
    outcomes = [
        (await shop.tell(kind, session)).json["outcome"]
        for kind in (SESSION + "completed", SESSION + "completed", "invoice.paid", "an.invented.one")
    ]
    await shop.deliver(b"{}", "t=1,v1=00")

    assert ["credited", "nothing_new", "ignored", "ignored"] == outcomes
    counted = {
        (labels["type"], labels["outcome"]): value
        for name, labels, value in await shop.gateway.metrics()
        if name == "findtoken_webhooks_total"
    }
    assert {
        (SESSION + "completed", "credited"): 1,
        (SESSION + "completed", "nothing_new"): 1,
        ("other", "ignored"): 2,
        ("other", "rejected"): 1,
    } == counted


async def test_an_object_that_cannot_be_read_is_refused(shop: Shop) -> None:
    """Signed or not: so that Stripe shows the operator that something is wrong."""
    for body in (
        b"null",
        b"[]",
        b"{}",
        shop.stripe.event("charge.refunded", {}),
        shop.stripe.event("refund.created", {}),
    ):
        assert (400, "invalid_json") == (await shop.deliver(body)).code
