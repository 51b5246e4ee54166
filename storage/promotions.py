"""Promotional credit that lapses: given until an instant, and what is left of it then is taken back, once.

It is taken back by an adjustment that names the credit, so that it comes out of that lot and no other (billing/lots.py). What
is held for calls under way may still be spent by them; it is kept, and asked about again until nothing is held of the lot.
"""

from __future__ import annotations

from typing import Final

from storage.corrections import take_back
from storage.database import Connection
from storage.lots import read_credits
from storage.postings import Balance, post_credit

PAGE: Final = 500
_INSERT = """INSERT INTO promotion_lapse (entry_id, account_id, due, parts, done) VALUES (?, ?, ?, 0, NULL)
    ON CONFLICT (entry_id) DO NOTHING"""
_OPEN = "SELECT entry_id, due FROM promotion_lapse WHERE account_id = ? AND done IS NULL"
_DUE = """SELECT entry_id, account_id FROM promotion_lapse WHERE done IS NULL AND due <= ? AND entry_id > ?
    ORDER BY entry_id LIMIT ?"""
_ONE = "SELECT parts FROM promotion_lapse WHERE entry_id = ? AND account_id = ? AND done IS NULL AND due <= ?"
_MARK = "UPDATE promotion_lapse SET parts = parts + ?, done = ? WHERE entry_id = ?"
_LOCK = "UPDATE account SET held = held WHERE id = ? RETURNING id"


def give_promotion(
    connection: Connection, entry_id: str, account_id: str, amount: int, reason: str, now: int, lapses: int | None
) -> Balance:
    """Post a promotional credit, once under its id; ``lapses`` is when what is left of it is taken back, None for never.

    Raises UnknownAccount, LedgerViolation, and ValueError for an instant that is not to come.
    """
    if lapses is not None and lapses <= now:
        raise ValueError("a credit lapses after it is given")
    balance = post_credit(connection, entry_id, account_id, amount, "promotion", reason, now)
    if lapses is not None:
        connection.execute(_INSERT, (entry_id, account_id, lapses))
    return balance


def find_lapses(connection: Connection, account_id: str) -> dict[str, int]:
    """When the account's promotional credits lapse, by the lot's id; those that never do are not in it."""
    return dict(connection.execute(_OPEN, (account_id,)).fetchall())


def find_due(connection: Connection, now: int, after: str = "") -> list[tuple[str, str]]:
    """A page of credits that have lapsed, with their accounts; those with ids above ``after``."""
    return [(row[0], row[1]) for row in connection.execute(_DUE, (now, after, PAGE)).fetchall()]


def lapse_promotion(connection: Connection, entry_id: str, account_id: str, now: int) -> int:
    """Take back what is left of a credit that has lapsed and is not held. Returns the amount."""
    if connection.execute(_LOCK, (account_id,)).fetchone() is None:
        return 0
    row = connection.execute(_ONE, (entry_id, account_id, now)).fetchone()
    if row is None:
        return 0
    found = read_credits(connection, account_id, 0)
    held, left, kept = found.balance.held, 0, 0
    for lot in found.lots.lots:  # In spending order: what is held is spent first.
        kept = min(lot.left, held)
        if lot.id == entry_id:
            left = lot.left - kept
            break
        held -= kept
        kept = 0
    if left:
        take_back(connection, f"lapse:{entry_id}:{row[0]}", entry_id, account_id, left, "this credit has lapsed", now)
    connection.execute(_MARK, (1 if left else 0, None if kept else now, entry_id))
    return left
