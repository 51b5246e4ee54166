"""The billing log: one row for each call that reached an upstream, one for each attempt behind it.

Rows are written by the ledger in the transaction that moves the money (storage/ledger.py), and read here: newest
first, page by page, always for one account. Money is in 10⁻⁸ USD and leaves as a decimal string.
"""

# ruff: noqa: S608 - statements are put together from our own column names, never from a value
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from billing.money import format_usd
from billing.values import record
from storage.cursors import InvalidCursor as InvalidCursor
from storage.cursors import can_be_stored, read_cursor, write_cursor
from storage.database import Connection

LARGEST_PAGE = 1000


@record
class AttemptRow:
    """One try at one upstream. `upstream_cost` is what it cost us, `borne_by` who paid it in the end."""

    number: int
    provider: str
    model: str
    upstream_model: str
    outcome: str
    status: int | None
    code: str | None
    latency_ms: int
    prompt_tokens: int = 0
    completion_tokens: int = 0
    upstream_cost: int = 0
    borne_by: str = "nobody"
    """`account`, `operator` or `nobody`."""

    def to_json(self) -> dict[str, Any]:
        """The attempt as the account plane shows it."""
        return {**_plain(self, _ATTEMPT_FIELDS), "upstream_cost": format_usd(self.upstream_cost)}


