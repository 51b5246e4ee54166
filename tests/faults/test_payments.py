"""Payments as hostile and unlucky people meet them: scenarios of the catalogue on real wires, three seeds each."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator

import pytest

from billing.money import UNITS_PER_USD
from tests.fakes.raw_upstream import RawUpstream
from tests.fakes.stripe import signature
from tests.gateway import BookLock, book
from tests.paying import RETURN_URL, SESSION, Shop, running_shop

SEEDS = (1, 2, 3)
DOLLAR = UNITS_PER_USD


@pytest.fixture
async def shop(database_url: str, alpha: RawUpstream, beta: RawUpstream) -> AsyncIterator[Shop]:
    """A gateway that takes payments, on each kind of database."""
    async with running_shop(book(alpha.url, beta.url), database_url) as running:
        yield running
        running.prove()


@pytest.fixture
async def sqlite_shop(sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream) -> AsyncIterator[Shop]:
    """A gateway that takes payments, on SQLite."""
    async with running_shop(book(alpha.url, beta.url), sqlite_database_url) as running:
        yield running
        running.prove()


@pytest.mark.parametrize("seed", SEEDS)
async def test_one_event_delivered_twenty_times_credits_once(shop: Shop, seed: int) -> None:
    """S-042: at the same time and again later, freshly signed."""
    _, session_id = await shop.open(20)
    event = shop.stripe.event(SESSION + "completed", shop.stripe.pay(session_id))

    replies = await asyncio.gather(*(shop.deliver(event) for _ in range(20)))
    later = [await shop.deliver(event, shop.stripe.sign(event, at=time.time() + seed)) for _ in range(5)]

    assert [200] * 25 == [reply.status for reply in [*replies, *later]]
    assert (20 * DOLLAR, 1) == (shop.balance().balance, len(shop.recharges()))
    assert 20 == await shop.gateway.metric("recharges_usd_total")


async def test_the_fee_is_in_the_price_of_a_call_alone(shop: Shop) -> None:
    """S-028: twenty dollars paid are twenty to spend, to the digit; a call of 1000/500 tokens costs the fee once."""
    await shop.pay(20)
    assert 20 * DOLLAR == shop.balance().balance
    reply = await shop.gateway.chat()

    assert (29_540, 20 * DOLLAR - 29_540) == (reply.money("Cost"), shop.balance().balance)


@pytest.mark.parametrize("seed", SEEDS)
async def test_completed_is_not_paid(shop: Shop, seed: int) -> None:
    """S-044: only what is paid is credited, when it is; what failed never is."""
    _, late = await shop.open(20)
    unpaid = {**shop.stripe.sessions[late], "status": "complete"}
    await shop.tell(SESSION + "completed", unpaid)
    assert 0 == shop.balance().balance

    await shop.tell(SESSION + "async_payment_succeeded", shop.stripe.pay(late))
    assert 20 * DOLLAR == shop.balance().balance

    _, failing = await shop.open(10 + seed)
    unpaid = {**shop.stripe.sessions[failing], "status": "complete"}
    completed = shop.stripe.event(SESSION + "completed", unpaid)
    await shop.deliver(completed)
    await shop.tell(SESSION + "async_payment_failed", unpaid)
    await shop.deliver(completed)

    assert 20 * DOLLAR == shop.balance().balance
    assert ["failed", "paid"] == [recharge.status for recharge in shop.recharges()]


@pytest.mark.parametrize("seed", SEEDS)
async def test_forged_stale_and_altered_webhooks_credit_nothing(sqlite_shop: Shop, seed: int) -> None:
    """S-046: twenty variants are refused, the two that are right pass."""
    shop, draw = sqlite_shop, random.Random(seed)
    sessions = [(await shop.open(20))[1] for _ in range(3)]
    event, first, second = (shop.stripe.event(SESSION + "completed", shop.stripe.pay(session)) for session in sessions)
    now = time.time()
    right = shop.stripe.sign(event)
    moment, good = str(int(now)), signature(event, str(int(now)), shop.stripe.secret)
    huge = "1" + "0" * 30
    altered = bytearray(event)
    altered[draw.randrange(len(altered))] ^= 1
    form = b"type=checkout.session.completed&id=evt_1"
    forged = [
        (event, "", {}),
        (event, " ", {}),
        (event, shop.stripe.sign(event, secret=""), {}),
        (event, shop.stripe.sign(event, secret="whsec_of_somebody_else"), {}),
        (event, f"t={moment},v0={good}", {}),
        (event, shop.stripe.sign(event, at=now - 301), {}),
        (event, shop.stripe.sign(event, at=now + 400), {}),
        (event, f"v1={good}", {}),
        (event, f"t=-1,v1={signature(event, '-1', shop.stripe.secret)}", {}),
        (event, f"t={huge},v1={signature(event, huge, shop.stripe.secret)}", {}),
        (event, f"t=1e30,v1={signature(event, '1e30', shop.stripe.secret)}", {}),
        (event, f"t={moment},t={moment},v1={good}", {}),
        (event, f"t={moment},v1={good.upper()}", {}),
        (event, f"t={moment},v1=", {}),
        (event, f"t={moment},v1=ü{good}", {}),
        (bytes(altered), right, {}),
        (event, shop.stripe.sign(event + b" "), {}),
        (json.dumps(json.loads(event)).encode(), right, {}),
        (form, shop.stripe.sign(form), {}),
        (event, right, {"Content-Encoding": "gzip"}),
        (b"[" * 100_000, shop.stripe.sign(b"[" * 100_000), {}),
    ]
    for number, (body, header, more) in enumerate(forged):
        reply = await shop.deliver(body, header, more)
        assert 400 <= reply.status < 500, (number, reply.status, reply.body)
    assert 0 == shop.balance().balance

    rotated = f"t={moment},v1={'0' * 64},v1={signature(first, moment, shop.stripe.secret)}"
    assert 200 == (await shop.deliver(first, rotated)).status
    assert 200 == (await shop.deliver(second, shop.stripe.sign(second, at=time.time() - 299))).status
    assert 40 * DOLLAR == shop.balance().balance


async def test_two_signature_headers_are_none(sqlite_shop: Shop) -> None:
    """S-046: which of them would count?"""
    _, session_id = await sqlite_shop.open(20)
    event = sqlite_shop.stripe.event(SESSION + "completed", sqlite_shop.stripe.pay(session_id))
    header = sqlite_shop.stripe.sign(event)
    head = f"POST /webhooks/stripe HTTP/1.1\r\nHost: gateway\r\nContent-Length: {len(event)}\r\n"
    twice = f"Stripe-Signature: {header}\r\n" * 2

    caller = await sqlite_shop.gateway.dial_raw(f"{head}{twice}Connection: close\r\n\r\n".encode() + event)

    assert b"HTTP/1.1 400" == (await caller.read_all())[:12]
    assert 0 == sqlite_shop.balance().balance


@pytest.mark.parametrize("secret", ["", "   "])
async def test_without_a_secret_nothing_is_believed(
    sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream, secret: str
) -> None:
    """S-047: every webhook is refused, also one signed with the empty secret."""
    async with running_shop(book(alpha.url, beta.url), sqlite_database_url, keys={"webhook_secret": secret}) as shop:
        _, session_id = await shop.open(20)
        event = shop.stripe.event(SESSION + "completed", shop.stripe.pay(session_id))
        headers = [shop.stripe.sign(event), shop.stripe.sign(event, secret=secret), "", "t=1,v1="]

        codes = [(await shop.deliver(event, header)).code for header in headers]

        assert [(503, "payments_off")] * 4 == codes
        assert 0 == shop.balance().balance


@pytest.mark.parametrize("seed", SEEDS)
async def test_an_unknown_session_is_noted_and_credits_nothing(shop: Shop, seed: int) -> None:
    """S-050: answered, and kept as an unmatched payment that operators see."""
    _, session_id = await shop.open(20)
    known = shop.stripe.pay(session_id)
    foreign = {**known, "id": f"cs_foreign_{seed}", "metadata": {}, "client_reference_id": None}

    reply = await shop.tell(SESSION + "completed", foreign)

    assert (200, "unmatched") == (reply.status, reply.json["outcome"])
    assert 0 == shop.balance().balance
    assert 1 == await shop.gateway.metric("webhooks_total", type=SESSION + "completed", outcome="unmatched")


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_refund_after_spending_leaves_a_debt(shop: Shop, seed: int) -> None:
    """S-053: nothing can be spent until it is paid, and what comes next pays it first."""
    spent = 5 * DOLLAR + seed
    _, intent = await shop.pay(10)
    await shop.spend(spent)
    shop.stripe.refund(intent, 1_000)

    for _ in range(2):
        await shop.tell("charge.refunded", shop.stripe.charges[intent])
    assert -spent == shop.balance().balance
    assert (402, "insufficient_credits") == (await shop.gateway.chat()).code

    await shop.pay(10)
    assert 10 * DOLLAR - spent == shop.balance().balance
    assert ["paid", "refunded"] == [(await shop.shown(recharge.id))["status"] for recharge in shop.recharges()]


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_dispute_that_is_won_and_then_a_refund(shop: Shop, seed: int) -> None:
    """S-054: 10, 0, 10, 0, however often each is told."""
    _, intent = await shop.pay(10)
    dispute = shop.stripe.dispute(intent)
    balances = [shop.balance().balance]

    for kind in ("funds_withdrawn", "funds_reinstated"):
        for told in (kind, "created" if kind == "funds_withdrawn" else kind, kind):
            await shop.tell(f"charge.dispute.{told}", dispute)
        balances.append(shop.balance().balance)
    await shop.tell("charge.dispute.closed", dispute, status="won")
    shop.stripe.refund(intent, 1_000)
    for _ in range(1 + seed):
        await shop.tell("charge.refunded", shop.stripe.charges[intent])
    balances.append(shop.balance().balance)

    assert [10 * DOLLAR, 0, 10 * DOLLAR, 0] == balances


async def test_a_refund_races_with_a_running_call(shop: Shop) -> None:
    """S-055: the money of a refund that Stripe made goes, held or not; what the call takes besides is a debt."""
    _, intent = await shop.pay(10)
    ledger = shop.gateway.process._ledger
    await ledger.hold("req_race", shop.gateway.account_id, [9 * DOLLAR], deadline=2**61)
    shop.stripe.refund(intent, 1_000)

    await shop.tell("charge.refunded", shop.stripe.charges[intent])

    assert (0, 9 * DOLLAR) == (shop.balance().balance, shop.balance().held)
    assert (402, "insufficient_credits") == (await shop.gateway.chat()).code
    await ledger.release("req_race", shop.gateway.account_id)
    assert (0, 0) == (shop.balance().balance, shop.balance().held)


async def test_a_webhook_while_the_database_is_away(
    sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream, book_lock: BookLock
) -> None:
    """S-058: 5xx within three seconds, and credited once when it is sent again."""
    async with running_shop(book(alpha.url, beta.url), sqlite_database_url) as shop:
        sessions = [(await shop.open(10))[1] for _ in range(20)]
        events = [shop.stripe.event(SESSION + "completed", shop.stripe.pay(session)) for session in sessions]
        book_lock.take()
        began = time.monotonic()
        replies = await asyncio.gather(*(shop.deliver(event) for event in events))
        took = time.monotonic() - began
        book_lock.release()

        assert [(503, "storage_unavailable")] * 20 == [reply.code for reply in replies]
        assert took < 3.5, took
        for event in events * 2:
            assert 200 == (await shop.deliver(event)).status
        assert 200 * DOLLAR == shop.balance().balance
        shop.prove()


async def test_junk_at_the_webhook_is_refused_unread(sqlite_shop: Shop) -> None:
    """S-059: a large body, deep JSON, a gzip bomb and slow bodies cost nothing, and a real event is credited meanwhile."""
    shop = sqlite_shop
    head = b"POST /webhooks/stripe HTTP/1.1\r\nHost: gateway\r\nContent-Length: 1000000\r\n\r\n{"
    slow = [await shop.gateway.dial_raw(head) for _ in range(50)]
    deep = b"[" * 100_000
    large = await shop.gateway.dial_raw(head.replace(b"1000000", b"10000000\r\nStripe-Signature: t=1,v1=00"))
    signed = {"Stripe-Signature": "t=1,v1=00"}

    began = time.monotonic()
    replies = [
        await shop.deliver(deep, "t=1,v1=00"),
        await shop.deliver(deep, "t=1,v1=00", {**signed, "Content-Encoding": "gzip"}),
        await shop.deliver(b"{}", ""),
    ]
    await shop.pay(10)

    assert [400, 400, 400] == [reply.status for reply in replies]
    assert time.monotonic() - began < 5
    assert 10 * DOLLAR == shop.balance().balance
    assert b"HTTP/1.1 413" == (await large.read_until(b"\r\n"))[:12]
    for caller in slow:
        assert b"HTTP/1.1 400" == (await caller.read_until(b"\r\n"))[:12]


AMOUNTS = [
    ("-5", 400),
    ("0", 400),
    ("9.99", 400),
    ("10", 200),
    ("20.005", 400),
    ("1e12", 400),
    ('"20"', 400),
    ("NaN", 400),
    ("Infinity", 400),
    ("null", 400),
    ("true", 400),
    ("[10]", 400),
    ("1e999999999", 400),
    ("1.1e1", 200),
]
URLS = [
    "https://evil.example.com/",
    "https://www.example.com.evil.com/",
    "https://www.example.com@evil.com/",
    "https://evil.com\\\\@www.example.com/",
    "http://www.example.com/",
    "javascript:alert(1)",
    "https://www.example.com/a\\r\\nSet-Cookie: b",
    "//www.example.com/",
    "https://www.example.com:99999/",
    "https://www.example.com:8443/",
    "",
]


async def test_a_recharge_is_asked_for_exactly(sqlite_shop: Shop) -> None:
    """S-060: exact amounts in dollars, addresses that only lead back, and what Stripe was asked for."""
    shop = sqlite_shop
    template = '{{"amount":{amount},"success_url":"{url}","cancel_url":"{url}"}}'

    for amount, status in AMOUNTS:
        reply = await shop.ask("POST", "/credits", template.format(amount=amount, url=RETURN_URL).encode())
        assert status == reply.status, (amount, reply.body)
    for url in URLS:
        reply = await shop.ask("POST", "/credits", template.format(amount=10, url=url).encode())
        assert 400 == reply.status, url
        assert reply.error["param"] == "success_url", url

    asked = [(session["amount_total"], session["currency"]) for session in shop.stripe.sessions.values()]
    assert [(1_000, "usd"), (1_100, "usd")] == asked
    assert all(key for method, _, key in shop.stripe.calls if method == "POST")


async def test_fourteen_days(
    sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S-056: what is left of lots in time, the oldest spent first; asked twice is paid once."""
    async with running_shop(book(alpha.url, beta.url), sqlite_database_url) as shop:
        real = time.time_ns
        passed_days = [0.0]
        monkeypatch.setattr(time, "time_ns", lambda: real() + int(passed_days[0] * 86_400 * 10**9))
        first, _ = await shop.pay(10)
        passed_days[0] = 10
        second, _ = await shop.pay(20)
        await shop.spend(12 * DOLLAR)

        async def refundable() -> list[str]:
            return [(await shop.shown(name))["refundable"] for name in (first, second)]

        passed_days[0] = 13.99
        assert ["0", "18"] == await refundable()
        passed_days[0] = 23.99
        assert ["0", "18"] == await refundable()
        twice = [await shop.ask("POST", f"/recharges/{second}/refund") for _ in range(2)]
        assert [(200, "18")] * 2 == [(reply.status, reply.json["amount"]) for reply in twice]
        assert 1 == len({reply.json["refund_id"] for reply in twice})
        assert [1_800] == [refund["amount"] for refund in shop.stripe.refunds.values()]
        assert 0 == shop.balance().balance
        third, _ = await shop.pay(10)
        passed_days[0] = 38.01
        assert (409, "not_refundable") == (await shop.ask("POST", f"/recharges/{third}/refund")).code
        shop.prove()
