"""What a new customer does, over HTTP alone: sign up, make a key, pay, call, read the bill, take the rest back."""

from __future__ import annotations

from decimal import Decimal

from tests.fakes.raw_upstream import RawUpstream
from tests.fakes.stripe import API_KEY, SECRET, FakeStripe
from tests.gateway import Reply, book
from tests.signing_in import Browser, Desk, running_desk

RETURN = "https://www.example.com/back"


async def tell(desk: Desk, stripe: FakeStripe, kind: str, found: dict[str, object]) -> Reply:
    """Stripe sends a signed event."""
    body = stripe.event(kind, found)
    headers = {"Authorization": "", "Stripe-Signature": stripe.sign(body)}
    return await desk.gateway.send(body, path="/webhooks/stripe", headers=headers)


async def pay(desk: Desk, stripe: FakeStripe, browser: Browser) -> str:
    """Open a checkout, pay there, and let Stripe tell; the recharge's id."""
    wish = {"amount": 20, "success_url": RETURN, "cancel_url": RETURN}
    opened = (await browser.ask("POST", "/v1/user/credits", wish)).json
    session = stripe.pay(opened["checkout_url"].rpartition("/")[2])
    assert 200 == (await tell(desk, stripe, "checkout.session.completed", session)).status
    return str(opened["recharge_id"])


async def test_from_a_mail_to_a_refund(database_url: str, alpha: RawUpstream, beta: RawUpstream) -> None:
    """Every amount agrees: the header of the call, the log, the balance, the refund, the mails."""
    stripe = await FakeStripe().start()
    shop = {"api_key": API_KEY, "webhook_secret": SECRET, "api_base": stripe.url, "return_hosts": ["www.example.com"]}
    async with running_desk(book(alpha.url, beta.url), database_url, stripe=shop) as desk:
        browser = desk.browser()
        assert 200 == (await browser.ask("POST", "/sign-in", form={"email": "new@example.com"})).status
        [invitation] = await desk.smtp.wait_for(1)
        assert 200 == (await browser.ask("GET", invitation.link)).status
        assert 303 == (await browser.ask("POST", "/sign-in/link", form={"token": invitation.token})).status

        key = (await browser.ask("POST", "/v1/user/keys", {"name": "laptop"})).json["key"]
        as_key = {"Authorization": f"Bearer {key}"}
        assert (402, "insufficient_credits") == (await desk.gateway.chat(headers=as_key)).code
        recharge_id = await pay(desk, stripe, browser)
        assert "20" == (await browser.ask("GET", "/v1/user/balance")).json["balance"]

        call = await desk.gateway.chat(headers=as_key)
        cost, left = Decimal(call.headers["X-FindToken-Cost"]), Decimal(call.headers["X-FindToken-Balance"])
        assert (200, Decimal(20)) == (call.status, cost + left)
        assert cost > 0
        balance = (await browser.ask("GET", "/v1/user/balance")).json
        [row] = (await browser.ask("GET", "/v1/user/billing-logs")).json["data"]
        assert (left, cost, call.header("Request-Id")) == (
            Decimal(balance["balance"]),
            Decimal(row["cost"]),
            row["request_id"],
        )

        refund = (await browser.ask("POST", f"/v1/user/recharges/{recharge_id}/refund")).json
        assert (Decimal("19.99"), "succeeded") == (Decimal(refund["amount"]), refund["status"])
        after = (await browser.ask("GET", "/v1/user/balance")).json
        assert left - Decimal("19.99") == Decimal(after["balance"])
        mails = await desk.smtp.wait_for(3)
        subjects = {str(mail.message["Subject"]) for mail in mails}
        assert {"Your link to find-token", "Receipt: 20 USD of credit", "Refund of 19.99 USD"} == subjects
        assert {("new@example.com",)} == {mail.recipients for mail in mails}
        for mail in mails:
            assert key not in mail.data.decode(), "no mail holds a key"
    await stripe.close()
