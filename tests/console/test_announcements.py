"""Announcements are public, those of now, and remembered for a moment only."""

from __future__ import annotations

from typing import Any

from console.announcements import KEPT_SECONDS, Announcements
from console.shapes import Listed
from console.support_shapes import AnnouncementShape
from storage.announcements import publish_announcement, withdraw_announcement
from tests.gateway import Gateway

PATH = "/v1/announcements"


async def test_everybody_sees_what_is_announced_now(plane: Gateway) -> None:
    """Without a key, under both bases; not what is over, to come or withdrawn."""
    with plane.database.session() as connection:
        now = connection.now()
        shown = publish_announcement(connection, "incident", "down", "a provider", now - 5, now + 10**9, now)
        publish_announcement(connection, "info", "over", "", now - 5, now - 1, now)
        publish_announcement(connection, "info", "to come", "", now + 10**9, None, now)
        gone = publish_announcement(connection, "info", "gone", "", now - 5, None, now)
        withdraw_announcement(connection, gone.id, now)

    reply = await plane.get(PATH)
    other = await plane.get(f"/api{PATH}")

    Listed[AnnouncementShape].model_validate(reply.json)
    assert [shown.to_json()] == reply.json["data"] == other.json["data"]
    assert (400, "invalid_value") == (await plane.get(f"{PATH}?cursor=x")).code
    assert (400, "invalid_value") == (await plane.get(f"{PATH}?since=1")).code


async def test_the_newest_are_remembered(gateway: Gateway, monkeypatch: Any) -> None:
    """For a few seconds, so that a page does not wait for the books; then they are read again."""
    now = 100.0
    monkeypatch.setattr("console.announcements.time.monotonic", lambda: now)
    announcements = Announcements(gateway.database)
    assert () == await announcements.newest()
    with gateway.database.session() as connection:
        publish_announcement(connection, "info", "news", "", connection.now() - 1, None, 1)

    assert () == await announcements.newest()
    now += KEPT_SECONDS + 1
    assert ["news"] == [one.title for one in await announcements.newest()]
