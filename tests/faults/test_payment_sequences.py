"""Long random campaigns at the webhook: whatever is told how often in whatever order, across deaths, the books say the same.

An ordinary run is short; FIND_TOKEN_EXAM=1 plays ten thousand sequences and as many forgeries. The seed is printed, and
FIND_TOKEN_MIX_SEED=n plays it again.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import pytest

from billing.money import UNITS_PER_USD
from storage.accounts import create_account
from storage.audit import audit
from storage.database import Database, open_database
from storage.keys import create_key
from storage.migrating import migrate
from storage.postings import find_balance
from tests.fakes.raw_upstream import RawUpstream
from tests.fakes.stripe import API_KEY, SECRET, FakeStripe, signature
from tests.faults.processes import Running, started, write_files
from tests.gateway import book
from tests.paying import RETURN_URL, SESSION, Shop, running_shop

EXAM = os.environ.get("FIND_TOKEN_EXAM") == "1"
SEQUENCES = 10_000 if EXAM else 60
FORGERIES = 10_000 if EXAM else 300
DEATHS = 5 if EXAM else 2
SEQUENCES_OF_TWO, DEATHS_OF_TWO = (10_000, 20) if EXAM else (20, 0)
AT_ONCE = 20
CENT = UNITS_PER_USD // 100


def chosen_seed() -> int:
    """The seed to play, printed."""
    seed = int(os.environ.get("FIND_TOKEN_MIX_SEED") or secrets.randbelow(2**32))
    print(f"FIND_TOKEN_MIX_SEED={seed}")
    return seed


class Till(Protocol):
    """Where recharges are opened, and Stripe tells what became of them."""

    stripe: FakeStripe

    async def open(self, amount: float = 20, *, key: str = "") -> tuple[str, str]:
        """Open a recharge: its id, and its session's."""

    async def deliver(self, body: bytes) -> Any:
        """Stripe sends an event; what has a status and a body."""


async def story(till: Till, key: str, draw: random.Random) -> tuple[list[bytes], int]:
    """A recharge and everything that Stripe tells of it; and what its account must have of it in the end."""
    cents = draw.randrange(1_000, 5_001)
    _, session_id = await till.open(cents / 100, key=key)
    stripe = till.stripe
    unpaid = {**stripe.sessions[session_id], "status": "complete"}
    ending = draw.choice(("paid", "paid", "paid", "late", "failed", "expired"))
    if ending == "expired":
        return [stripe.event(SESSION + "expired", stripe.sessions[session_id], status="expired")], 0
    if ending == "failed":
        return [stripe.event(SESSION + kind, unpaid) for kind in ("completed", "async_payment_failed")], 0
    paid = draw.choice((cents, cents, cents, cents + 500, cents - 500))
    session = stripe.pay(session_id, cents=paid)
    events = [stripe.event(SESSION + "completed", unpaid)] if ending == "late" else []
    events.append(stripe.event(SESSION + ("async_payment_succeeded" if ending == "late" else "completed"), session))
    later, taken = what_follows(stripe, str(session["payment_intent"]), min(paid, cents) * CENT, draw)
    return events + later, min(paid, cents) * CENT - taken


