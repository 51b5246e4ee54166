"""Recharges and refunds over the wire, with a Stripe that fails in every way and webhooks that never come."""

from __future__ import annotations

import asyncio

import pytest

from billing.money import UNITS_PER_USD
from console import recharge_desk
from storage.identifiers import now_microseconds
from tests.fakes.raw_upstream import RawUpstream
from tests.gateway import book
from tests.paying import SESSION, Shop, running_shop

DOLLAR = UNITS_PER_USD


async def ask_refund(shop: Shop, recharge_id: str, *, key: str = "") -> tuple[int, str, str]:
    """Ask for a refund: status, amount or error code, and how the refund stands."""
    reply = await shop.ask("POST", f"/recharges/{recharge_id}/refund", key=key)
    if reply.status != 200:
        return reply.status, reply.error["code"], ""
    return 200, reply.json["amount"], reply.json["status"]


async def sweep(shop: Shop, monkeypatch: pytest.MonkeyPatch, *, later_seconds: int = 0) -> None:
    """What the gateway does by itself every minute, so many seconds later."""
    monkeypatch.setattr(recharge_desk, "now_microseconds", lambda: now_microseconds() + later_seconds * 1_000_000)
    await shop.gateway.process._payments.desk.sweep()
    monkeypatch.undo()


async def test_the_unspent_part_goes_back_once(any_shop: Shop) -> None:
    """Twenty requests at the same time are one refund of what calls have left; whole cents only."""
    shop = any_shop
    recharge_id, intent = await shop.pay(20)
    await shop.spend(5 * DOLLAR + 1)

    asked = await asyncio.gather(*(ask_refund(shop, recharge_id) for _ in range(20)))

    assert {"14.99"} == {amount for _, amount, _ in asked}
    assert [1_499] == [refund["amount"] for refund in shop.stripe.refunds.values()]
    assert DOLLAR // 100 - 1 == shop.balance().balance
    await shop.tell("charge.refunded", shop.stripe.charges[intent])
    await shop.tell("refund.updated", next(iter(shop.stripe.refunds.values())))
    assert DOLLAR // 100 - 1 == shop.balance().balance
    shown = await shop.shown(recharge_id)
    assert ("partially_refunded", "14.99") == (shown["status"], shown["refunded"])


async def test_what_calls_in_flight_hold_is_not_refunded(shop: Shop) -> None:
    """It counts as spent."""
    recharge_id, _ = await shop.pay(20)
    ledger = shop.gateway.process._ledger
    await ledger.hold("req_1", shop.gateway.account_id, [15 * DOLLAR], deadline=2**61)

    assert (200, "5", "succeeded") == await ask_refund(shop, recharge_id)
    await ledger.release("req_1", shop.gateway.account_id)
    assert 15 * DOLLAR == shop.balance().available


async def test_a_refused_refund_is_given_back(any_shop: Shop) -> None:
    """The money returns to the lot it was taken from."""
    recharge_id, _ = await any_shop.pay(20)
    any_shop.stripe.fail_next("refuse")

    assert (409, "not_refundable", "") == await ask_refund(any_shop, recharge_id)
    assert 20 * DOLLAR == any_shop.balance().balance
    assert (200, "20", "succeeded") == await ask_refund(any_shop, recharge_id)
    assert 0 == any_shop.balance().balance


