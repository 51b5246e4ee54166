"""GET /v1/announcements: what the operator tells everybody now. No key needed.

Pages show the newest on top of everything, so what is in force is remembered for a few seconds; where the books cannot be
reached, what was in force last is better than no page.
"""

from __future__ import annotations

import time
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from console.answers import Page, answer, read_query
from middlewares.errors import invalid
from storage.announcements import Announcement, page_announcements
from storage.connection import Connection, StorageUnavailable
from storage.cursors import InvalidCursor
from storage.database import Database
from storage.identifiers import now_microseconds

KEPT_SECONDS: Final = 5.0
_NEWEST: Final = 3


class Announcements:
    """What is announced, read from the books."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._newest: tuple[Announcement, ...] = ()
        self._read_at = float("-inf")

    async def newest(self) -> tuple[Announcement, ...]:
        """The newest of those in force, from memory where that is young enough."""
        now = time.monotonic()
        if now - self._read_at > KEPT_SECONDS:
            self._read_at = now
            try:
                found, _ = await self._database.read(_in_force, _NEWEST, None)
                self._newest = tuple(found)
            except StorageUnavailable:
                pass  # Said again in a few seconds; what we had is still worth showing.
        return self._newest

    async def find_page(self, page: Page) -> tuple[list[Announcement], str | None]:
        """A page of those in force, the one that began last first. Raises a Refusal for a cursor that is none."""
        try:
            return await self._database.read(_in_force, page.limit, page.cursor)
        except InvalidCursor as error:
            raise invalid("cursor", str(error)) from None

    def page(self) -> Handler:
        """GET: a page of them."""

        async def handle(request: web.Request) -> web.StreamResponse:
            found, cursor = await self.find_page(read_query(request, Page))
            return answer({"data": [one.to_json() for one in found], "next_cursor": cursor})

        return handle


def _in_force(connection: Connection, limit: int, cursor: str | None) -> tuple[list[Announcement], str | None]:
    return page_announcements(connection, in_force_at=now_microseconds(), limit=limit, cursor=cursor)
