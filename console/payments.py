"""The only file that knows Stripe's library: sessions are opened, refunds asked for, signatures checked.

The library takes half a second and 17 MB to import, so it is loaded once, in a thread, and only where payments are on. Every
question to Stripe has a time limit; what writes carries an idempotency key of ours, so that it may be asked again.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn

from billing.recharges import CURRENCY, RefundTold, SessionTold
from console.stripe_events import Unreadable, read_refund, read_session

if TYPE_CHECKING:
    import stripe

TIMEOUT_SECONDS: Final = 8.0
RETRIES: Final = 1
TOLERANCE_SECONDS: Final = 300.9
"""300, and the part of a second that a signature's time has lost."""
LARGEST_LIST: Final = 100

_TIMES: Final = re.compile(r"(?:^|,)\s*t=([^,]*)")


class PaymentsUnavailable(Exception):
    """Stripe cannot be reached, or does not take our key: nothing is known of what was asked."""


class StripeRefused(Exception):
    """Stripe will not do this, however often it is asked."""


class InvalidSignature(Exception):
    """A webhook that Stripe did not sign with our secret, or not within the last minutes."""


class Payments:
    """Stripe, as far as we need it. `on` says whether there is a key, `hears` whether webhooks can be checked.

    Every question raises PaymentsUnavailable, and StripeRefused where asking again is of no use.
    """

    def __init__(self, api_key: str, webhook_secret: str, api_base: str) -> None:
        self._api_key = api_key
        self._secret = webhook_secret
        self._api_base = api_base
        self._client: stripe.StripeClient | None = None
        self._http: stripe.AIOHTTPClient | None = None
        self.on = bool(api_key)
        self.hears = bool(webhook_secret.strip())

    async def start(self) -> None:
        """Load the library; nothing where payments are off."""
        if self.on or self.hears:
            await asyncio.to_thread(_load)
        if self.on:
            import stripe

            self._http = stripe.AIOHTTPClient(timeout=TIMEOUT_SECONDS)
            self._client = stripe.StripeClient(
                self._api_key,
                base_addresses={"api": self._api_base},
                http_client=self._http,
                max_network_retries=RETRIES,
            )

    async def close(self) -> None:
        """Close the connections to Stripe."""
        if self._http is not None:
            await self._http.close_async()  # type: ignore[no-untyped-call]

    async def open_session(
        self, recharge_id: str, account_id: str, cents: int, description: str, success_url: str, cancel_url: str
    ) -> tuple[str, str]:
        """Open a checkout session for so many cents: its id and the page to pay on."""
        metadata = {"recharge_id": recharge_id, "account_id": account_id}
        price: Any = {"currency": CURRENCY, "unit_amount": cents, "product_data": {"name": description}}
        params: Any = {
            "mode": "payment",
            "client_reference_id": recharge_id,
            "metadata": metadata,
            "payment_intent_data": {"metadata": metadata},
            "line_items": [{"quantity": 1, "price_data": price}],
            "success_url": success_url,
            "cancel_url": cancel_url,
        }
        client = self._ready()
        session = await _ask(lambda: client.v1.checkout.sessions.create_async(params, {"idempotency_key": recharge_id}))
        session_id, url = session.get("id"), session.get("url")
        if not isinstance(session_id, str) or not isinstance(url, str):
            raise PaymentsUnavailable("the session that Stripe opened has no id or no page")
        return session_id, url

    async def find_session(self, session_id: str) -> SessionTold:
        """How a session stands."""
        client = self._ready()
        session = await _ask(lambda: client.v1.checkout.sessions.retrieve_async(session_id))
        try:
            return read_session(session)
        except Unreadable as error:
            raise PaymentsUnavailable(f"Stripe's answer cannot be read: {error}") from None

    async def refund(self, refund_id: str, payment_intent: str, cents: int) -> RefundTold:
        """Ask for a refund; the same id again is the same refund. Raises StripeRefused and PaymentsUnavailable."""
        params: Any = {"payment_intent": payment_intent, "amount": cents, "metadata": {"refund_id": refund_id}}
        client = self._ready()
        refund = await _ask(lambda: client.v1.refunds.create_async(params, {"idempotency_key": refund_id}))
        return _readable_refund({"payment_intent": payment_intent, "amount": cents, **refund})

    async def find_refund(self, refund_id: str, payment_intent: str) -> RefundTold | None:
        """The refund that was made under an id of ours, or None."""
        client, params = self._ready(), {"payment_intent": payment_intent, "limit": LARGEST_LIST}
        found = await _ask(lambda: client.v1.refunds.list_async(params))  # type: ignore[arg-type]
        for refund in found.get("data") or ():
            if (refund.get("metadata") or {}).get("refund_id") == refund_id:
                return _readable_refund({"payment_intent": payment_intent, **refund})
        return None

    def verify(self, body: bytes, header: str) -> None:
        """Check the signature of a webhook over its bytes as they came. Raises InvalidSignature.

        The library refuses what is older than the tolerance; we refuse what comes from the future, too.
        """
        if not self.hears or not header.isascii():
            raise InvalidSignature("there is no secret, or no header, to check it with")
        import stripe

        times = _TIMES.findall(header)
        if len(times) != 1 or not re.fullmatch(r"[0-9]{1,12}", times[0]):
            raise InvalidSignature("the header has no time")
        if int(times[0]) > time.time() + TOLERANCE_SECONDS:
            raise InvalidSignature("it was signed in the future")
        try:
            stripe.WebhookSignature.verify_header(body.decode(), header, self._secret, TOLERANCE_SECONDS)
        except (stripe.SignatureVerificationError, UnicodeError, ValueError):
            raise InvalidSignature("the signature is not Stripe's, or too old") from None

    def _ready(self) -> stripe.StripeClient:
        if self._client is None:
            raise PaymentsUnavailable("payments are off")
        return self._client


def _load() -> None:
    """Import the library; what it would tell Stripe about our requests' times is nobody's business."""
    import stripe

    stripe.enable_telemetry = False


async def _ask(question: Callable[[], Any]) -> Mapping[str, Any]:
    """Ask Stripe and return its object as plain JSON. Raises StripeRefused and PaymentsUnavailable."""
    import stripe

    try:
        async with asyncio.timeout((TIMEOUT_SECONDS + 1) * (RETRIES + 1)):
            answer: dict[str, Any] = (await question()).to_dict()
            return answer
    except stripe.StripeError as error:
        _raise(error)
    except (TimeoutError, ValueError, TypeError, AttributeError) as error:
        raise PaymentsUnavailable(f"Stripe's answer cannot be read: {type(error).__name__}") from error


def _raise(error: stripe.StripeError) -> NoReturn:
    """An error of the library as one of ours; its words may hold what was sent, so only its kind is told."""
    import stripe

    told = f"{type(error).__name__} {error.http_status or ''} {error.code or ''}".strip()
    refused = isinstance(error, (stripe.InvalidRequestError, stripe.CardError))
    if refused and error.http_status in (400, 402, 404):
        raise StripeRefused(told) from None
    raise PaymentsUnavailable(told) from None


def _readable_refund(refund: Mapping[str, Any]) -> RefundTold:
    try:
        return read_refund(refund)
    except Unreadable as error:
        raise PaymentsUnavailable(f"Stripe's answer cannot be read: {error}") from None