@pytest.mark.parametrize("fault", ["break", "lost", "unreadable"])
async def test_a_refund_of_which_stripe_says_nothing_is_finished_later(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Its money is out of the balance at once; the sweep learns whether Stripe made it, and it is made once."""
    recharge_id, _ = await shop.pay(20)
    shop.stripe.fail_next(fault, 2)  # type: ignore[arg-type]

    assert (200, "20", "pending") == await ask_refund(shop, recharge_id)
    assert 0 == shop.balance().balance
    assert (402, "insufficient_credits") == (await shop.gateway.chat()).code
    await sweep(shop, monkeypatch, later_seconds=90)

    assert 1 == len(shop.stripe.refunds)
    assert (200, "20", "succeeded") == await ask_refund(shop, recharge_id)
    assert 1 == len(shop.stripe.refunds)
    assert "refunded" == (await shop.shown(recharge_id))["status"]


async def test_a_refund_that_stripe_never_made_is_given_back(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time for which Stripe remembers its key, asking again could make it twice."""
    recharge_id, _ = await shop.pay(20)
    shop.stripe.fail_next("break", 2)
    assert (200, "20", "pending") == await ask_refund(shop, recharge_id)

    await sweep(shop, monkeypatch, later_seconds=21 * 3_600)

    assert 20 * DOLLAR == shop.balance().balance
    assert {} == shop.stripe.refunds


async def test_a_refund_that_fails_after_it_was_made_is_given_back(shop: Shop) -> None:
    """As when the card was closed in the meantime; told twice it returns once."""
    recharge_id, intent = await shop.pay(20)
    assert (200, "20", "succeeded") == await ask_refund(shop, recharge_id)
    await shop.tell("charge.refunded", shop.stripe.charges[intent])
    refund = next(iter(shop.stripe.refunds.values()))

    for _ in range(2):
        await shop.tell("refund.failed", refund, status="failed")
    assert 20 * DOLLAR == shop.balance().balance
    await shop.tell("refund.updated", refund)
    assert 20 * DOLLAR == shop.balance().balance


async def test_a_recharge_while_stripe_is_down(shop: Shop) -> None:
    """503 in our words, and the row says that nothing came of it."""
    shop.stripe.fail_next("break", 2)
    body = {"amount": 20, "success_url": "https://www.example.com/", "cancel_url": "https://www.example.com/"}

    reply = await shop.ask("POST", "/credits", body)

    assert (503, "payments_unavailable") == reply.code
    assert reply.headers["Retry-After"]
    assert ["failed"] == [recharge.status for recharge in shop.recharges()]


async def test_a_payment_that_no_webhook_told_of_is_found(any_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the return page at once, or by the sweep; the webhook that comes late credits nothing more."""
    shop = any_shop
    returned, first = await shop.open(20)
    _, second = await shop.open(30)
    sessions = [shop.stripe.pay(name) for name in (first, second)]

    shown = await shop.shown(returned)
    assert ("paid", "20") == (shown["status"], shown["credited"])
    assert 20 * DOLLAR == shop.balance().balance
    await sweep(shop, monkeypatch, later_seconds=400)
    assert 50 * DOLLAR == shop.balance().balance
    for session in sessions:
        await shop.tell(SESSION + "completed", session)
    assert 50 * DOLLAR == shop.balance().balance
    assert ["paid", "paid"] == [recharge.status for recharge in shop.recharges()]


async def test_stripe_is_not_asked_by_everybody_who_reloads(shop: Shop) -> None:
    """A page that is loaded again and again asks once in two seconds."""
    recharge_id, _ = await shop.open(20)
    before = len(shop.stripe.calls)

    await asyncio.gather(*(shop.shown(recharge_id) for _ in range(20)))

    assert len(shop.stripe.calls) - before <= 1


@pytest.mark.parametrize(
    ("paid_cents", "credited"), [(1_999, 1_999 * DOLLAR // 100), (2_500, 20 * DOLLAR)], ids=["less", "more"]
)
async def test_what_was_paid_is_credited_and_a_difference_is_told(shop: Shop, paid_cents: int, credited: int) -> None:
    """Never more than our row says."""
    _, session_id = await shop.open(20)

    await shop.tell(SESSION + "completed", shop.stripe.pay(session_id, cents=paid_cents))

    assert credited == shop.balance().balance
    assert [f"paid {paid_cents} cents of 2000"] == [recharge.difference for recharge in shop.recharges()]
    assert 1 == await shop.gateway.metric("recharge_differences_total")


async def test_another_currency_and_another_account_are_refused(shop: Shop) -> None:
    """Answered with 200, because repeating would change nothing; marked, counted and not credited."""
    _, foreign = await shop.open(20)
    await shop.tell(SESSION + "completed", shop.stripe.pay(foreign, currency="jpy"))
    _, stolen = await shop.open(20)
    session = shop.stripe.pay(stolen)
    reply = await shop.tell(SESSION + "completed", {**session, "metadata": {**session["metadata"], "account_id": "a"}})

    assert (200, "refused") == (reply.status, reply.json["outcome"])
    assert 0 == shop.balance().balance
    assert 2 == await shop.gateway.metric("recharge_differences_total")


async def test_refunds_and_disputes_that_are_told_before_the_payment(any_shop: Shop) -> None:
    """They wait for it."""
    shop = any_shop
    _, session_id = await shop.open(20)
    session = shop.stripe.pay(session_id)
    intent = session["payment_intent"]
    shop.stripe.refund(intent, 500)
    dispute = shop.stripe.dispute(intent, 300)

    for kind, found in (("charge.refunded", shop.stripe.charges[intent]), ("charge.dispute.created", dispute)):
        assert "unmatched" == (await shop.tell(kind, found)).json["outcome"]
    await shop.tell(SESSION + "completed", session)

    assert 12 * DOLLAR == shop.balance().balance


async def test_the_fee_on_recharges(sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream) -> None:
    """The card pays it on top, the amount is credited, and a refund returns the fee's share with it."""
    billing = {"fee_on": "recharge"}
    async with running_shop(book(alpha.url, beta.url), sqlite_database_url, billing=billing) as shop:
        recharge_id, intent = await shop.pay(20)
        assert (2_110, 20 * DOLLAR) == (shop.stripe.charges[intent]["amount"], shop.balance().balance)
        await shop.spend(10 * DOLLAR)
        assert (200, "10.55", "succeeded") == await ask_refund(shop, recharge_id)
        assert 0 == shop.balance().balance
        shop.prove()


async def test_other_peoples_recharges_are_not_there(shop: Shop) -> None:
    """The same answer as for one that does not exist."""
    recharge_id, _ = await shop.pay(20)
    _, key = shop.gateway.new_account("eve", credit=0)

    for name in (recharge_id, "recharge_none"):
        for method, path in (("GET", f"/recharges/{name}"), ("POST", f"/recharges/{name}/refund")):
            reply = await shop.ask(method, path, key=key)
            assert (404, "there is no such recharge") == (reply.status, reply.error["message"])
    assert [] == (await shop.ask("GET", "/recharges", key=key)).json["data"]
    assert 20 * DOLLAR == shop.balance().balance


async def test_without_stripe_payments_are_off(sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream) -> None:
    """And say so, each route."""
    keys = {"api_key": "", "webhook_secret": ""}
    async with running_shop(book(alpha.url, beta.url), sqlite_database_url, keys=keys) as shop:
        assert (503, "payments_off") == (await shop.ask("POST", "/credits", {"amount": 20})).code
        assert (503, "payments_off") == (await shop.deliver(b"{}", "t=1,v1=00")).code
        assert {"data": [], "next_cursor": None} == (await shop.ask("GET", "/recharges")).json