@record
class CallRow:
    """One line of the billing log; `created` in microseconds, `status` as the client saw it, `cost = provider_cost + fee`.

    `usage_source` is `provider`, `estimated` or `bounded`. `held` is the hold it was settled against, `price_rule` what in
    the price chose the rates (billing/pricing.py), `fee_percent` the fee on top. `balance_after` is filled in by the ledger.
    """

    request_id: str
    created: int
    account_id: str
    key_id: str
    path: str
    requested_model: str
    model: str | None
    provider: str | None
    mode: str
    payer: str
    streamed: bool
    status: int
    billing_outcome: str
    usage_source: str | None
    estimated: bool = False
    anomalous: bool = False
    prompt_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    held: int = 0
    provider_cost: int = 0
    fee: int = 0
    cost: int = 0
    absorbed: int = 0
    price_version: str | None = None
    price_rule: str | None = None
    fee_percent: str | None = None
    latency_ms: int = 0
    first_content_ms: int | None = None
    balance_after: int = 0
    attempts: tuple[AttemptRow, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The row as the account plane shows it: decimal strings for money, ISO 8601 for the instant."""
        shown = _plain(self, _CALL_FIELDS)
        for name in ("held", "provider_cost", "fee", "cost", "absorbed", "balance_after"):
            shown[name] = format_usd(shown[name])
        shown["created"] = shown_instant(self.created)
        shown["attempts"] = [attempt.to_json() for attempt in self.attempts]
        return shown


_ATTEMPT_FIELDS = tuple(field.name for field in fields(AttemptRow))
_CALL_FIELDS = tuple(field.name for field in fields(CallRow) if field.name != "attempts")
_attempt_values = attrgetter(*_ATTEMPT_FIELDS)
_call_values = attrgetter(*_CALL_FIELDS[:-1])
assert _CALL_FIELDS[-1] == "balance_after", "insert_call puts it last"


def shown_instant(microseconds: int) -> str:
    """Microseconds since 1970 as ISO 8601 in UTC, all six decimals."""
    instant = datetime.fromtimestamp(microseconds // 1_000_000, UTC)
    return f"{instant:%Y-%m-%dT%H:%M:%S}.{microseconds % 1_000_000:06d}Z"


def _placeholders(count: int) -> str:
    return f"({', '.join('?' * count)})"


_INSERT_CALLS = f"INSERT INTO call ({', '.join(_CALL_FIELDS)})"
_ATTEMPT_COLUMNS = f"request_id, {', '.join(_ATTEMPT_FIELDS)}"
_INSERT_ATTEMPTS = f"INSERT INTO attempt ({_ATTEMPT_COLUMNS})"
_SELECT_CALLS = f"SELECT {', '.join(_CALL_FIELDS)} FROM call WHERE account_id = ?"
_BOOLEANS = tuple(_CALL_FIELDS.index(name) for name in ("streamed", "estimated", "anomalous"))


def insert_call(connection: Connection, row: CallRow, attempts: Sequence[AttemptRow], balance_after: int) -> None:
    """Write a call and its attempts; part of a settlement's transaction. Raises Conflict if the call is there already."""
    insert_calls(connection, [(row, attempts, balance_after)])


def insert_calls(connection: Connection, calls: Sequence[tuple[CallRow, Sequence[AttemptRow], int]]) -> None:
    """Write many at once, each with its attempts and the balance after it. Raises Conflict."""
    connection.insert(_INSERT_CALLS, [(*_call_values(row), balance_after) for row, _, balance_after in calls])
    attempts = [(row.request_id, *_attempt_values(attempt)) for row, attempts, _ in calls for attempt in attempts]
    connection.insert(_INSERT_ATTEMPTS, attempts)


def find_call(connection: Connection, account_id: str, request_id: str) -> CallRow | None:
    """One call of this account with its attempts, or None."""
    if not can_be_stored(request_id):
        return None
    rows = connection.execute(f"{_SELECT_CALLS} AND request_id = ?", (account_id, request_id)).fetchall()
    return _with_attempts(connection, rows)[0] if rows else None


def list_calls(
    connection: Connection,
    account_id: str,
    *,
    limit: int = 50,
    cursor: str | None = None,
    model: str | None = None,
    provider: str | None = None,
    mode: str | None = None,
    key_id: str | None = None,
    status: int | None = None,
    since: int | None = None,
    until: int | None = None,
) -> tuple[list[CallRow], str | None]:
    """A page of the account's calls, newest first, and the cursor of the next page, None after the last.

    `since` is included, `until` is not; both in microseconds. `model` is the one that served. Raises ValueError for a
    limit outside 1–1000 or a value that no row can have, and InvalidCursor.
    """
    if not 1 <= limit <= LARGEST_PAGE:
        raise ValueError(f"a page has 1 to {LARGEST_PAGE} rows, not {limit}")
    clauses: list[str] = []
    parameters: list[object] = [account_id]
    for clause, value in (
        ("model = ?", model),
        ("provider = ?", provider),
        ("mode = ?", mode),
        ("key_id = ?", key_id),
        ("status = ?", status),
        ("created >= ?", since),
        ("created < ?", until),
    ):
        if value is not None:
            if not can_be_stored(value):
                raise ValueError(f"no call can have {clause.split()[0]} {value!r}")
            clauses.append(f" AND {clause}")
            parameters.append(value)
    if cursor is not None:
        clauses.append(" AND (created, request_id) < (?, ?)")
        parameters += read_cursor(cursor)
    sql = f"{_SELECT_CALLS}{''.join(clauses)} ORDER BY created DESC, request_id DESC LIMIT ?"
    rows = connection.execute(sql, (*parameters, limit + 1)).fetchall()
    page = _with_attempts(connection, rows[:limit])
    return page, write_cursor(page[-1].created, page[-1].request_id) if len(rows) > limit else None


def _with_attempts(connection: Connection, rows: list[tuple[Any, ...]]) -> list[CallRow]:
    calls = [_call(row) for row in rows]
    if not calls:
        return []
    # The number of placeholders is rounded up to a power of two, so that there are few different statements to keep.
    width = 1 << (len(calls) - 1).bit_length()
    ids = [call.request_id for call in calls]
    ids += ids[-1:] * (width - len(ids))
    sql = f"SELECT {_ATTEMPT_COLUMNS} FROM attempt WHERE request_id IN {_placeholders(width)} ORDER BY number"
    attempts: dict[str, list[AttemptRow]] = {}
    for request_id, *values in connection.execute(sql, ids).fetchall():
        attempt = AttemptRow(**dict(zip(_ATTEMPT_FIELDS, values, strict=True)))
        attempts.setdefault(request_id, []).append(attempt)
    return [replace(call, attempts=tuple(attempts.get(call.request_id, ()))) for call in calls]


def _call(row: tuple[Any, ...]) -> CallRow:
    values = list(row)
    for index in _BOOLEANS:
        values[index] = bool(values[index])
    return CallRow(**dict(zip(_CALL_FIELDS, values, strict=True)))


def _plain(row: object, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}
