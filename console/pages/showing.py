"""A page of somebody who is signed in: what all of them need put in, and the sentences that confirm what was done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from aiohttp import web

from console.announcements import Announcements
from console.answers import Page, check
from console.pages.rendering import Renderer
from console.pages.visiting import Visitor, redirect, word_of
from middlewares.errors import Problem

AnyPage = TypeVar("AnyPage", bound=Page)

DONE: Final[Mapping[str, str]] = {
    "changed": "The key is changed.",
    "revoked": "The key is revoked: nobody accepts it any more.",
    "registered": "Your provider key is kept, sealed. Calls to that provider’s models run on it from now on.",
    "removed": "The provider key is removed and erased.",
    "refunded": "The refund is on its way to your card.",
    "opened": "Your ticket is open. The answer will stand here.",
    "paid": "Thank you. Credit is there as soon as Stripe confirms the payment.",
    "left": "Nothing was paid.",
    "credited": "The credit is given.",
    "deactivated": "The account is deactivated: its keys stop working within a second.",
    "reactivated": "The account is active again: its keys work within a second.",
    "published": "The announcement is published; pages show it within seconds.",
    "withdrawn": "The announcement is withdrawn; pages stop showing it within seconds.",
    "answered": "Your answer stands in the ticket, and a mail tells its owner.",
    "closed": "The ticket is closed.",
}
"""What an address may say was done: a word of this list, so that no link can make a page say anything else."""


class Shower:
    """Shows private pages."""

    def __init__(self, renderer: Renderer, announcements: Announcements) -> None:
        self._renderer = renderer
        self._announcements = announcements

    async def show(
        self, request: web.Request, visitor: Visitor, name: str, *, fault: Problem | None = None, **values: Any
    ) -> web.Response:
        """A page for ``visitor``; with the ``fault`` of a form it has that one's status."""
        return await self._renderer.page(
            name,
            status=200 if fault is None else fault.status,
            private=True,
            visitor=visitor,
            news=await self._announcements.newest(),
            word=word_of(visitor),
            done=DONE.get(request.query.get("done", "")),
            fault=fault,
            **values,
        )


def done(path: str, what: str) -> web.Response:
    """Lead back to a page that says what was done, so that a reload does not do it again."""
    assert what in DONE, what
    return redirect(f"{path}?done={what}")


def page_of(request: web.Request, form: type[AnyPage], rows: int) -> AnyPage:
    """Which page of a list an address names, whatever else it says; what answers a form shows the first."""
    cursor = request.query.get("cursor") if request.method in ("GET", "HEAD") else None
    return check(form, {"limit": rows} if cursor is None else {"limit": rows, "cursor": cursor}, "parameter")
