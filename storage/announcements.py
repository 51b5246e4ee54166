"""Announcements: what the operator tells everybody, from one instant until another or until it is withdrawn."""

# ruff: noqa: S608 - statements are put together from our own column names, never from a value
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from storage.calls import shown_instant
from storage.connection import Connection
from storage.cursors import can_be_stored, read_cursor, write_cursor
from storage.identifiers import new_id

Severity = Literal["info", "maintenance", "incident"]
SEVERITIES: Final[tuple[str, ...]] = get_args(Severity)

_COLUMNS = "id, severity, title, text, starts, ends, created, withdrawn"
_INSERT = f"INSERT INTO announcement ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, NULL) ON CONFLICT (id) DO NOTHING"
_ALL = f"SELECT {_COLUMNS} FROM announcement WHERE 1 = 1"
_IN_FORCE = " AND withdrawn IS NULL AND starts <= ? AND (ends IS NULL OR ends > ?)"
_WITHDRAW = "UPDATE announcement SET withdrawn = ? WHERE id = ? AND withdrawn IS NULL"
_BY_ID = f"SELECT {_COLUMNS} FROM announcement WHERE id = ?"


class UnknownAnnouncement(Exception):
    """No announcement has this id."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """One announcement; instants in microseconds, `ends` is None for one that stays until it is withdrawn."""

    id: str
    severity: Severity
    title: str
    text: str
    starts: int
    ends: int | None
    created: int
    withdrawn: int | None

    def to_json(self) -> dict[str, Any]:
        """The announcement as everybody sees it."""
        return {
            "id": self.id,
            "severity": self.severity,
            "title": self.title,
            "text": self.text,
            "from": shown_instant(self.starts),
            "until": None if self.ends is None else shown_instant(self.ends),
        }


def publish_announcement(
    connection: Connection,
    severity: Severity,
    title: str,
    text: str,
    starts: int,
    ends: int | None,
    now: int,
    announcement_id: str | None = None,
) -> Announcement:
    """Write an announcement down; with an id of the caller's only once, whatever it then says, and that one is returned.

    Raises ValueError for one that ends before it begins.
    """
    if ends is not None and ends <= starts:
        raise ValueError("an announcement ends after it begins")
    made = Announcement(announcement_id or new_id("announcement_"), severity, title, text, starts, ends, now, None)
    if connection.execute(_INSERT, (made.id, severity, title, text, starts, ends, now)).rowcount == 0:
        row = connection.execute(_BY_ID, (made.id,)).fetchone()
        assert row is not None, "announcements are never deleted"
        return Announcement(*row)
    return made


def page_announcements(
    connection: Connection, *, in_force_at: int | None = None, limit: int = 50, cursor: str | None = None
) -> tuple[list[Announcement], str | None]:
    """A page of announcements, the one that began last first, and the cursor of the next, None after the last.

    ``in_force_at``: only those shown at that instant. Raises InvalidCursor.
    """
    sql = _ALL
    parameters: tuple[object, ...] = ()
    if in_force_at is not None:
        sql += _IN_FORCE
        parameters = (in_force_at, in_force_at)
    if cursor is not None:
        sql += " AND (starts, id) < (?, ?)"
        parameters += read_cursor(cursor)
    rows = connection.execute(f"{sql} ORDER BY starts DESC, id DESC LIMIT ?", (*parameters, limit + 1)).fetchall()
    page = [Announcement(*row) for row in rows[:limit]]
    return page, write_cursor(page[-1].starts, page[-1].id) if len(rows) > limit else None


def withdraw_announcement(connection: Connection, announcement_id: str, now: int) -> Announcement:
    """Show it no longer; again changes nothing. Raises UnknownAnnouncement."""
    if can_be_stored(announcement_id):
        connection.execute(_WITHDRAW, (now, announcement_id))
        row = connection.execute(_BY_ID, (announcement_id,)).fetchone()
        if row is not None:
            return Announcement(*row)
    raise UnknownAnnouncement(f"there is no announcement {announcement_id}")
