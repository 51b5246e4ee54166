"""Stripe as far as a demo needs it, under `/stripe`: checkout sessions, a page on which a button pays, refunds, and webhooks.

No card is asked for and no money moves. What happens is told to `webhook_url`, signed like Stripe's; nobody is told where
there is none, and whoever has asked for a session can look how it stands.
"""

import hashlib
import hmac
import html
import json
import time
from typing import Any, Final

import aiohttp
from aiohttp import web

API_KEY: Final = "sk_test_simulated"
WEBHOOK_SECRET: Final = "whsec_simulated"  # noqa: S105 - it guards nothing: this Stripe is not one
MOST_SESSIONS: Final = 10_000
WEBHOOK_SECONDS: Final = 5.0

Fields = dict[str, Any]

_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Simulated payment</title>
<body style="font: 16px/1.5 sans-serif; max-width: 30em; margin: 4em auto">
<h1>${amount}</h1>
<p>{name}. This page stands in for Stripe's: no card is asked for and no money moves.</p>
<form method="post"><button>Pay ${amount}</button></form>
<p><a href="{cancel_url}">Cancel</a></p>
"""


class CheckoutRoutes:
    """One account at a simulated Stripe."""

    def __init__(self) -> None:
        self.root = ""
        """Where the simulator answers; the address of payment pages begins with it."""
        self.webhook_url = ""
        """Who is told of payments and refunds; nobody where it is empty."""
        self._sessions: dict[str, Fields] = {}
        self._refunds: dict[str, Fields] = {}

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Put the routes into an application's router."""
        router.add_post("/stripe/v1/checkout/sessions", self.open_session)
        router.add_get("/stripe/v1/checkout/sessions/{id}", self.show_session)
        router.add_post("/stripe/v1/refunds", self.refund)
        router.add_get("/stripe/v1/refunds", self.list_refunds)
        router.add_get("/stripe/pay/{id}", self.show_page)
        router.add_post("/stripe/pay/{id}", self.pay)

    async def open_session(self, request: web.Request) -> web.Response:
        """A session for one price; the same idempotency key is the same session."""
        _let_in(request)
        form = await request.post()
        session_id = "cs_test_" + _name(request.headers.get("Idempotency-Key", str(time.time_ns())))
        try:
            cents = int(str(form["line_items[0][price_data][unit_amount]"]))
            urls = {name: str(form[name]) for name in ("success_url", "cancel_url")}
        except (KeyError, ValueError):
            raise _refused(400, "a session has a price, a success_url and a cancel_url") from None
        if session_id not in self._sessions and len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        session = {
            "id": session_id,
            "object": "checkout.session",
            "amount_total": cents,
            "client_reference_id": form.get("client_reference_id"),
            "created": int(time.time()),
            "currency": form.get("line_items[0][price_data][currency]", "usd"),
            "metadata": {
                name[9:-1]: str(text) for name, text in form.items() if name.startswith("metadata[") and name[-1] == "]"
            },
            "mode": "payment",
            "name": form.get("line_items[0][price_data][product_data][name]", ""),
            "payment_intent": None,
            "payment_status": "unpaid",
            "status": "open",
            "url": f"{self.root}/stripe/pay/{session_id}",
            **urls,
        }
        return web.json_response(self._sessions.setdefault(session_id, session))

    async def show_session(self, request: web.Request) -> web.Response:
        """How a session stands."""
        _let_in(request)
        return web.json_response(self._session(request))

    async def show_page(self, request: web.Request) -> web.Response:
        """The page to pay on; a session that is paid leads back at once."""
        session = self._session(request)
        if session["payment_status"] == "paid":
            raise web.HTTPSeeOther(session["success_url"])
        shown = {"amount": f"{session['amount_total'] / 100:.2f}", **{k: session[k] for k in ("name", "cancel_url")}}
        text = _PAGE.format(**{name: html.escape(str(value)) for name, value in shown.items()})
        return web.Response(text=text, content_type="text/html")

    async def pay(self, request: web.Request) -> web.Response:
        """The button of that page: the session is paid, this is told, and the visitor led back."""
        session = self._session(request)
        if session["payment_status"] != "paid":
            session |= {"status": "complete", "payment_status": "paid", "payment_intent": "pi_" + session["id"][8:]}
            await self._tell("checkout.session.completed", session)
        raise web.HTTPSeeOther(session["success_url"])

    async def refund(self, request: web.Request) -> web.Response:
        """Give back a part of what was paid; the same idempotency key is the same refund."""
        _let_in(request)
        form = await request.post()
        intent, refund_id = str(form.get("payment_intent", "")), "re_" + _name(request.headers["Idempotency-Key"])
        paid = sum(one["amount_total"] for one in self._sessions.values() if one["payment_intent"] == intent)
        back = sum(one["amount"] for one in self._refunds.values() if one["payment_intent"] == intent)
        if refund_id not in self._refunds:
            cents = str(form.get("amount", ""))
            if not cents.isdecimal() or not 0 < int(cents) <= paid - back:
                raise _refused(400, "a refund is of a payment, and no more than is left of it")
            self._refunds[refund_id] = {
                "id": refund_id,
                "object": "refund",
                "amount": int(cents),
                "created": int(time.time()),
                "currency": "usd",
                "metadata": {"refund_id": str(form.get("metadata[refund_id]", ""))},
                "payment_intent": intent,
                "status": "succeeded",
            }
            await self._tell("refund.created", self._refunds[refund_id])
        return web.json_response(self._refunds[refund_id])

    async def list_refunds(self, request: web.Request) -> web.Response:
        """The refunds of one payment."""
        _let_in(request)
        mine = [one for one in self._refunds.values() if one["payment_intent"] == request.query.get("payment_intent")]
        return web.json_response({"object": "list", "data": mine, "has_more": False, "url": "/v1/refunds"})

    def _session(self, request: web.Request) -> Fields:
        session = self._sessions.get(request.match_info["id"])
        if session is None:
            raise _refused(404, "there is no such session")
        return session

    async def _tell(self, kind: str, found: Fields) -> None:
        """Send an event. It is not sent again: who has missed it asks."""
        if not self.webhook_url:
            return
        event = {
            "id": "evt_" + _name(kind + found["id"]),
            "object": "event",
            "created": int(time.time()),
            "data": {"object": found},
            "type": kind,
        }
        body, moment = json.dumps(event).encode(), str(int(time.time()))
        signature = hmac.new(WEBHOOK_SECRET.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
        headers = {"Stripe-Signature": f"t={moment},v1={signature}", "Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=WEBHOOK_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as client,
                client.post(self.webhook_url, data=body, headers=headers),
            ):
                pass
        except (aiohttp.ClientError, TimeoutError):
            pass


def _name(text: str) -> str:
    """A name that only depends on ``text``."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _let_in(request: web.Request) -> None:
    if request.headers.get("Authorization") != f"Bearer {API_KEY}":
        raise _refused(401, "Invalid API Key provided")


def _refused(status: int, message: str) -> web.HTTPException:
    kinds = {400: web.HTTPBadRequest, 401: web.HTTPUnauthorized, 404: web.HTTPNotFound}
    error = {"type": "invalid_request_error", "message": message}
    return kinds[status](text=json.dumps({"error": error}), content_type="application/json")
