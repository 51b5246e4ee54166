"""Each upstream's attempts of a range of time, those that failed, and what they cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from storage.attempt_sums import AttemptSums, sum_attempts
from storage.calls import insert_call
from storage.database import Database
from storage.ledger import Settlement


async def test_sums(sqlite_database: Database, make_settlement: Callable[..., Settlement]) -> None:
    """By provider and its own name of the model; a caller who left is no failure; the end is not in the range."""
    made = make_settlement("req_0", "acct_1", 10)
    attempt = replace(made.attempts[0], outcome="served", upstream_cost=7)
    failed = replace(attempt, number=2, outcome="overloaded", upstream_cost=1)
    other = replace(attempt, number=3, provider="other", upstream_model="x", outcome="client_left")
    with sqlite_database.session() as connection:
        for created in (99, 100, 199, 200):
            row = replace(made.row, request_id=f"req_{created}", created=created)
            insert_call(connection, row, [attempt, failed, other], 0)
        found = sum_attempts(connection, 100, 200)

    assert {
        (attempt.provider, attempt.upstream_model): AttemptSums(4, 2, 16),
        ("other", "x"): AttemptSums(2, 0, 14),
    } == found
