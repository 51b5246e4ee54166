"""Composes the pages for operators out of the parts that the gateway has."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from console.operator_books import OperatorBooks
from console.operator_desk import OperatorDesk
from console.operators import Operators
from console.pages.market import Market
from console.pages.operator.composed import OperatorPages
from console.pages.operator.doors import OperatorDoors, nothing
from console.pages.rendering import Renderer
from console.pages.showing import Shower
from console.pages.visiting import Doors, Visitors
from console.services import Parts, Services
from console.slow_reads import SlowReads

ROUTES: Final = (
    ("GET", "/operator"),
    ("GET", "/operator/accounts"),
    ("GET", "/operator/accounts/{id}"),
    ("POST", "/operator/accounts/{id}/credit"),
    ("POST", "/operator/accounts/{id}/deactivate"),
    ("POST", "/operator/accounts/{id}/reactivate"),
    ("GET", "/operator/ledger"),
    ("GET", "/operator/calls"),
    ("GET", "/operator/calls/{id}"),
    ("GET", "/operator/report"),
    ("GET", "/operator/providers"),
    ("GET", "/operator/announcements"),
    ("POST", "/operator/announcements"),
    ("POST", "/operator/announcements/{id}/withdraw"),
    ("GET", "/operator/tickets"),
    ("GET", "/operator/tickets/{id}"),
    ("POST", "/operator/tickets/{id}/answer"),
    ("POST", "/operator/tickets/{id}/close"),
)


def add_operator_pages(
    application: web.Application,
    renderer: Renderer,
    doors: Doors,
    visitors: Visitors,
    operators: Operators,
    market: Market,
    parts: Parts,
    services: Services,
) -> None:
    """Serve them; whoever is no operator finds nothing there, whatever is asked and by whichever method."""
    books = OperatorBooks(
        parts.database, SlowReads(parts.database), parts.catalogue, parts.key_prefix, parts.expiry_and_refund_days
    )
    shower = Shower(renderer, services.announcements)
    behind = OperatorDoors(renderer, doors, visitors, operators)
    handlers = OperatorPages(shower, behind, market, books, OperatorDesk(parts.database)).routes()
    for method, path in ROUTES:
        handler = handlers[method, path]
        application.router.add_get(path, handler) if method == "GET" else application.router.add_post(path, handler)
    for path in dict.fromkeys(path for _, path in ROUTES):
        application.router.add_route("*", path, nothing)
