"""Where a page of a list ended: the instant and the id of its last row, as a text that callers give back unread.

Rows that are added meanwhile move nothing: a page begins right behind the row that the page before it ended with.
"""

from __future__ import annotations

import base64
import binascii


class InvalidCursor(ValueError):
    """A text that no page of ours ended with."""


def write_cursor(created: int, row_id: str) -> str:
    """The cursor behind a row."""
    return base64.urlsafe_b64encode(f"{created} {row_id}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[int, str]:
    """Instant and id of the row that a page ended with. Raises InvalidCursor."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        created, _, row_id = text.partition(" ")
        position = int(created), row_id
    except (binascii.Error, ValueError):
        position = -1, ""
    if position[0] < 0 or not (can_be_stored(position[0]) and can_be_stored(position[1])):
        raise InvalidCursor("the cursor is not one of ours; begin again without it")
    return position


def can_be_stored(value: str | int) -> bool:
    """Whether both databases can take the value: no NUL or half character in a text, no number beyond 64 bits."""
    if isinstance(value, str):
        return value.isprintable()
    return -(2**63) <= value < 2**63
