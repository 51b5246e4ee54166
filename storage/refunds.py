"""Refunds that we ask for: the unspent part of a recharge, taken out of the balance before Stripe is asked.

A refund is `asked` with its entry in one transaction, so that its money cannot be spent any more; then Stripe is asked
under the refund's own id, however often that takes; then it is `sent`, or `failed` and given back. A process that dies in
between leaves an asked refund, which another takes up.
"""

# ruff: noqa: S608 - statements are put together from our own column names, never from a value
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from billing.money import Money
from billing.recharges import RefundStatus, refundable_cents
from storage.database import Connection
from storage.lots import Credits, read_credits
from storage.payments import lock_account, lock_payment, read_facts, settle
from storage.recharges import Recharge, find_by_payment, find_recharge

_COLUMNS = "id, payment_intent, stripe_id, cents, status, asked_by, created, finished"
_INSERT = f"INSERT INTO refund ({_COLUMNS}) VALUES (?, ?, NULL, ?, 'asked', ?, ?, NULL)"
_BY_ID = f"SELECT {_COLUMNS} FROM refund WHERE id = ?"
_OURS = f"""SELECT {_COLUMNS} FROM refund WHERE payment_intent = ? AND asked_by <> 'stripe' AND status = ?
    ORDER BY created DESC, id DESC LIMIT 1"""
_OF_PAYMENT = f"SELECT {_COLUMNS} FROM refund WHERE payment_intent = ? ORDER BY created, id LIMIT 1000"
_UNFINISHED = f"SELECT {_COLUMNS} FROM refund WHERE status = 'asked' AND created < ? ORDER BY created, id LIMIT ?"
_FORGET_TWIN = "DELETE FROM refund WHERE id = ? AND id <> ? AND asked_by = 'stripe'"
_FINISH = """UPDATE refund SET status = ?, stripe_id = COALESCE(stripe_id, ?), finished = ?
    WHERE id = ? AND status = 'asked'"""


@dataclass(frozen=True, slots=True)
class RefundRow:
    """One refund; `cents` go back to the card, instants in microseconds."""

    id: str
    payment_intent: str
    stripe_id: str | None
    cents: int
    status: RefundStatus
    asked_by: str
    created: int
    finished: int | None


class NothingRefundable(Exception):
    """Nothing of the recharge can be given back: it is not paid, spent, too old, or went back before."""


def refundable(connection: Connection, recharge: Recharge, credit: Credits, now: int) -> int:
    """How many cents of a recharge its owner may have back now."""
    if not recharge.credited:
        return 0
    left: Money = credit.lots.refundable(credit.balance.held, now).get(recharge.id, 0)
    return refundable_cents(read_facts(connection, recharge), left) if left else 0


def ask_refund(
    connection: Connection, refund_id: str, recharge: Recharge, window_days: int, asked_by: str, now: int
) -> RefundRow | NothingRefundable:
    """Take the unspent part of a recharge out of the balance, to be sent back; again returns what stands.

    A refund that is under way is returned as it is, and so is the latest one where nothing more can be given back.
    """
    lock_account(connection, recharge.account_id)
    found = find_recharge(connection, recharge.id)
    assert found is not None, "recharges are never deleted"
    if found.payment_intent is None:
        return NothingRefundable("this recharge was not paid")
    under_way = _row(connection.execute(_OURS, (found.payment_intent, "asked")).fetchone())
    if under_way is not None:
        return under_way
    credit = read_credits(connection, found.account_id, window_days)
    cents = refundable(connection, found, credit, now)
    if not cents:
        latest = _row(connection.execute(_OURS, (found.payment_intent, "sent")).fetchone())
        return latest or NothingRefundable("nothing of this recharge can be refunded: it is spent, or too old")
    lock_payment(connection, found.payment_intent)
    connection.execute(_INSERT, (refund_id, found.payment_intent, cents, asked_by, now))
    settle(connection, found.id, now)
    return RefundRow(refund_id, found.payment_intent, None, cents, "asked", asked_by, now, None)


def finish_refund(connection: Connection, refund: RefundRow, stripe_id: str | None, now: int) -> RefundRow:
    """Stripe has taken a refund (under this id), or refused it (None): then its money returns to the balance."""
    recharge = find_by_payment(connection, refund.payment_intent)
    assert recharge is not None, "only a paid recharge is refunded"
    lock_account(connection, recharge.account_id)
    lock_payment(connection, refund.payment_intent)  # A webhook may be telling of the same refund.
    if stripe_id is not None:
        connection.execute(_FORGET_TWIN, (stripe_id, refund.id))
    connection.execute(_FINISH, ("failed" if stripe_id is None else "sent", stripe_id, now, refund.id))
    settle(connection, recharge.id, now)
    finished = _row(connection.execute(_BY_ID, (refund.id,)).fetchone())
    assert finished is not None, "what we asked for is never deleted"
    return finished


def list_refunds(connection: Connection, payment_intent: str) -> list[RefundRow]:
    """The refunds of a payment, oldest first."""
    return [RefundRow(*row) for row in connection.execute(_OF_PAYMENT, (payment_intent,)).fetchall()]


def find_unfinished(connection: Connection, asked_before: int, limit: int) -> list[tuple[RefundRow, Recharge]]:
    """Refunds that were asked for and whose end is not known, with their recharges, oldest first."""
    rows = [RefundRow(*row) for row in connection.execute(_UNFINISHED, (asked_before, limit)).fetchall()]
    pairs = [(row, find_by_payment(connection, row.payment_intent)) for row in rows]
    return [(row, recharge) for row, recharge in pairs if recharge is not None]


def _row(row: tuple[Any, ...] | None) -> RefundRow | None:
    return None if row is None else RefundRow(*row)
