"""Reading an account's entries as the moves that its lots are computed from (billing/lots.py), however many calls it made.

Calls are never read. Beside each entry that is no call's stands what the account had before it, and what was spent up to
then follows: all that had come in, less that balance. What was spent since the last such entry follows from the balance of
today. Entries of one instant count in the order of their ids. An entry whose balance before it is not known (a release
that did not keep it wrote it) leaves the spending to be told by the next one.

Run these in one state of the database: a snapshot, or a transaction that has locked the account.
"""

from __future__ import annotations

from dataclasses import dataclass

from billing.lots import Lots, Move, find_lots, spending
from storage.database import Connection
from storage.postings import Balance, find_balance

_MOVES = """SELECT id, kind, {counterpart}, reference, {sign}amount, created, entry_balance.balance FROM entry
    LEFT JOIN entry_balance ON entry_balance.entry_id = entry.id WHERE """
_CREDITS = _MOVES.format(counterpart="debit", sign="") + "credit = ? AND substr(credit, 1, 9) = 'customer:'"
_CORRECTIONS = _MOVES.format(counterpart="credit", sign="-") + "debit = ? AND substr(credit, 1, 8) <> 'revenue:'"


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
    others = sorted(((Move(*row[:-1]), row[-1]) for row in rows), key=lambda other: (other[0].created, other[0].id))
    spent = sum(move.amount for move, _ in others) - balance
    moves: list[Move] = []
    came = told = 0
    for move, before in others:
        # Recharges are spent last, so what was spent before one may be told after it.
        if before is not None and move.kind != "recharge" and (untold := min(came - before, spent) - told) > 0:
            moves.append(spending(untold, move.created))
            told += untold
        moves.append(move)
        came += move.amount
    if spent > told:
        moves.append(spending(spent - told, others[-1][0].created if others else 0))
    return moves
