"""What stands in front of operators' pages: for everybody else there is nothing at their addresses, in the very words of an
address that does not exist. An operator who signed in long ago is asked to do so again."""

from __future__ import annotations

from typing import NoReturn

from aiohttp import web
from aiohttp.typedefs import Handler

from console.operators import SESSION_HOURS, Operators
from console.pages.rendering import Renderer
from console.pages.visiting import Change, Doors, Page, Visitor, Visitors


class OperatorDoors:
    """The doors, and who may pass."""

    def __init__(self, renderer: Renderer, doors: Doors, visitors: Visitors, operators: Operators) -> None:
        self._renderer = renderer
        self._doors = doors
        self._visitors = visitors
        self._operators = operators

    def page(self, page: Page) -> Handler:
        """A page."""

        async def handle(request: web.Request) -> web.StreamResponse:
            operator = await self._known(request)

            async def show(request: web.Request) -> web.StreamResponse:
                if not self._operators.signed_in_lately(operator):
                    return await self._again(operator)
                return await self._doors.enter(request, operator, page)

            return await self._doors.public(show)(request)

        return handle

    def change(self, change: Change) -> Handler:
        """A form, sent from one of these pages."""

        async def handle(request: web.Request) -> web.StreamResponse:
            operator = await self._known(request)

            async def take(request: web.Request) -> web.StreamResponse:
                if not self._operators.signed_in_lately(operator):
                    return await self._again(operator)
                return await self._doors.accept(request, operator, change)

            return await self._doors.public(take)(request)

        return handle

    async def _known(self, request: web.Request) -> Visitor:
        """The operator at the other end; for anybody else there is no such address."""
        visitor = await self._visitors.find(request) if self._operators.exist else None
        if visitor is None or not self._operators.include(visitor):
            return await nothing(request)
        return visitor

    async def _again(self, operator: Visitor) -> web.StreamResponse:
        return await self._renderer.page(
            "operator/again.html", status=401, private=True, visitor=operator, news=(), hours=SESSION_HOURS
        )


async def nothing(_request: web.Request) -> NoReturn:
    """What is said at an address that does not exist, and here to everybody who is no operator."""
    raise web.HTTPNotFound
