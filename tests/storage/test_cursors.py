"""A cursor is read back as it was written, and nothing else is a cursor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.cursors import InvalidCursor, can_be_stored, read_cursor, write_cursor

IDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)


@given(st.integers(0, 2**63 - 1), IDS)
def test_a_cursor_comes_back(created: int, row_id: str) -> None:
    """Instant and id."""
    assert (created, row_id) == read_cursor(write_cursor(created, row_id))


@given(st.text())
def test_any_text_is_judged_without_failing(text: str) -> None:
    """It is a position that both databases can take, or refused."""
    try:
        created, row_id = read_cursor(text)
    except InvalidCursor:
        return
    assert 0 <= created < 2**63
    assert can_be_stored(row_id)


@pytest.mark.parametrize(
    "cursor", ["", "!", "AAAA", write_cursor(-1, "x"), write_cursor(2**63, "x"), write_cursor(1, "\0")]
)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    """Also what only looks like one."""
    with pytest.raises(InvalidCursor):
        read_cursor(cursor)
