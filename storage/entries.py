"""The ledger's lines as an operator looks through them: by account, kind and time, newest first, and one by its id.

There is no index for this, because it would cost every call: a page reads what its filters leave of the ledger. Ask for it
on a connection of its own (console/slow_reads.py), so that nobody's call waits behind it.
"""

# ruff: noqa: S608 - statements are put together from our own column names, never from a value
from __future__ import annotations

from typing import Final

from storage.connection import Connection
from storage.cursors import can_be_stored, read_cursor, write_cursor
from storage.receipts import ENTRY_COLUMNS, EntryRow, read_entry

KINDS: Final = (
    *("usage", "fee", "byok", "absorbed", "promotion", "recharge", "refund", "refund_failed"),
    *("dispute", "dispute_returned", "adjustment", "expiry", "restore"),
)
"""What an entry can be."""

_SOME: Final = f"SELECT {ENTRY_COLUMNS} FROM entry WHERE 1 = 1"
_BY_ID: Final = f"SELECT {ENTRY_COLUMNS} FROM entry WHERE id = ?"


def find_entry(connection: Connection, entry_id: str) -> EntryRow | None:
    """The entry with this id, or None."""
    row = connection.execute(_BY_ID, (entry_id,)).fetchone() if can_be_stored(entry_id) else None
    return None if row is None else read_entry(row)


def page_entries(
    connection: Connection,
    *,
    account_id: str | None = None,
    kind: str | None = None,
    since: int | None = None,
    until: int | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> tuple[list[EntryRow], str | None]:
    """A page of entries, newest first, and the cursor of the next, None after the last. Raises InvalidCursor.

    `since` is included, `until` is not; both in microseconds. Of an account: what it gave and what it got.
    """
    clauses = ""
    parameters: list[object] = []
    customer = None if account_id is None else f"customer:{account_id}"
    for clause, value in (("kind = ?", kind), ("created >= ?", since), ("created < ?", until)):
        if value is not None:
            clauses += f" AND {clause}"
            parameters.append(value)
    if customer is not None:
        clauses += " AND (debit = ? OR credit = ?)"
        parameters += [customer, customer]
    if not all(can_be_stored(value) for value in parameters if isinstance(value, (str, int))):
        return [], None
    if cursor is not None:
        clauses += " AND (created, id) < (?, ?)"
        parameters += read_cursor(cursor)
    sql = f"{_SOME}{clauses} ORDER BY created DESC, id DESC LIMIT ?"
    rows = connection.execute(sql, (*parameters, limit + 1)).fetchall()
    page = [read_entry(row) for row in rows[:limit]]
    return page, write_cursor(page[-1].created, page[-1].id) if len(rows) > limit else None
