"""Support tickets over the API: open one, see one's own with the operator's answers.

From a request id a ticket takes what support would ask for: when, where, which model, how it ended, how large. Nothing that
looks like a key is kept.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import AfterValidator, Field

from console.answers import Body, Page, answer, nothing_here, owner_of, read_body, read_query
from console.key_shapes import holds_a_key
from middlewares.errors import invalid
from storage.cursors import InvalidCursor
from storage.database import Database
from storage.identifiers import now_microseconds
from storage.tickets import Ticket, TooManyTickets, find_ticket, open_ticket, page_tickets

LONGEST_MESSAGE: Final = 5_000
_KEY: Final = "this looks like it holds an API key; take it out, and revoke the key if others could have seen it"


def _line(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError("expected 1 to 200 printable characters")
    return text.strip()


def _lines(text: str) -> str:
    text = text.replace("\r\n", "\n").strip()
    if not text or not all(part.isprintable() for part in re.split(r"[\n\t]", text)):
        raise ValueError(f"expected 1 to {LONGEST_MESSAGE} printable characters, in lines")
    return text


def _a_request_id(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", text):
        raise ValueError("expected a request id, as in the header X-FindToken-Request-Id")
    return text


Line = Annotated[str, AfterValidator(_line), Field(max_length=200)]
Lines = Annotated[str, AfterValidator(_lines), Field(max_length=LONGEST_MESSAGE)]


class NewTicket(Body):
    """The body of POST /tickets."""

    subject: Annotated[Line, Field(description="What it is about, in a line.")]
    message: Annotated[Lines, Field(description="What happened, what was expected, how to see it again.")]
    request_id: Annotated[str, AfterValidator(_a_request_id)] | None = Field(
        default=None, description="The id of the request it is about; its facts are filled in."
    )


class TicketPage(Page):
    """A page of tickets."""

    status: Literal["open", "answered", "closed"] | None = None


class Tickets:
    """What can be done with tickets, and the routes that do it."""

    def __init__(self, database: Database, key_prefix: str) -> None:
        self._database = database
        self._key_prefix = key_prefix

    async def open(self, account_id: str, wish: NewTicket) -> Ticket:
        """Open a ticket. Raises a Refusal for what looks like a key, and for one too many."""
        for name in ("subject", "message", "request_id"):
            if holds_a_key(getattr(wish, name) or "", self._key_prefix):
                raise invalid(name, f"{name}: {_KEY}")
        opened = await self._database.run(
            open_ticket, account_id, wish.subject, wish.message, wish.request_id, now_microseconds(), key=account_id
        )
        if isinstance(opened, TooManyTickets):
            raise invalid(None, str(opened))
        return opened

    async def find(self, account_id: str, ticket_id: str) -> Ticket:
        """One ticket of the account's. Raises a Refusal."""
        found = await self._database.read(find_ticket, ticket_id, account_id)
        if found is None:
            raise nothing_here()
        return found

    async def find_page(self, account_id: str, page: TicketPage) -> tuple[list[Ticket], str | None]:
        """A page of the account's tickets, newest first."""

        def read(connection: Any) -> tuple[list[Ticket], str | None]:
            return page_tickets(
                connection, account_id=account_id, status=page.status, limit=page.limit, cursor=page.cursor
            )

        try:
            return await self._database.read(read)
        except InvalidCursor as error:
            raise invalid("cursor", str(error)) from None

    def create(self) -> Handler:
        """POST: open one."""

        async def handle(request: web.Request) -> web.StreamResponse:
            wish = await read_body(request, NewTicket)
            return answer((await self.open(owner_of(request), wish)).to_json(), status=201)

        return handle

    def page(self) -> Handler:
        """GET: the account's tickets, newest first."""

        async def handle(request: web.Request) -> web.StreamResponse:
            found, cursor = await self.find_page(owner_of(request), read_query(request, TicketPage))
            return answer({"data": [ticket.to_json() for ticket in found], "next_cursor": cursor})

        return handle

    def show(self) -> Handler:
        """GET: one of them."""

        async def handle(request: web.Request) -> web.StreamResponse:
            return answer((await self.find(owner_of(request), request.match_info["id"])).to_json())

        return handle
