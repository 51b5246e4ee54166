"""The pages for operators about people: what is announced to them, and the tickets they open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from aiohttp import web

from console.answers import Page, check
from console.operator_books import OperatorBooks
from console.operator_desk import ANNOUNCEMENT, NewAnnouncement, NewAnswer, OperatorDesk
from console.pages.forms import fill, said
from console.pages.showing import Shower, done, page_of
from console.pages.visiting import Visitor
from middlewares.errors import Problem, Refusal
from storage.announcements import SEVERITIES
from storage.identifiers import new_id

PAGE_ROWS: Final = 20
STATUSES: Final = ("open", "answered", "closed")
WORDS: Final = ("title", "text", "severity", "from", "until", "id")


class TicketListPage(Page):
    """A page of tickets; those that wait where nothing is said."""

    status: Literal["open", "answered", "closed"] = "open"


class PeoplePages:
    """The pages, and what they share."""

    def __init__(self, shower: Shower, books: OperatorBooks, desk: OperatorDesk) -> None:
        self._shower = shower
        self._books = books
        self._desk = desk

    async def announcements(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """All announcements, also those that are over, and the form for a new one."""
        return await self._announcements(request, visitor)

    async def publish(self, request: web.Request, visitor: Visitor, fields: dict[str, str]) -> web.StreamResponse:
        """Publish an announcement."""
        try:
            await self._desk.publish(visitor, fill(NewAnnouncement, fields))
        except Refusal as error:
            return await self._announcements(request, visitor, fault=error.problem, given=fields)
        return done("/operator/announcements", "published")

    async def withdraw(self, request: web.Request, visitor: Visitor, _fields: dict[str, str]) -> web.StreamResponse:
        """Show an announcement no longer."""
        await self._desk.withdraw(visitor, request.match_info["id"])
        return done("/operator/announcements", "withdrawn")

    async def tickets(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Tickets in one state, newest first."""
        page = check(TicketListPage, {**said(request.query), "limit": PAGE_ROWS}, "parameter")
        tickets, cursor = await self._books.tickets(page.status, page)
        return await self._shower.show(
            request,
            visitor,
            "operator/tickets.html",
            tickets=tickets,
            cursor=cursor,
            chosen=page.status,
            statuses=STATUSES,
        )

    async def ticket(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """One ticket: what it says, the facts of its request, the answers, and the form for another."""
        return await self._ticket(request, visitor)

    async def answer(self, request: web.Request, visitor: Visitor, fields: dict[str, str]) -> web.StreamResponse:
        """Answer a ticket; its owner sees it, and a mail tells of it."""
        ticket_id = request.match_info["id"]
        try:
            await self._desk.answer(visitor, ticket_id, fill(NewAnswer, fields, numbers=("seen",)))
        except Refusal as error:
            return await self._ticket(request, visitor, fault=error.problem, text=fields.get("text", ""))
        return done(f"/operator/tickets/{ticket_id}", "answered")

    async def close(self, request: web.Request, visitor: Visitor, _fields: dict[str, str]) -> web.StreamResponse:
        """Nothing more is to be done about a ticket."""
        ticket_id = request.match_info["id"]
        await self._desk.close(visitor, ticket_id)
        return done(f"/operator/tickets/{ticket_id}", "closed")

    async def _announcements(
        self,
        request: web.Request,
        visitor: Visitor,
        *,
        fault: Problem | None = None,
        given: Mapping[str, str] | None = None,
    ) -> web.Response:
        found, cursor = await self._books.announcements(page_of(request, Page, PAGE_ROWS))
        # A form that was refused keeps its id: what it says was not published.
        values = {**dict.fromkeys(WORDS, ""), "id": new_id(ANNOUNCEMENT), **(given or {})}
        return await self._shower.show(
            request,
            visitor,
            "operator/announcements.html",
            fault=fault,
            announcements=found,
            cursor=cursor,
            severities=SEVERITIES,
            given=values,
        )

    async def _ticket(
        self, request: web.Request, visitor: Visitor, *, fault: Problem | None = None, text: str = ""
    ) -> web.Response:
        found = await self._books.ticket(request.match_info["id"])
        return await self._shower.show(request, visitor, "operator/ticket.html", fault=fault, ticket=found, text=text)
