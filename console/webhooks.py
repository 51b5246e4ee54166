"""POST /webhooks/stripe: what Stripe tells us by itself. Nothing is believed that its secret has not signed.

The order is the defence: a header before a body is read, a bounded body before a signature is computed, a signature before
anything is parsed, the books before the answer. Stripe sends again what is not answered with 2xx, for days; so that answer
means that it is durable, or that it is nothing to us and will not become so by repetition.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from billing.values import value
from console.payments import InvalidSignature, Payments
from console.recharge_desk import RechargeDesk
from console.stripe_events import READERS, Unreadable, read_event
from metrics.instruments import Instruments
from middlewares.body import read_bytes
from middlewares.errors import Refusal
from storage.connection import StorageUnavailable
from storage.payments import Event

MAX_BODY_BYTES: Final = 1_048_576
BODY_SECONDS: Final = 10.0
LONGEST_HEADER: Final = 4_096
OTHER: Final = "other"
WARNING_SECONDS: Final = 60.0

logger = logging.getLogger("find-token.webhooks")


@value
class Taken:
    """What became of a webhook: the type it is counted under, and its outcome."""

    type: str
    outcome: str


def stripe_webhook(desk: RechargeDesk, payments: Payments, instruments: Instruments) -> Handler:
    """Verify, read, take into the books, and only then say so."""

    warned_at = float("-inf")

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal warned_at
        try:
            taken = await _take(request, desk, payments)
        except InvalidSignature as error:
            instruments.webhook(OTHER, "rejected")
            if time.monotonic() - warned_at > WARNING_SECONDS:
                # Anybody can send these: the metric counts them all, the log must not fill.
                warned_at = time.monotonic()
                logger.warning("a webhook was rejected: %s", error)
            raise Refusal(
                "invalid_signature", "this is not signed by Stripe with the secret of this endpoint"
            ) from None
        except StorageUnavailable:
            instruments.webhook(OTHER, "failed")
            raise
        instruments.webhook(taken.type, taken.outcome)
        return web.json_response({"received": True, "outcome": taken.outcome})

    return handle


async def _take(request: web.Request, desk: RechargeDesk, payments: Payments) -> Taken:
    if not payments.hears:
        raise Refusal("payments_off", "this gateway has no webhook secret, so it believes no webhook")
    headers = request.headers.getall("Stripe-Signature", [])
    if len(headers) != 1 or not 0 < len(headers[0]) <= LONGEST_HEADER:
        raise InvalidSignature("there is no single header Stripe-Signature")
    body = await read_bytes(request, MAX_BODY_BYTES, BODY_SECONDS)
    payments.verify(body, headers[0])
    try:
        event = json.loads(body)
        event_id, event_type, told = read_event(event if isinstance(event, dict) else {})
    except (ValueError, RecursionError, Unreadable) as error:
        logger.error("a signed webhook cannot be read: %s", error)
        raise Refusal("invalid_json", "this is no event that can be read") from None
    if told is None:
        return Taken(event_type if event_type in READERS else OTHER, "ignored")
    return Taken(event_type, (await desk.hear(told, Event(event_id, event_type))).outcome)
