"""What each upstream did in a range of time: attempts, those that failed, and what they cost us.

As in storage/report.py an attempt counts when its call came in, and the whole log is read for it.
"""

from __future__ import annotations

from typing import Final

from billing.values import value
from storage.connection import Connection

LARGEST_LIST: Final = 1000

_SUMS: Final = """SELECT attempt.provider, attempt.upstream_model, COUNT(*),
    COUNT(CASE WHEN attempt.outcome NOT IN ('served', 'client_left') THEN 1 END), SUM(attempt.upstream_cost)
    FROM attempt JOIN call ON call.request_id = attempt.request_id WHERE call.created >= ? AND call.created < ?
    GROUP BY attempt.provider, attempt.upstream_model ORDER BY attempt.provider, attempt.upstream_model LIMIT ?"""


@value
class AttemptSums:
    """The sums of one upstream; `cost` in 10⁻⁸ USD."""

    attempts: int
    failed: int
    cost: int


def sum_attempts(connection: Connection, since: int, until: int) -> dict[tuple[str, str], AttemptSums]:
    """The sums by provider and the provider's own name of the model; instants in microseconds."""
    rows = connection.execute(_SUMS, (since, until, LARGEST_LIST)).fetchall()
    return {(row[0], row[1]): AttemptSums(*map(int, row[2:])) for row in rows}
