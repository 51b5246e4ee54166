"""Stripe's objects read into what we go by: a pure function from JSON to one of the things that can be told.

Field by field, with a type for each: what is not there, or is something else than it should be, makes an object unreadable
or is left empty, never guessed. Events of other types than these tell us nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from billing.recharges import DisputeTold, RefundedTold, RefundTold, SessionState, SessionTold, Told

LARGEST_CENTS: Final = 10**12
LONGEST_ID: Final = 255


class Unreadable(ValueError):
    """An object of Stripe that lacks what it must have."""


def read_event(event: Mapping[str, Any]) -> tuple[str, str, Told | None]:
    """An event's id and type, and what it tells; None for a type that is not ours to hear. Raises Unreadable."""
    event_id, event_type = _text(event, "id"), _text(event, "type")
    if not event_id or not event_type:
        raise Unreadable("an event has an id and a type")
    reader = READERS.get(event_type)
    if reader is None:
        return event_id, event_type, None
    data = event.get("data")
    found = data.get("object") if isinstance(data, Mapping) else None
    if not isinstance(found, Mapping):
        raise Unreadable("an event has an object in its data")
    return event_id, event_type, reader(found)


def read_session(session: Mapping[str, Any], state: SessionState | None = None) -> SessionTold:
    """A checkout session; `state` is what the event says of it. "Paid" is only what says so itself. Raises Unreadable."""
    metadata = _metadata(session)
    if session.get("payment_status") == "paid":
        state = "paid"
    elif state is None:
        expired, complete = (session.get("status") == status for status in ("expired", "complete"))
        state = "expired" if expired else "unpaid" if complete else "open"
    return SessionTold(
        session_id=_needed(session, "id"),
        recharge_id=_text(metadata, "recharge_id") or _text(session, "client_reference_id"),
        account_id=_text(metadata, "account_id"),
        state=state,
        currency=_text(session, "currency"),
        amount_cents=_cents(session, "amount_total"),
        payment_intent=_id_of(session, "payment_intent"),
    )


def read_refund(refund: Mapping[str, Any]) -> RefundTold:
    """One refund. Raises Unreadable."""
    failed = refund.get("status") in ("failed", "canceled")
    cents = _cents(refund, "amount")
    if not cents:
        raise Unreadable("a refund has an amount")
    return RefundTold(
        payment_intent=_payment_of(refund),
        stripe_id=_needed(refund, "id"),
        refund_id=_text(_metadata(refund), "refund_id"),
        cents=cents,
        status="failed" if failed else "sent",
    )


def _read_charge(charge: Mapping[str, Any]) -> RefundedTold:
    return RefundedTold(payment_intent=_payment_of(charge), refunded_cents=_cents(charge, "amount_refunded"))


def _session(state: SessionState) -> Callable[[Mapping[str, Any]], Told]:
    return lambda session: read_session(session, state)


def _dispute(phase: Literal["opened", "returned"]) -> Callable[[Mapping[str, Any]], Told]:
    return lambda dispute: _read_dispute(dispute, phase)


def _read_closed(dispute: Mapping[str, Any]) -> DisputeTold:
    """A dispute that is over: won, or an inquiry that came to nothing, returns the money; everything else keeps it."""
    over = dispute.get("status") in ("won", "warning_closed", "prevented")
    return _read_dispute(dispute, "returned" if over else "lost")


def _read_dispute(dispute: Mapping[str, Any], phase: Literal["opened", "returned", "lost"]) -> DisputeTold:
    return DisputeTold(
        payment_intent=_payment_of(dispute),
        dispute_id=_needed(dispute, "id"),
        cents=_cents(dispute, "amount"),
        phase=phase,
    )


READERS: Final[dict[str, Callable[[Mapping[str, Any]], Told]]] = {
    "checkout.session.completed": _session("unpaid"),
    "checkout.session.async_payment_succeeded": _session("unpaid"),
    "checkout.session.async_payment_failed": _session("failed"),
    "checkout.session.expired": _session("expired"),
    "charge.refunded": _read_charge,
    "charge.refund.updated": read_refund,
    "refund.created": read_refund,
    "refund.updated": read_refund,
    "refund.failed": read_refund,
    "charge.dispute.created": _dispute("opened"),
    "charge.dispute.funds_withdrawn": _dispute("opened"),
    "charge.dispute.funds_reinstated": _dispute("returned"),
    "charge.dispute.closed": _read_closed,
}
"""The types of events that tell us something, and how each is read."""


def _payment_of(found: Mapping[str, Any]) -> str:
    """The payment that a charge, refund or dispute belongs to; a charge of the old kind stands for itself."""
    payment = _id_of(found, "payment_intent") or _id_of(found, "charge") or _text(found, "id")
    if not payment:
        raise Unreadable("it belongs to no payment")
    return payment


def _id_of(found: Mapping[str, Any], name: str) -> str:
    """The id of another object, which may be there whole."""
    value = found.get(name)
    return _text(value, "id") if isinstance(value, Mapping) else _text(found, name)


def _metadata(found: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = found.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name)
    return value if isinstance(value, str) and len(value) <= LONGEST_ID and "\0" not in value else ""


def _needed(found: Mapping[str, Any], name: str) -> str:
    if not (text := _text(found, name)):
        raise Unreadable(f"{name} is missing")
    return text


def _cents(found: Mapping[str, Any], name: str) -> int:
    value = found.get(name)
    return value if type(value) is int and 0 <= value <= LARGEST_CENTS else 0
