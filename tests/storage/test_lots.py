"""The lots that are read from the books are those that the entries say one by one, however their calls are summed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.lots import Move, find_lots
from storage.accounts import UnknownAccount
from storage.database import Connection, Database
from storage.lots import read_credits

INSERT = (
    "INSERT INTO entry (id, debit, credit, amount, kind, reference, reason, created) VALUES (?, ?, ?, ?, ?, ?, '', ?)"
)
COUNTERPARTS = {
    "recharge": ("stripe:clearing", 1),
    "promotion": ("promotion", 1),
    "usage": ("revenue:usage", -1),
    "fee": ("revenue:fee", -1),
    "refund": ("stripe:clearing", -1),
    "expiry": ("expired", -1),
    "restore": ("expired", 1),
    "rerate": ("revenue:usage", 1),
}


def write(connection: Connection, account_id: str, kinds: list[tuple[str, int, int]]) -> list[Move]:
    """Entries as they are, without the ledger's refusals, and the same as moves."""
    connection.execute("DELETE FROM hold")
    moves: list[Move] = []
    for number, (kind, amount, created) in enumerate(kinds):
        other, sign = COUNTERPARTS[kind]
        reference = {"refund": f"{account_id}:0", "expiry": "e", "restore": "e"}.get(kind, f"{account_id}:{number}")
        sides = (other, f"customer:{account_id}") if sign > 0 else (f"customer:{account_id}", other)
        name = f"{account_id}:{number}"
        written = "adjustment" if kind == "rerate" else kind
        connection.execute(INSERT, (name, *sides, amount, written, reference, created))
        moves.append(Move(name, written, other, reference, amount * sign, created))
    balance = sum(move.amount for move in moves)
    connection.execute("UPDATE account SET balance = ? WHERE id = ?", (balance, account_id))
    return moves


@given(st.lists(st.tuples(st.sampled_from(sorted(COUNTERPARTS)), st.integers(1, 9), st.integers(1, 6)), max_size=12))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_summed_calls_say_what_single_calls_say(
    database: Database, new_account: Callable[..., str], kinds: list[tuple[str, int, int]]
) -> None:
    """At one instant what is not a call comes first, by id; that is the whole order."""
    account_id = new_account()
    with database.session() as connection:
        moves = write(connection, account_id, kinds)
        read = read_credits(connection, account_id, 14)

    spent = ("usage", "fee")
    in_order = sorted(moves, key=lambda move: (move.created, move.kind in spent, move.id))
    assert find_lots(in_order, 14) == read.lots


def test_an_account_that_is_not_there_has_no_lots(database: Database) -> None:
    """It is refused, not shown as empty."""
    with database.session() as connection, pytest.raises(UnknownAccount):
        read_credits(connection, "acct_gone", 14)
