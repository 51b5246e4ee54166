"""The pages of support tickets: one's own, and the form for a new one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from console.pages.forms import fill
from console.pages.showing import Shower, done, page_of
from console.pages.visiting import Visitor
from console.services import Services
from console.tickets import NewTicket, TicketPage
from middlewares.errors import Problem, Refusal

PAGE_ROWS: Final = 15


class SupportPages:
    """The pages, and what they share."""

    def __init__(self, shower: Shower, services: Services) -> None:
        self._shower = shower
        self._services = services

    async def show(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """The account's tickets; a call's page names its request id in the form."""
        return await self._list(request, visitor, given={"request_id": request.query.get("request_id", "")[:100]})

    async def open(self, request: web.Request, visitor: Visitor, fields: dict[str, str]) -> web.StreamResponse:
        """Open a ticket."""
        try:
            opened = await self._services.tickets.open(visitor.account_id, fill(NewTicket, fields))
        except Refusal as error:
            return await self._list(request, visitor, fault=error.problem, given=fields)
        return done(f"/my/tickets/{opened.id}", "opened")

    async def one(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """One ticket, with its answers."""
        found = await self._services.tickets.find(visitor.account_id, request.match_info["id"])
        return await self._shower.show(request, visitor, "my/ticket.html", ticket=found.to_json())

    async def _list(
        self, request: web.Request, visitor: Visitor, *, fault: Problem | None = None, given: Mapping[str, str]
    ) -> web.Response:
        page = page_of(request, TicketPage, PAGE_ROWS)
        found, following = await self._services.tickets.find_page(visitor.account_id, page)
        return await self._shower.show(
            request,
            visitor,
            "my/tickets.html",
            fault=fault,
            tickets=[ticket.to_json() for ticket in found],
            cursor=following,
            given={name: given.get(name, "") for name in ("subject", "message", "request_id")},
        )
