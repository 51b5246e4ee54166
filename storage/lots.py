"""Reading an account's entries as the moves that its lots are computed from (billing/lots.py), however many calls it made.

Calls are never loaded, only summed, and only where it matters: between other moves than recharges, because recharges are
spent last. What was spent since the last such move follows from the balance. Entries of one instant count in this order:
what is not a call by id, then calls.

Run these in one state of the database: a snapshot, or a transaction that has locked the account.
"""

from __future__ import annotations

from dataclasses import dataclass

from billing.lots import Lots, Move, find_lots, spending
from storage.database import Connection
from storage.postings import Balance, find_balance

_CREDITS = """SELECT id, kind, debit, reference, amount, created FROM entry
    WHERE credit = ? AND substr(credit, 1, 9) = 'customer:'"""
_CORRECTIONS = """SELECT id, kind, credit, reference, -amount, created FROM entry
    WHERE debit = ? AND substr(credit, 1, 8) <> 'revenue:'"""
_SPENT = """SELECT COALESCE(SUM(amount), 0) FROM entry
    WHERE debit = ? AND substr(credit, 1, 8) = 'revenue:' AND created >= ? AND created < ?"""


@dataclass(frozen=True, slots=True)
class Credits:
    """An account's balance and the lots that make it up."""

    balance: Balance
    lots: Lots


def read_credits(connection: Connection, account_id: str, refund_window_days: int) -> Credits:
    """What the account has, lot by lot. Raises UnknownAccount."""
    balance = find_balance(connection, account_id)
    moves = read_moves(connection, account_id, balance.balance)
    return Credits(balance, find_lots(moves, refund_window_days))


def read_moves(connection: Connection, account_id: str, balance: int) -> list[Move]:
    """The account's moves in order of time, its calls in sums; their total is `balance`."""
    customer = f"customer:{account_id}"
    rows = connection.execute(_CREDITS, (customer,)).fetchall()
    rows += connection.execute(_CORRECTIONS, (customer,)).fetchall()
    others = sorted((Move(*row) for row in rows), key=lambda move: (move.created, move.id))
    to_tell = sum(move.amount for move in others) - balance
    moves: list[Move] = []
    since = 0
    for move in others:
        if move.kind != "recharge" and move.created > since and to_tell > 0:
            row = connection.execute(_SPENT, (customer, since, move.created)).fetchone()
            assert row is not None, "a sum without rows is 0"
            if spent := int(row[0]):
                moves.append(spending(spent, move.created))
                to_tell -= spent
            since = move.created
        moves.append(move)
    if to_tell > 0:
        moves.append(spending(to_tell, since))
    return moves
