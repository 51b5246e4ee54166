"""The ledger's lines are found by account, kind and time, each once however it is paged."""

from __future__ import annotations

import itertools

import pytest

from storage.cursors import InvalidCursor
from storage.database import Database
from storage.entries import KINDS, find_entry, page_entries

INSERT = (
    "INSERT INTO entry (id, debit, credit, amount, kind, reference, reason, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)


async def test_filters_and_pages(sqlite_database: Database) -> None:
    """Newest first; of an account what it gave and what it got; nothing for what cannot be stored."""
    kinds = ("promotion", "usage", "adjustment")
    with sqlite_database.session() as connection:
        for number, kind in zip(range(30), itertools.cycle(kinds), strict=False):
            sides = ("promotion", f"customer:{number % 2}") if kind == "promotion" else (f"customer:{number % 2}", "x")
            connection.execute(INSERT, (f"e{number:02}", *sides, 1 + number, kind, "r", "why", 100 + number // 2))
        everything, more = page_entries(connection)
        own = page_entries(connection, account_id="1", kind="usage", since=102, until=110)[0]
        pages, cursor = [], None
        while True:
            page, cursor = page_entries(connection, account_id="0", limit=4, cursor=cursor)
            pages.append([entry.id for entry in page])
            if cursor is None:
                break
        odd = page_entries(connection, account_id="\0")
        with pytest.raises(InvalidCursor):
            page_entries(connection, cursor="junk")

        assert everything[0] == find_entry(connection, "e29")
        assert [None, None] == [find_entry(connection, name) for name in ("e30", "\0")]

    assert ([f"e{number:02}" for number in range(29, -1, -1)], None) == ([entry.id for entry in everything], more)
    assert ["e19", "e13", "e07"] == [entry.id for entry in own]
    assert [f"e{number:02}" for number in range(28, -1, -2)] == [name for page in pages for name in page]
    assert [4, 4, 4, 3] == [len(page) for page in pages]
    assert ([], None) == odd
    assert set(kinds) <= set(KINDS)
