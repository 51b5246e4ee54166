"""A gateway that takes payments, for tests: over a fake Stripe, with what customers and Stripe do over the wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from billing.money import Money
from middlewares.correlate import new_request_id
from providers.catalogue import Catalogue
from storage.audit import audit
from storage.calls import CallRow
from storage.identifiers import now_microseconds
from storage.postings import Balance, Held, Settlement, place_hold, post_settlement
from storage.recharges import Recharge, list_recharges
from tests.fakes.stripe import API_KEY, SECRET, FakeStripe, Fields
from tests.gateway import Gateway, Reply, running_gateway

RETURN_URL = "https://www.example.com/back"
SESSION = "checkout.session."


class Shop:
    """A gateway, its Stripe, and an account with nothing on it."""

    def __init__(self, gateway: Gateway, stripe: FakeStripe) -> None:
        self.gateway = gateway
        self.stripe = stripe

    async def ask(self, method: str, path: str, body: Any = None, *, key: str = "") -> Reply:
        """A call of the account plane."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return await self.gateway.send(data, path=f"/v1/user{path}", method=method, headers=headers)

    async def open(self, amount: float = 20, *, key: str = "") -> tuple[str, str]:
        """Open a recharge: its id, and its session's."""
        body = {"amount": amount, "success_url": RETURN_URL, "cancel_url": RETURN_URL}
        reply = await self.ask("POST", "/credits", body, key=key)
        assert 200 == reply.status, reply.body
        return reply.json["recharge_id"], reply.json["checkout_url"].rpartition("/")[2]

    async def pay(self, amount: float = 20, *, key: str = "") -> tuple[str, str]:
        """Recharge, pay, and let Stripe tell: the recharge's id and the payment's."""
        recharge_id, session_id = await self.open(amount, key=key)
        session = self.stripe.pay(session_id)
        assert 200 == (await self.tell(SESSION + "completed", session)).status
        return recharge_id, str(session["payment_intent"])

    async def tell(self, kind: str, found: Fields, **changes: Any) -> Reply:
        """Stripe sends an event about an object."""
        return await self.deliver(self.stripe.event(kind, found, **changes))

    async def deliver(self, body: bytes, header: str | None = None, more: Mapping[str, str] | None = None) -> Reply:
        """These bytes arrive at the webhook, signed unless a header of the test's own is given ("" for none)."""
        header = self.stripe.sign(body) if header is None else header
        headers = {"Authorization": "", **({"Stripe-Signature": header} if header else {}), **(more or {})}
        return await self.gateway.send(body, path="/webhooks/stripe", headers=headers)

    def balance(self, account_id: str = "") -> Balance:
        """What is in the books."""
        return self.gateway.balance(account_id)

    def recharges(self, account_id: str = "") -> list[Recharge]:
        """The account's recharges, newest first."""
        with self.gateway.database.session(snapshot=True) as connection:
            return list_recharges(connection, account_id or self.gateway.account_id, limit=10_000)

    async def shown(self, recharge_id: str) -> Any:
        """A recharge as its owner sees it."""
        return (await self.ask("GET", f"/recharges/{recharge_id}")).json

    async def spend(self, amount: Money, account_id: str = "") -> None:
        """A call costs an account so much."""
        account, request_id = account_id or self.gateway.account_id, new_request_id()
        row = CallRow(
            request_id=request_id,
            created=now_microseconds(),
            account_id=account,
            key_id="key_test",
            path="/v1/chat/completions",
            requested_model="standard",
            model="standard",
            provider="alpha",
            mode="standard",
            payer="credits",
            streamed=False,
            status=200,
            billing_outcome="complete",
            usage_source="provider",
            provider_cost=amount,
            cost=amount,
        )
        settlement = Settlement(row, (), delivered=True)
        with self.gateway.database.session() as connection:
            now = now_microseconds()
            held = place_hold(connection, request_id, account, [amount], None, "a test", now + 60_000_000, now)
            assert isinstance(held, Held), held
            post_settlement(connection, settlement, now)

    def prove(self) -> None:
        """The books agree with themselves."""
        with self.gateway.database.session(snapshot=True) as connection:
            assert [] == audit(connection)


@asynccontextmanager
async def running_shop(
    catalogue: Catalogue,
    database_url: str,
    *,
    stripe: FakeStripe | None = None,
    keys: Mapping[str, Any] | None = None,
    **sections: Mapping[str, Any],
) -> AsyncIterator[Shop]:
    """A gateway over a Stripe of its own (or one that outlives it), whose account has nothing.

    ``keys`` are settings of the table stripe.
    """
    own = stripe is None
    used = await FakeStripe().start() if stripe is None else stripe
    usual = {"api_key": API_KEY, "webhook_secret": SECRET, "api_base": used.url, "return_hosts": ["www.example.com"]}
    sections = {**sections, "stripe": {**usual, **(keys or {})}}
    try:
        async with running_gateway(catalogue, database_url, credit=0, **sections) as gateway:
            yield Shop(gateway, used)
    finally:
        if own:
            await used.close()