def what_follows(stripe: FakeStripe, intent: str, credited: int, draw: random.Random) -> tuple[list[bytes], int]:
    """Refunds in parts and a dispute, as events, and what they take of the credit."""
    events, taken, paid = [], 0, stripe.charges[intent]["amount"]
    if draw.random() < 0.5:
        for _ in range(draw.randrange(1, 4)):
            left = paid - stripe.charges[intent]["amount_refunded"]
            refund = stripe.refund(intent, draw.randrange(1, left // 2 + 1))
            events.append(stripe.event("charge.refunded", stripe.charges[intent]))
            events += [stripe.event("refund.created", refund)] * draw.randrange(2)
        taken = credited * stripe.charges[intent]["amount_refunded"] // paid
    if draw.random() < 0.3:
        dispute, won = stripe.dispute(intent), draw.random() < 0.5
        events += [stripe.event(f"charge.dispute.{kind}", dispute) for kind in ("created", "funds_withdrawn")]
        events.append(stripe.event("charge.dispute.closed", dispute, status="won" if won else "lost"))
        if won:
            events.append(stripe.event("charge.dispute.funds_reinstated", dispute))
        else:
            taken += credited
    return events, taken


def shuffled(events: list[bytes], draw: random.Random) -> list[bytes]:
    """Each one to five times, in any order."""
    told = [event for event in events for _ in range(draw.randrange(1, 6))]
    draw.shuffle(told)
    return told


async def deliver(till: Till, events: list[bytes]) -> None:
    """Twenty at the same time; what a busy database could not take in time is told again, as Stripe does."""
    for start in range(0, len(events), AT_ONCE):
        waiting = events[start : start + AT_ONCE]
        for _ in range(20):
            replies = await asyncio.gather(*(till.deliver(event) for event in waiting))
            assert {reply.status for reply in replies} <= {200, 503}, [reply.body for reply in replies]
            waiting = [event for event, reply in zip(waiting, replies, strict=True) if reply.status == 503]
            if not waiting:
                break
            await asyncio.sleep(0.05)
        assert [] == waiting


async def batch(till: Till, database: Database, draw: random.Random) -> tuple[str, int]:
    """Twenty recharges of a new account, and everything that is told of them: the account, and what it must have then.

    An account of its own, because one alone may not ask for so many recharges a minute.
    """
    with database.session() as connection:
        account = create_account(connection, f"{secrets.token_hex(8)}@example.com")
        _, key = create_key(connection, account.id, "test", "sk-ft_")
    stories = [await story(till, key, draw) for _ in range(AT_ONCE)]
    await deliver(till, shuffled([event for events, _ in stories for event in events], draw))
    return account.id, sum(left for _, left in stories)


def prove(database: Database, expected: Mapping[str, int]) -> None:
    """Each account has what it must have, and the books agree with themselves."""
    with database.session(snapshot=True) as connection:
        assert expected == {account_id: find_balance(connection, account_id).balance for account_id in expected}
        assert [] == audit(connection)


async def test_any_sequence_of_webhooks_ends_the_same(database_url: str, alpha: RawUpstream, beta: RawUpstream) -> None:
    """Paid late or never, too much or too little, refunded in parts, disputed and won or lost."""
    draw = random.Random(chosen_seed())
    async with running_shop(book(alpha.url, beta.url), database_url) as shop:
        database = shop.gateway.database
        prove(database, dict([await batch(shop, database, draw) for _ in range(0, SEQUENCES, AT_ONCE)]))


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an event; 503 also where nobody answered."""

    status: int
    body: bytes = b""


class TwoDoors:
    """Two gateways on one database, either of which is asked or told."""

    def __init__(self, stripe: FakeStripe, draw: random.Random, client: aiohttp.ClientSession, urls: list[str]) -> None:
        self.stripe = stripe
        self.urls = urls
        self._client = client
        self._draw = draw

    async def open(self, amount: float = 20, *, key: str = "") -> tuple[str, str]:
        """Open a recharge at one of the two; at the other where nobody answers."""
        body = {"amount": amount, "success_url": RETURN_URL, "cancel_url": RETURN_URL}
        headers = {"Authorization": f"Bearer {key}"}
        while True:
            url = f"{self._draw.choice(self.urls)}/v1/user/credits"
            try:
                async with self._client.post(url, json=body, headers=headers) as response:
                    assert 200 == response.status, await response.text()
                    opened = await response.json()
                    return opened["recharge_id"], opened["checkout_url"].rpartition("/")[2]
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)

    async def deliver(self, body: bytes) -> Answer:
        """Stripe sends an event to one of the two, freshly signed."""
        url, headers = self._draw.choice(self.urls), {"Stripe-Signature": self.stripe.sign(body)}
        try:
            async with self._client.post(f"{url}/webhooks/stripe", data=body, headers=headers) as response:
                return Answer(response.status, await response.read())
        except aiohttp.ClientError:
            return Answer(503)


class Processes:
    """Gateways as processes: one may die, and another is started in its place."""

    def __init__(self, folder: Path, serve: tuple[str, ...], resources: AsyncExitStack) -> None:
        self._folder = folder
        self._serve = serve
        self._resources = resources
        self._running: list[Running] = []

    async def start(self) -> str:
        """Another process; where it listens."""
        self._running.append(await self._resources.enter_async_context(started(self._folder, *self._serve)))
        return self._running[-1].url

    async def replace(self, urls: list[str], draw: random.Random) -> None:
        """One of those at ``urls`` is killed in a moment, and another started."""
        await asyncio.sleep(0.1 + draw.random() / 10)
        place = draw.randrange(len(urls))
        [dying] = [running for running in self._running if running.url == urls[place]]
        dying.process.kill()
        urls[place] = await self.start()


async def test_two_gateways_hear_of_the_same_payments_at_once(
    postgres_database_url: str, alpha: RawUpstream, beta: RawUpstream, tmp_path: Path
) -> None:
    """S-042: whichever hears of it, however often: each payment is credited once. In the exam they are processes that die."""
    draw, stripe = random.Random(chosen_seed()), await FakeStripe().start()
    database = open_database(postgres_database_url)
    migrate(database)
    expected: dict[str, int] = {}
    batches = SEQUENCES_OF_TWO // AT_ONCE
    async with AsyncExitStack() as resources:
        resources.push_async_callback(stripe.close)
        client = await resources.enter_async_context(aiohttp.ClientSession())
        keys = {"api_key": API_KEY, "webhook_secret": SECRET, "api_base": stripe.url}
        hosts = {"return_hosts": ["www.example.com"]}
        settings = write_files(tmp_path, postgres_database_url, "http://127.0.0.1:9", stripe={**keys, **hosts})
        processes = Processes(tmp_path, ("--config", str(settings), "serve"), resources)
        deadly = set(draw.sample(range(batches), DEATHS_OF_TWO))
        if EXAM:
            urls = [await processes.start() for _ in range(2)]
        else:
            names: Any = ({"name": "ada"}, {"name": "bea"})
            shops = [
                running_shop(book(alpha.url, beta.url), postgres_database_url, stripe=stripe, **one) for one in names
            ]
            urls = [(await resources.enter_async_context(shop)).gateway.url for shop in shops]
        both = TwoDoors(stripe, draw, client, urls)
        for number in range(batches):
            told = asyncio.create_task(batch(both, database, draw))
            if number in deadly:
                await processes.replace(urls, draw)
            account_id, left = await told
            expected[account_id] = left
        prove(database, expected)


@pytest.fixture
async def shop(sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream) -> AsyncIterator[Shop]:
    """A gateway that takes payments."""
    async with running_shop(book(alpha.url, beta.url), sqlite_database_url) as running:
        yield running


async def test_no_forgery_credits(shop: Shop) -> None:
    """Another secret, an altered byte, an old or future signature, a cut header: each is refused."""
    draw = random.Random(chosen_seed())
    _, session_id = await shop.open(20)
    event = shop.stripe.event(SESSION + "completed", shop.stripe.pay(session_id))

    def forgery() -> tuple[bytes, str]:
        right, now = shop.stripe.sign(event), time.time()
        match draw.randrange(6):
            case 0:
                return event, shop.stripe.sign(event, secret=f"whsec_{draw.randrange(10**6)}")
            case 1:
                altered = bytearray(event)
                altered[draw.randrange(len(event))] ^= 1 << draw.randrange(7)
                return bytes(altered), right
            case 2:
                return event, shop.stripe.sign(event, at=now - draw.randrange(301, 10**6))
            case 3:
                return event, shop.stripe.sign(event, at=now + draw.randrange(310, 10**6))
            case 4:
                return event, right[: draw.randrange(1, len(right))]
        other = str(draw.randrange(10**10))
        return event, f"t={int(now)},v1={signature(event, other, shop.stripe.secret)}"

    for start in range(0, FORGERIES, AT_ONCE):
        forged = [forgery() for _ in range(min(AT_ONCE, FORGERIES - start))]
        replies = await asyncio.gather(*(shop.deliver(body, header) for body, header in forged))
        assert {400} == {reply.status for reply in replies}
    assert 0 == shop.balance().balance
    assert FORGERIES == await shop.gateway.metric("webhooks_total", outcome="rejected")
    assert 200 == (await shop.deliver(event)).status


async def test_killed_processes_credit_nothing_twice(database_url: str, tmp_path: Path) -> None:
    """S-051: killed more than once, at any moment, while paid events come in; told again to the next process, each is credited
    once."""
    draw, stripe = random.Random(chosen_seed()), await FakeStripe().start()
    keys = {"api_key": API_KEY, "webhook_secret": SECRET, "api_base": stripe.url, "return_hosts": ["www.example.com"]}
    serve = ("--config", str(write_files(tmp_path, database_url, "http://127.0.0.1:9", stripe=keys)), "serve")
    database = open_database(database_url)
    migrate(database)
    with database.session() as connection:
        account = create_account(connection, "ada@example.com")
        _, key = create_key(connection, account.id, "test", "sk-ft_")
    events: list[bytes] = []
    try:
        async with aiohttp.ClientSession() as client:
            for _ in range(DEATHS):
                async with started(tmp_path, *serve) as first:
                    events += [await paid_event(client, first.url, key, stripe) for _ in range(20)]
                    tasks = [asyncio.create_task(post(client, first.url, stripe, event)) for event in events]
                    await asyncio.sleep(draw.random() / 10)
                    first.process.kill()
                    await asyncio.gather(*tasks, return_exceptions=True)
            async with started(tmp_path, *serve) as last:
                for event in events:
                    statuses = [await post(client, last.url, stripe, event) for _ in range(2)]
                    assert 200 in statuses, statuses
        with database.session(snapshot=True) as connection:
            assert DEATHS * 200 * UNITS_PER_USD == find_balance(connection, account.id).balance
            assert [] == audit(connection)
    finally:
        await stripe.close()


async def paid_event(client: aiohttp.ClientSession, url: str, key: str, stripe: FakeStripe) -> bytes:
    """Open a recharge of ten dollars and pay it: the event that tells so."""
    body = {"amount": 10, "success_url": RETURN_URL, "cancel_url": RETURN_URL}
    headers = {"Authorization": f"Bearer {key}"}
    async with client.post(f"{url}/v1/user/credits", json=body, headers=headers) as response:
        assert 200 == response.status, await response.text()
        session_id = (await response.json())["checkout_url"].rpartition("/")[2]
    return stripe.event(SESSION + "completed", stripe.pay(session_id))


async def post(client: aiohttp.ClientSession, url: str, stripe: FakeStripe, event: bytes) -> int:
    """Send an event, signed now; the status of the answer."""
    headers = {"Stripe-Signature": stripe.sign(event)}
    async with client.post(f"{url}/webhooks/stripe", data=event, headers=headers) as response:
        return response.status
