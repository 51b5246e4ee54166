"""What the gateway earned and what it cost its operator, summed from the billing log.

Revenue belongs to the provider and model that served a call, cost to the provider and model of each attempt: a call that was
tried at two providers is in the figures of both. Both count on the UTC day on which the call came in. Amounts are in
10⁻⁸ USD. Everything is summed by the database, so a log of any length takes no memory here.
"""

# ruff: noqa: S608 - statements are put together from our own constants, never from a value
from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from billing.values import value
from storage.connection import Connection

GROUPS: Final = ("day", "provider", "model")
"""What figures can be broken down by."""
LONGEST_REPORT: Final = 1000
"""Lines of one report; its totals count everything."""
MICROSECONDS_PER_DAY: Final = 86_400_000_000


@value
class Figures:
    """Sums over some calls and attempts."""

    calls: int
    """Calls in the billing log, by the provider that served or was tried last."""
    attempts: int
    cost: int
    """What providers charged for all attempts."""
    revenue: int
    """What accounts paid, the fee included."""
    fee: int
    """The part of the revenue that is fee."""
    absorbed: int
    """What answers cost beyond their holds: nobody paid it."""
    failed_attempt_cost: int
    """The part of the cost that the operator bears: of attempts for which no account pays."""

    @property
    def margin(self) -> int:
        """What is left of the revenue when the providers are paid; negative where they got more."""
        return self.revenue - self.cost


@value
class Line:
    """The figures of one group, with its day (days since 1970), provider or model, as far as the report is broken down by it."""

    group: tuple[int | str | None, ...]
    """In the order of the report's groups; None where a call never came to have a provider."""
    figures: Figures


@value
class Report:
    """The lines in order, whether more were left out, and the totals of everything."""

    lines: tuple[Line, ...]
    truncated: bool
    totals: Figures


# One row for each call and each attempt, so that nothing is counted twice where they are joined.
_ROWS = f"""SELECT created / {MICROSECONDS_PER_DAY} AS day, provider, model,
        1 AS calls, 0 AS attempts, 0 AS upstream_cost, cost AS revenue, fee, absorbed, 0 AS failed
        FROM call WHERE created >= ? AND created < ?
    UNION ALL SELECT call.created / {MICROSECONDS_PER_DAY}, attempt.provider, attempt.model,
        0, 1, attempt.upstream_cost, 0, 0, 0,
        CASE WHEN attempt.borne_by = 'operator' THEN attempt.upstream_cost ELSE 0 END
        FROM attempt JOIN call ON call.request_id = attempt.request_id WHERE call.created >= ? AND call.created < ?"""
_SUMS = ", ".join(
    f"COALESCE(SUM({name}), 0)"
    for name in ("calls", "attempts", "upstream_cost", "revenue", "fee", "absorbed", "failed")
)


def make_report(
    connection: Connection, since: int, until: int, by: Sequence[str], *, limit: int = LONGEST_REPORT
) -> Report:
    """The figures of the calls that came in from ``since`` on and before ``until`` (microseconds), broken down by ``by``.

    Run it in a snapshot, so that lines and totals see the same calls. Raises ValueError for what no report is broken down by.
    """
    if not by or not set(by) <= set(GROUPS) or len(set(by)) < len(by):
        raise ValueError(f"a report is broken down by some of {', '.join(GROUPS)}, each once, not by {list(by)}")
    columns = ", ".join(by)
    # A call without a provider comes first on both kinds of database, which disagree about where NULL belongs.
    order = ", ".join(f"CASE WHEN {name} IS NULL THEN 0 ELSE 1 END, {name}" for name in by)
    parameters = (since, until, since, until)
    rows = connection.execute(
        f"SELECT {columns}, {_SUMS} FROM ({_ROWS}) AS told GROUP BY {columns} ORDER BY {order} LIMIT ?",
        (*parameters, limit + 1),
    ).fetchall()
    totals = connection.execute(f"SELECT {_SUMS} FROM ({_ROWS}) AS told", parameters).fetchone()
    assert totals is not None, "a sum without rows is 0"
    width = len(by)
    lines = tuple(Line(tuple(row[:width]), Figures(*map(int, row[width:]))) for row in rows[:limit])
    return Report(lines, len(rows) > limit, Figures(*map(int, totals)))
