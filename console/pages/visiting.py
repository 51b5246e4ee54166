"""Who looks at a page: nobody known, or somebody who is signed in. What a form may do, and what errors look like to people.

Who is signed in is decided elsewhere; a page asks `Visitors`. A form that changes something must come from a page of ours:
the browser says where it comes from, and the form carries a word that only such a page knows.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

from console.limits import check_limit
from console.operators import SignedIn
from console.pages.forms import read_form
from console.pages.rendering import Renderer
from console.post_office import SIGN_IN_PATH
from middlewares.call import CALL
from middlewares.errors import Problem, Refusal, problem_of
from storage.connection import StorageUnavailable
from storage.limits import LocalLimits

WORD: Final = "form_word"


class Visitor(SignedIn, Protocol):
    """Whoever looks at a page."""

    @property
    def id(self) -> str: ...


class Visitors(Protocol):
    """What is asked about who is signed in."""

    async def find(self, request: web.Request) -> Visitor | None:
        """Who is signed in at the other end of a request, or None."""

    def check_origin(self, request: web.Request) -> None:
        """Raise a Refusal for what does not come from a page of ours."""


Page = Callable[[web.Request, Visitor], Awaitable[web.StreamResponse]]
Change = Callable[[web.Request, Visitor, dict[str, str]], Awaitable[web.StreamResponse]]


class Doors:
    """What stands in front of pages: for everybody, for those who are signed in, for what changes something."""

    def __init__(self, renderer: Renderer, visitors: Visitors) -> None:
        self._renderer = renderer
        self._visitors = visitors
        self._limiter = LocalLimits()

    async def visitor(self, request: web.Request) -> Visitor | None:
        """Who is signed in; nobody where the books cannot be reached, so that public pages still show."""
        try:
            return await self._visitors.find(request)
        except StorageUnavailable:
            return None

    def public(self, handler: Handler) -> Handler:
        """A page for everybody; what goes wrong is a page, too."""

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except (Refusal, StorageUnavailable) as error:
                return await self.problem(request, problem_of(error), await self.visitor(request))

        return handle

    def members(self, page: Page) -> Handler:
        """A page for those who are signed in; others are led to where they can."""

        async def handle(request: web.Request) -> web.StreamResponse:
            visitor = await self._visitors.find(request)
            if visitor is None:
                return redirect(SIGN_IN_PATH)
            return await self.enter(request, visitor, page)

        return self.public(handle)

    async def enter(self, request: web.Request, visitor: Visitor, page: Page) -> web.StreamResponse:
        """A page for somebody who is known."""
        await check_limit(self._limiter, visitor.account_id, request[CALL])
        return await page(request, visitor)

    def changes(self, change: Change) -> Handler:
        """A form of somebody's who is signed in, sent from one of our pages."""

        async def handle(request: web.Request) -> web.StreamResponse:
            visitor = await self._visitors.find(request)
            if visitor is None:
                raise Refusal("not_signed_in", "you are not signed in any more; sign in and try again")
            return await self.accept(request, visitor, change)

        return self.public(handle)

    async def accept(self, request: web.Request, visitor: Visitor, change: Change) -> web.StreamResponse:
        """A form of somebody's who is known. Raises a Refusal where it is not from one of our pages."""
        self._visitors.check_origin(request)
        await check_limit(self._limiter, visitor.account_id, request[CALL])
        fields = await read_form(request)
        if not hmac.compare_digest(fields.pop(WORD, "").encode(), word_of(visitor).encode()):
            raise Refusal(
                "cross_site_request", "this form is not from a page of yours; open the page anew and try again"
            )
        return await change(request, visitor, fields)

    async def problem(self, request: web.Request, problem: Problem, visitor: Visitor | None) -> web.Response:
        """What went wrong, for people."""
        call = request.get(CALL)
        response = await self._renderer.page(
            "problem.html",
            status=problem.status,
            private=True,
            visitor=visitor,
            problem=problem,
            request_id=call.told_id if call is not None else "",
            news=(),
        )
        if problem.retry_after_seconds is not None:
            response.headers["Retry-After"] = str(max(1, -int(-problem.retry_after_seconds // 1)))
        return response


def word_of(visitor: Visitor) -> str:
    """The word that the forms of this visitor's pages carry: known to nobody who cannot read them."""
    return hashlib.sha256(f"form {visitor.id}".encode()).hexdigest()[:32]


def redirect(location: str) -> web.Response:
    """Go on at another address of ours, by GET."""
    return web.Response(status=303, headers={"Location": location, "Cache-Control": "private, no-store"})
