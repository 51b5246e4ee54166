"""simulator/checkout.py: a Stripe for demos, spoken to by Stripe's own library through the gateway's one door to it."""

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from console.payments import Payments, PaymentsUnavailable, StripeRefused
from simulator.checkout import API_KEY, WEBHOOK_SECRET
from simulator.server import Running

BACK = "http://localhost/back"
LEFT = 'http://localhost/left?a="<b>'


@pytest.fixture
async def payments(simulator: Running) -> AsyncIterator[Payments]:
    """What the gateway knows Stripe by."""
    payments = Payments(API_KEY, WEBHOOK_SECRET, f"{simulator.url}/stripe")
    await payments.start()
    yield payments
    await payments.close()


async def pay(http: aiohttp.ClientSession, page: str) -> str:
    """Press the button; where the visitor is led."""
    async with http.post(page, allow_redirects=False) as led:
        assert led.status == 303
        return led.headers["Location"]


async def test_a_session_is_paid_by_a_button(payments: Payments, http: aiohttp.ClientSession) -> None:
    """The page names the amount and leads back, nobody's text becomes markup, and a session is paid once."""
    session_id, page = await payments.open_session("recharge_1", "acct_1", 2_050, "Credits <of> a test", BACK, LEFT)
    assert (session_id, page) == await payments.open_session("recharge_1", "acct_1", 2_050, "x", BACK, LEFT)
    assert (await payments.find_session(session_id)).state == "open"
    async with http.get(page) as shown:
        text = await shown.text()
    assert "Pay $20.50" in text
    assert "Credits &lt;of&gt; a test" in text
    assert "&quot;&lt;b&gt;" in text

    assert [BACK, BACK] == [await pay(http, page), await pay(http, page)]
    told = await payments.find_session(session_id)
    assert ("paid", 2_050, "usd", "recharge_1", "acct_1") == (
        told.state,
        told.amount_cents,
        told.currency,
        told.recharge_id,
        told.account_id,
    )
    async with http.get(page, allow_redirects=False) as again:
        assert (303, BACK) == (again.status, again.headers["Location"])


async def test_refunds_are_of_what_was_paid(payments: Payments, http: aiohttp.ClientSession) -> None:
    """No more than is left, once for an id of ours, and found again."""
    session_id, page = await payments.open_session("recharge_1", "acct_1", 2_000, "Credits", BACK, LEFT)
    await pay(http, page)
    intent = (await payments.find_session(session_id)).payment_intent

    first = await payments.refund("refund_1", intent, 1_500)
    assert first == await payments.refund("refund_1", intent, 1_500) == await payments.find_refund("refund_1", intent)
    assert ("sent", 1_500) == (first.status, first.cents)
    with pytest.raises(StripeRefused):
        await payments.refund("refund_2", intent, 501)
    assert (await payments.refund("refund_2", intent, 500)).cents == 500


async def test_what_happens_is_told_signed(simulator: Running, payments: Payments, http: aiohttp.ClientSession) -> None:
    """A payment and a refund, to whoever listens; where nobody does, the visitor is led back all the same."""
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def hear(request: web.Request) -> web.Response:
        body = await request.read()
        payments.verify(body, request.headers["Stripe-Signature"])
        heard.put_nowait(json.loads(body)["type"])
        return web.Response()

    listener = web.Application()
    listener.router.add_post("/hook", hear)
    runner = web.AppRunner(listener)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    simulator.checkout.webhook_url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    session_id, page = await payments.open_session("recharge_1", "acct_1", 2_000, "Credits", BACK, LEFT)
    await pay(http, page)
    await payments.refund("refund_1", (await payments.find_session(session_id)).payment_intent, 100)
    assert ["checkout.session.completed", "refund.created"] == [heard.get_nowait() for _ in range(heard.qsize())]

    await runner.cleanup()
    _, page = await payments.open_session("recharge_2", "acct_1", 2_000, "Credits", BACK, LEFT)
    assert await pay(http, page) == BACK


async def test_others_are_not_let_in(simulator: Running, http: aiohttp.ClientSession) -> None:
    """Another key, a session that does not exist, a session without a price."""
    payments = Payments("sk_test_other", WEBHOOK_SECRET, f"{simulator.url}/stripe")
    await payments.start()
    with pytest.raises(PaymentsUnavailable):
        await payments.open_session("recharge_1", "acct_1", 2_000, "Credits", BACK, LEFT)
    await payments.close()
    async with http.get(f"{simulator.url}/stripe/pay/cs_test_none") as missing:
        assert missing.status == 404
    headers = {"Authorization": f"Bearer {API_KEY}"}
    async with http.post(f"{simulator.url}/stripe/v1/checkout/sessions", data={}, headers=headers) as refused:
        assert (400, "invalid_request_error") == (refused.status, (await refused.json())["error"]["type"])
