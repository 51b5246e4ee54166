"""Recharges: credit that an account wants to buy, from the wish to the paid row. The row is made before Stripe is asked.

Whoever changes a row of a payment locks its account first, then the recharge, then the payment. What a payment's entries
must be is decided in billing/recharges.py and written by storage/payments.py.
"""

# ruff: noqa: S608 - statements are put together from our own column names, never from a value
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from billing.money import Money
from storage.accounts import UnknownAccount
from storage.cursors import can_be_stored, read_cursor, write_cursor
from storage.database import Connection

Status = Literal["created", "open", "processing", "paid", "expired", "failed"]

OPEN: Final = ("created", "open", "processing")
"""What may still be paid, as far as we know: a session that Stripe is asked about."""

_COLUMNS = """id, account_id, amount, asked_cents, status, session_id, payment_intent, paid_cents, credited, refunded,
    refund_entries, difference, created, paid, checked"""
_INSERT = f"INSERT INTO recharge ({_COLUMNS}) VALUES (?, ?, ?, ?, 'created', NULL, NULL, 0, 0, 0, 0, '', ?, NULL, ?)"
_ACTIVE = "SELECT 1 FROM account WHERE id = ? AND status = 'active'"
_OPENED = "UPDATE recharge SET session_id = ?, status = 'open' WHERE id = ? AND status = 'created'"
_FAILED = "UPDATE recharge SET status = 'failed' WHERE id = ? AND status = 'created'"
_BY_ID = f"SELECT {_COLUMNS} FROM recharge WHERE id = ?"
_BY_SESSION = f"SELECT {_COLUMNS} FROM recharge WHERE session_id = ?"
_BY_PAYMENT = f"SELECT {_COLUMNS} FROM recharge WHERE payment_intent = ?"
_CHECKED = "UPDATE recharge SET checked = ? WHERE id = ? AND checked <= ?"
_PAGE = f"""SELECT {_COLUMNS} FROM recharge WHERE account_id = ? AND (created < ? OR (created = ? AND id < ?))
    ORDER BY created DESC, id DESC LIMIT ?"""
_DUE = f"""SELECT {_COLUMNS} FROM recharge WHERE status = ? AND session_id IS NOT NULL AND checked <= ? AND created > ?
    ORDER BY checked LIMIT ?"""
_ABANDONED = "UPDATE recharge SET status = 'failed' WHERE status = 'created' AND created < ?"
_LATEST = 2**62
SETTLING: Final = 2_000_000
"""A new row counts as asked about two seconds ago, so that whoever pays at once and returns is not kept waiting."""


@dataclass(frozen=True, slots=True)
class Recharge:
    """One recharge; amounts in 10⁻⁸ USD of credit, cents as the card pays them, instants in microseconds.

    `credited` is 0 until it was paid, `refunded` what refunds took of it. `difference` says what was not as asked for.
    """

    id: str
    account_id: str
    amount: Money
    asked_cents: int
    status: Status
    session_id: str | None
    payment_intent: str | None
    paid_cents: int
    credited: Money
    refunded: Money
    refund_entries: int
    difference: str
    created: int
    paid: int | None
    checked: int

    @property
    def may_be_paid(self) -> bool:
        """Whether Stripe may know more about it than we do."""
        return self.status in OPEN and self.session_id is not None


def create_recharge(
    connection: Connection, recharge_id: str, account_id: str, amount: Money, asked_cents: int, now: int
) -> None:
    """Write down what is to be paid, before Stripe hears of it. Raises UnknownAccount for one that is not active."""
    if connection.execute(_ACTIVE, (account_id,)).fetchone() is None:
        raise UnknownAccount(f"there is no active account {account_id}")
    connection.execute(_INSERT, (recharge_id, account_id, amount, asked_cents, now, now - SETTLING))


def open_recharge(connection: Connection, recharge_id: str, session_id: str) -> None:
    """Stripe has opened a checkout session for it. What was heard of the session in the meantime stays."""
    connection.execute(_OPENED, (session_id, recharge_id))


def fail_recharge(connection: Connection, recharge_id: str) -> None:
    """Stripe opened no session that anybody was led to. A payment that is told all the same is still credited."""
    connection.execute(_FAILED, (recharge_id,))


def find_recharge(connection: Connection, recharge_id: str, account_id: str | None = None) -> Recharge | None:
    """The recharge with this id, or None; also for one of another account than `account_id`, where that is given."""
    if not can_be_stored(recharge_id):
        return None
    found = recharge_of(connection.execute(_BY_ID, (recharge_id,)).fetchone())
    return None if found is not None and account_id not in (None, found.account_id) else found


def find_by_session(connection: Connection, session_id: str) -> Recharge | None:
    """The recharge of a checkout session, or None."""
    return recharge_of(connection.execute(_BY_SESSION, (session_id,)).fetchone())


def find_by_payment(connection: Connection, payment_intent: str) -> Recharge | None:
    """The recharge that a payment has paid, or None."""
    return recharge_of(connection.execute(_BY_PAYMENT, (payment_intent,)).fetchone())


def list_recharges(connection: Connection, account_id: str, *, limit: int) -> list[Recharge]:
    """An account's last recharges, newest first."""
    return page_recharges(connection, account_id, limit=limit)[0]


def page_recharges(
    connection: Connection, account_id: str, *, limit: int, cursor: str | None = None
) -> tuple[list[Recharge], str | None]:
    """A page of an account's recharges, newest first, and the cursor of the next, None after the last.

    Raises InvalidCursor.
    """
    created, last_id = (_LATEST, "") if cursor is None else read_cursor(cursor)
    rows = connection.execute(_PAGE, (account_id, created, created, last_id, limit + 1)).fetchall()
    page = [Recharge(*row) for row in rows[:limit]]
    return page, write_cursor(page[-1].created, page[-1].id) if len(rows) > limit else None


def find_unheard(
    connection: Connection, status: Status, checked_before: int, created_after: int, limit: int
) -> list[Recharge]:
    """Recharges that may have been paid without our hearing of it, those asked about longest ago first."""
    rows = connection.execute(_DUE, (status, checked_before, created_after, limit)).fetchall()
    return [Recharge(*row) for row in rows]


def take_up(connection: Connection, recharge_id: str, now: int, checked_before: int) -> bool:
    """Claim the question to Stripe about a recharge: False if somebody has asked since `checked_before`."""
    return connection.execute(_CHECKED, (now, recharge_id, checked_before)).rowcount == 1


def fail_abandoned(connection: Connection, created_before: int) -> int:
    """End recharges whose process died before Stripe had answered; returns how many."""
    return connection.execute(_ABANDONED, (created_before,)).rowcount


def recharge_of(row: tuple[Any, ...] | None) -> Recharge | None:
    """A row of the table as an object."""
    return None if row is None else Recharge(*row)
