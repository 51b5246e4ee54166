"""The lots that are read from the books are those that the entries say one by one, however their calls are summed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.lots import Move, find_lots
from storage.accounts import UnknownAccount
from storage.corrections import post_adjustment, post_expiry, restore_expired
from storage.database import Connection, Database
from storage.ledger import Settlement
from storage.lots import read_credits
from storage.postings import find_balance, place_hold, post_credit, post_settlement

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


SPENT = ("usage", "fee")


def write(connection: Connection, account_id: str, kinds: list[tuple[str, int, int]]) -> list[Move]:
    """Entries as they are, without the ledger's refusals, and the same as moves in the order they happened: of one
    instant, what is not a call comes first, by id."""
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
    moves.sort(key=lambda move: (move.created, move.kind in SPENT, move.id))
    balance = 0
    for move in moves:
        if move.kind not in SPENT:
            connection.execute("INSERT INTO entry_balance (entry_id, balance) VALUES (?, ?)", (move.id, balance))
        balance += move.amount
    connection.execute("UPDATE account SET balance = ? WHERE id = ?", (balance, account_id))
    return moves


@given(st.lists(st.tuples(st.sampled_from(sorted(COUNTERPARTS)), st.integers(1, 9), st.integers(1, 6)), max_size=12))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_summed_calls_say_what_single_calls_say(
    database: Database, new_account: Callable[..., str], kinds: list[tuple[str, int, int]]
) -> None:
    """Whatever came in and went out, and whenever."""
    account_id = new_account()
    with database.session() as connection:
        moves = write(connection, account_id, kinds)
        read = read_credits(connection, account_id, 14)
        balance = find_balance(connection, account_id)

    assert (balance, find_lots(moves, 14)) == (read.balance, read.lots)


def test_an_account_that_is_not_there_has_no_lots(database: Database) -> None:
    """It is refused, not shown as empty."""
    with database.session() as connection, pytest.raises(UnknownAccount):
        read_credits(connection, "acct_gone", 14)


def test_every_posting_that_is_no_call_keeps_the_balance_before_it(
    database: Database, new_account: Callable[..., str], make_settlement: Callable[..., Settlement]
) -> None:
    """Whoever writes such entries: without it, what was spent would be told later than it was."""
    account_id, now = new_account(), 10
    expected = {}
    with database.session() as connection:

        def has() -> int:
            return find_balance(connection, account_id).balance

        for name, amount, source in (("gift", 5_000, "promotion"), ("paid", 7_000, "stripe:clearing")):
            expected[f"{name}:{account_id}"] = has()
            post_credit(connection, f"{name}:{account_id}", account_id, amount, source, "", now)  # type: ignore[arg-type]
            place_hold(connection, f"{name}_{account_id}", account_id, (100,), None, "p1", 1, now)
            post_settlement(
                connection, make_settlement(f"{name}_{account_id}", account_id, provider_cost=70, fee=3), now
            )
        for name, amount in (("more", 40), ("less", -30)):
            expected[f"adjustment:{name}:{account_id}"] = has()
            post_adjustment(connection, f"{name}:{account_id}", account_id, amount, "a test", now)
        expected[f"expiry:{account_id}:2026-11-27"] = has()
        assert post_expiry(connection, account_id, has(), "2026-11-27", "a test", now)
        expected[f"restore:expiry:{account_id}:2026-11-27"] = has()
        restore_expired(connection, account_id, "a test", now)

        kept = connection.execute(
            """SELECT entry_id, entry_balance.balance FROM entry_balance JOIN entry ON entry.id = entry_id
                WHERE ? IN (debit, credit)""",
            (f"customer:{account_id}",),
        ).fetchall()

    assert expected == dict(kept)
