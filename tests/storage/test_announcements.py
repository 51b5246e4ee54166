"""Announcements are shown from their beginning until their end or until they are withdrawn."""

from __future__ import annotations

import pytest

from storage.announcements import (
    UnknownAnnouncement,
    page_announcements,
    publish_announcement,
    withdraw_announcement,
)
from storage.database import Database


def test_when_they_are_shown(database: Database) -> None:
    """The first instant included, the last not; a withdrawn one never; all of them in the operator's list."""
    with database.session() as connection:
        bounded = publish_announcement(connection, "maintenance", "bounded", "text", 10, 20, 1)
        open_end = publish_announcement(connection, "info", "open end", "", 15, None, 1)
        gone = publish_announcement(connection, "incident", "gone", "", 1, None, 1)
        withdraw_announcement(connection, gone.id, 5)
        again = withdraw_announcement(connection, gone.id, 7)
        shown = {
            at: [one.title for one in page_announcements(connection, in_force_at=at)[0]] for at in (9, 10, 15, 19, 20)
        }
        everything, _ = page_announcements(connection)
        with pytest.raises(ValueError, match="ends after"):
            publish_announcement(connection, "info", "no time", "", 10, 10, 1)
        for nobody in ("announcement_none", "\0"):
            with pytest.raises(UnknownAnnouncement):
                withdraw_announcement(connection, nobody, 5)

    both = ["open end", "bounded"]
    assert {9: [], 10: ["bounded"], 15: both, 19: both, 20: ["open end"]} == shown
    assert [open_end, bounded] == everything[:2]
    assert 5 == again.withdrawn


def test_pages(database: Database) -> None:
    """The one that began last comes first; each once."""
    with database.session() as connection:
        for number in range(5):
            publish_announcement(connection, "info", str(number), "", 10 + number, None, 1)
        first, cursor = page_announcements(connection, in_force_at=100, limit=3)
        rest, end = page_announcements(connection, in_force_at=100, limit=3, cursor=cursor)

    assert ["4", "3", "2", "1", "0"] == [one.title for one in (*first, *rest)]
    assert end is None


async def test_under_one_id_it_is_published_once(sqlite_database: Database) -> None:
    """Whatever it says the second time, the first stands."""
    with sqlite_database.session() as connection:
        first = publish_announcement(connection, "info", "one", "", 10, None, 1, "announcement_1")
        again = publish_announcement(connection, "incident", "two", "", 20, None, 2, "announcement_1")

        assert [first] == page_announcements(connection)[0]
    assert first == again
