"""Stripe's library against the fake: what is asked, what comes back, what a failure becomes, which signatures pass."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from console.payments import InvalidSignature, Payments, PaymentsUnavailable, StripeRefused
from tests.fakes.stripe import API_KEY, SECRET, FakeStripe

URL = "https://www.example.com/"


@pytest.fixture
async def fake() -> AsyncIterator[FakeStripe]:
    """A Stripe."""
    started = await FakeStripe().start()
    yield started
    await started.close()


@pytest.fixture
async def payments(fake: FakeStripe) -> AsyncIterator[Payments]:
    """What we know of it."""
    opened = Payments(API_KEY, SECRET, fake.url)
    await opened.start()
    yield opened
    await opened.close()


async def opened(payments: Payments) -> str:
    """A session of 20 dollars."""
    return (await payments.open_session("recharge_1", "acct_1", 2_000, "20 USD of credit", URL, URL))[0]


async def test_a_session_is_opened_once_under_its_key(payments: Payments, fake: FakeStripe) -> None:
    """Asked again it is the same, also after an answer was lost."""
    fake.fail_next("lost")

    assert await opened(payments) == await opened(payments)
    session = next(iter(fake.sessions.values()))
    assert 1 == len(fake.sessions)
    assert {"recharge_id": "recharge_1", "account_id": "acct_1"} == session["metadata"]
    assert (2_000, "usd", "recharge_1") == (
        session["amount_total"],
        session["currency"],
        session["client_reference_id"],
    )


async def test_how_a_session_stands(payments: Payments, fake: FakeStripe) -> None:
    """Before and after it is paid."""
    session_id = await opened(payments)
    before = await payments.find_session(session_id)
    fake.pay(session_id)
    after = await payments.find_session(session_id)

    assert ("open", "paid", 2_000) == (before.state, after.state, after.amount_cents)
    with pytest.raises(StripeRefused):
        await payments.find_session("cs_none")


async def test_a_refund_is_made_once_and_found_again(payments: Payments, fake: FakeStripe) -> None:
    """Under an id of ours."""
    intent = fake.pay(await opened(payments))["payment_intent"]

    assert await payments.find_refund("refund_1", intent) is None
    made = [await payments.refund("refund_1", intent, 500) for _ in range(2)]

    assert made[0] == made[1] == await payments.find_refund("refund_1", intent)
    assert 1 == len(fake.refunds)
    with pytest.raises(StripeRefused):
        await payments.refund("refund_2", intent, 1_501)


@pytest.mark.parametrize("fault", ["break", "unreadable"])
async def test_what_is_not_known_is_unavailable(payments: Payments, fake: FakeStripe, fault: str) -> None:
    """Never taken for a refusal."""
    fake.fail_next(fault, 2)  # type: ignore[arg-type]

    with pytest.raises(PaymentsUnavailable):
        await opened(payments)


async def test_a_wrong_key_is_unavailable_and_does_not_show(fake: FakeStripe) -> None:
    """The operator has to mend it; nobody has to see it."""
    payments = Payments("sk_test_wrong_canary", SECRET, fake.url)
    await payments.start()
    try:
        with pytest.raises(PaymentsUnavailable) as caught:
            await opened(payments)
    finally:
        await payments.close()

    assert "canary" not in str(caught.value)


async def test_without_a_key_nothing_is_asked() -> None:
    """And nothing is loaded."""
    payments = Payments("", "", "http://127.0.0.1:9")
    await payments.start()

    assert (False, False) == (payments.on, payments.hears)
    with pytest.raises(PaymentsUnavailable):
        await payments.find_session("cs_1")
    with pytest.raises(InvalidSignature):
        payments.verify(b"{}", "t=1,v1=00")
    await payments.close()


async def test_signatures(payments: Payments, fake: FakeStripe) -> None:
    """Right and fresh passes; every other raises (the webhook's own tests have the long list)."""
    body, now = b'{"a": "\xc3\xbc"}', time.time()
    payments.verify(body, fake.sign(body))
    payments.verify(body, fake.sign(body, at=now - 298))

    for wrong in (
        fake.sign(body, secret="whsec_other"),
        fake.sign(body, at=now - 302),
        fake.sign(body, at=now + 310),
        fake.sign(body).replace("v1", "v0"),
        "",
    ):
        with pytest.raises(InvalidSignature):
            payments.verify(body, wrong)
    with pytest.raises(InvalidSignature):
        payments.verify(b"\xff", fake.sign(b"\xff"))
