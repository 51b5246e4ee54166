"""Stripe as far as the gateway needs it: an HTTP server that the real library talks to, and the events that Stripe would send.

Checkout sessions, refunds and their list, idempotency keys with replay and conflict, refunds beyond what is left refused.
Faults are ordered with `fail_next`. Whatever it answers has only fields that Stripe's library knows (a test says so).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import re
import time
from typing import Any, Literal

from aiohttp import web

API_KEY = "sk_test_canary_of_the_fake"
SECRET = "whsec_canary_of_the_fake"

Fault = Literal["refuse", "break", "lost", "silence", "unreadable"]
Fields = dict[str, Any]


class FakeStripe:
    """One account at Stripe. `start` it, use `url` as stripe.api_base."""

    def __init__(self, secret: str = SECRET) -> None:
        self.secret = secret
        self.url = ""
        self.sessions: dict[str, Fields] = {}
        self.charges: dict[str, Fields] = {}
        """By payment intent."""
        self.refunds: dict[str, Fields] = {}
        self.calls: list[tuple[str, str, str | None]] = []
        """Method, path and idempotency key of everything that was asked."""
        self._faults: list[Fault] = []
        self._replies: dict[str, tuple[str, Fields]] = {}
        self._numbers = itertools.count(1)
        self._runner: web.AppRunner | None = None

    async def start(self) -> FakeStripe:
        """Listen on a port of the system's choice."""
        application = web.Application()
        application.router.add_route("*", "/v1/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def close(self) -> None:
        """Stop listening: from now on Stripe is down."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def fail_next(self, fault: Fault, times: int = 1) -> None:
        """The next questions meet a fault: refused, the connection broken before or after the work, silence, nonsense."""
        self._faults += [fault] * times

    def new_id(self, prefix: str) -> str:
        """An id as Stripe makes them."""
        return f"{prefix}_{next(self._numbers):06d}fake"

    # --- what people do ---------------------------------------------------------------------------------------------

    def pay(self, session_id: str, *, cents: int | None = None, currency: str | None = None) -> Fields:
        """Somebody pays on the page of a session; the session as it is then."""
        session, intent = self.sessions[session_id], self.new_id("pi")
        session |= {"status": "complete", "payment_status": "paid", "payment_intent": intent}
        if cents is not None:
            session["amount_total"] = cents
        if currency is not None:
            session["currency"] = currency
        self.charges[intent] = {
            "id": self.new_id("ch"),
            "object": "charge",
            "amount": session["amount_total"],
            "amount_refunded": 0,
            "currency": session["currency"],
            "payment_intent": intent,
            "metadata": dict(session["metadata"]),
            "refunded": False,
            "disputed": False,
            "paid": True,
            "status": "succeeded",
        }
        return session

    def refund(self, intent: str, cents: int, metadata: Fields | None = None) -> Fields:
        """A refund, asked for by us or made in Stripe's dashboard."""
        charge, refund_id = self.charges[intent], self.new_id("re")
        charge["amount_refunded"] += cents
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]
        self.refunds[refund_id] = {
            "id": refund_id,
            "object": "refund",
            "amount": cents,
            "charge": charge["id"],
            "currency": charge["currency"],
            "payment_intent": intent,
            "metadata": metadata or {},
            "status": "succeeded",
            "created": int(time.time()),
        }
        return self.refunds[refund_id]

    def dispute(self, intent: str, cents: int | None = None) -> Fields:
        """A customer disputes a payment."""
        charge = self.charges[intent]
        return {
            "id": self.new_id("dp"),
            "object": "dispute",
            "amount": charge["amount"] if cents is None else cents,
            "charge": charge["id"],
            "currency": charge["currency"],
            "payment_intent": intent,
            "metadata": {},
            "reason": "fraudulent",
            "status": "needs_response",
            "created": int(time.time()),
        }

    # --- what Stripe sends ------------------------------------------------------------------------------------------

    def event(self, kind: str, found: Fields, **changes: Any) -> bytes:
        """An event of this type about an object as it is now, as the bytes that Stripe would send."""
        told = {
            "id": self.new_id("evt"),
            "object": "event",
            "api_version": "2026-10-28.fake",
            "created": int(time.time()),
            "data": {"object": {**found, **changes}},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": kind,
        }
        return json.dumps(told, indent=2).encode()

    def sign(self, body: bytes, *, at: float | None = None, secret: str | None = None) -> str:
        """The Stripe-Signature of a body."""
        moment = str(int(time.time() if at is None else at))
        return f"t={moment},v1={signature(body, moment, self.secret if secret is None else secret)}"

    # --- the API ----------------------------------------------------------------------------------------------------

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body, key = await request.text(), request.headers.get("Idempotency-Key")
        self.calls.append((request.method, request.path, key))
        fault = self._faults.pop(0) if self._faults else None
        if fault == "break":
            return _broken(request)
        if fault == "silence":
            await asyncio.sleep(60)
        if fault == "unreadable":
            return web.Response(text="<html>bad gateway</html>", status=502)
        if request.headers.get("Authorization") != f"Bearer {API_KEY}":
            return _error(401, "invalid_request_error", "Invalid API Key provided")
        if fault == "refuse":
            return _error(400, "invalid_request_error", "This is refused.", "charge_already_refunded")
        if request.method == "POST" and key is not None and key in self._replies:
            asked, answer = self._replies[key]
            if asked != request.path + body:
                return _error(400, "idempotency_error", "Keys can only be used with the same parameters.")
            replayed = web.json_response(answer, headers={"Idempotent-Replayed": "true"})
            return _broken(request) if fault == "lost" else replayed
        fields = nested(dict(await request.post())) if request.method == "POST" else dict(request.query)
        answer = self._answer(request.method, request.path.split("/")[2:], fields)
        if isinstance(answer, web.Response):
            return answer
        if request.method == "POST" and key is not None:
            self._replies[key] = (request.path + body, dict(answer))
        return _broken(request) if fault == "lost" else web.json_response(answer)

    def _answer(self, method: str, path: list[str], fields: Fields) -> Fields | web.Response:
        match method, path:
            case "POST", ["checkout", "sessions"]:
                return self._open_session(fields)
            case "GET", ["checkout", "sessions", session_id] if session_id in self.sessions:
                return self.sessions[session_id]
            case "POST", ["refunds"] if (charge := self.charges.get(fields["payment_intent"])) is not None:
                left, cents = charge["amount"] - charge["amount_refunded"], int(fields["amount"])
                if cents > left:
                    return _error(400, "invalid_request_error", "Refund amount is greater than unrefunded amount")
                return dict(self.refund(fields["payment_intent"], cents, fields.get("metadata")))
            case "GET", ["refunds"]:
                mine = [one for one in self.refunds.values() if one["payment_intent"] == fields["payment_intent"]]
                return {"object": "list", "data": mine, "has_more": False, "url": "/v1/refunds"}
        return _error(404, "invalid_request_error", "No such object", "resource_missing")

    def _open_session(self, fields: Fields) -> Fields:
        price, session_id = fields["line_items"][0]["price_data"], self.new_id("cs_test")
        cents = int(price["unit_amount"]) * int(fields["line_items"][0]["quantity"])
        self.sessions[session_id] = {
            "id": session_id,
            "object": "checkout.session",
            "amount_subtotal": cents,
            "amount_total": cents,
            "cancel_url": fields["cancel_url"],
            "client_reference_id": fields.get("client_reference_id"),
            "created": int(time.time()),
            "currency": price["currency"],
            "expires_at": int(time.time()) + 86_400,
            "livemode": False,
            "metadata": fields.get("metadata", {}),
            "mode": fields["mode"],
            "payment_intent": None,
            "payment_method_types": ["card"],
            "payment_status": "unpaid",
            "status": "open",
            "success_url": fields["success_url"],
            "url": f"{self.url}/pay/{session_id}",
        }
        return self.sessions[session_id]


def signature(body: bytes, moment: str, secret: str) -> str:
    """What stands behind v1= for a body signed at a moment."""
    return hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()


def nested(form: Fields) -> Any:
    """`a[b][0][c]=1` as {"a": {"b": [{"c": "1"}]}}."""
    found: Fields = {}
    for name, text in form.items():
        *parents, last = re.findall(r"[^\[\]]+", name)
        place = found
        for part in parents:
            place = place.setdefault(part, {})
        place[last] = text
    return _with_lists(found)


def _with_lists(found: Any) -> Any:
    if not isinstance(found, dict):
        return found
    inner = {name: _with_lists(value) for name, value in found.items()}
    return [inner[name] for name in sorted(inner, key=int)] if inner and all(map(str.isdigit, inner)) else inner


def _error(status: int, kind: str, message: str, code: str | None = None) -> web.Response:
    error = {"type": kind, "message": message, **({"code": code} if code else {})}
    return web.json_response({"error": error}, status=status)


def _broken(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()
