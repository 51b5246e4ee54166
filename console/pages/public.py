"""The pages for everybody: home, prices, calculator, models, status of the providers, announcements, help."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import Field

from console.announcements import Announcements
from console.answers import Page, Query, read_query
from console.pages.articles import ARTICLES, BY_SLUG, LONGEST_SEARCH, Library, by_area
from console.pages.market import Market, upstream_lines
from console.pages.prices import Plan, estimate, models_for_sale
from console.pages.rendering import Renderer
from console.pages.visiting import Doors
from middlewares.errors import Refusal

PAGE_ROWS: Final = 20


class Search(Query):
    """What the help centre is asked."""

    q: str = Field(default="", max_length=LONGEST_SEARCH)


class PublicPages:
    """The handlers, and what they share."""

    def __init__(self, renderer: Renderer, doors: Doors, market: Market, announcements: Announcements) -> None:
        self._renderer = renderer
        self._doors = doors
        self._market = market
        self._announcements = announcements
        self._library: Library | None = None

    def routes(self) -> dict[tuple[str, str], Handler]:
        """What answers each path."""
        pages = {
            "/": self._home,
            "/pricing": self._pricing,
            "/calculator": self._calculator,
            "/models": self._models,
            "/status": self._status,
            "/announcements": self._list_announcements,
            "/help": self._help,
            "/help/{slug}": self._article,
        }
        return {("GET", path): self._doors.public(page) for path, page in pages.items()}

    async def _show(self, request: web.Request, name: str, *, status: int = 200, **values: Any) -> web.Response:
        visitor = await self._doors.visitor(request)
        news = await self._announcements.newest()
        return await self._renderer.page(
            name, status=status, private=visitor is not None, visitor=visitor, news=news, **values
        )

    async def _home(self, request: web.Request) -> web.StreamResponse:
        models = models_for_sale(self._market.catalogue(), datetime.now(UTC))
        providers = len(self._market.catalogue().providers)
        return await self._show(
            request,
            "home.html",
            offers=self._market.offers(),
            models=models[:6],
            total=len(models),
            providers=providers,
        )

    async def _pricing(self, request: web.Request) -> web.StreamResponse:
        models = models_for_sale(self._market.catalogue(), datetime.now(UTC))
        return await self._show(request, "pricing.html", offers=self._market.offers(), models=models)

    async def _calculator(self, request: web.Request) -> web.StreamResponse:
        offers, catalogue = self._market.offers(), self._market.catalogue()
        models = [one.model.id for one in models_for_sale(catalogue, datetime.now(UTC))]
        found, fault, plan = None, None, Plan()
        try:
            plan = read_query(request, Plan)
            if plan.model:
                found = estimate(catalogue, plan, offers.fee, offers.byok_fee, offers.free_byok_calls)
        except Refusal as error:
            fault = error.problem
        return await self._show(
            request,
            "calculator.html",
            status=200 if fault is None else fault.status,
            offers=offers,
            models=models,
            plan=plan,
            given={**plan.model_dump(), **request.query},
            estimate=None if found is None else found.to_json(),
            fault=fault,
        )

    async def _models(self, request: web.Request) -> web.StreamResponse:
        models = models_for_sale(self._market.catalogue(), datetime.now(UTC))
        return await self._show(request, "models.html", models=models)

    async def _status(self, request: web.Request) -> web.StreamResponse:
        return await self._show(request, "status.html", providers=upstream_lines(self._market))

    async def _list_announcements(self, request: web.Request) -> web.StreamResponse:
        page = read_query(request, Page)
        found, cursor = await self._announcements.find_page(
            page.model_copy(update={"limit": min(page.limit, PAGE_ROWS)})
        )
        shown = [one.to_json() for one in found]
        return await self._show(request, "announcements.html", announcements=shown, cursor=cursor)

    async def _help(self, request: web.Request) -> web.StreamResponse:
        asked = read_query(request, Search).q
        found = (await self._articles()).search(asked)
        return await self._show(request, "help.html", asked=asked, found=found, areas=by_area(found))

    async def _article(self, request: web.Request) -> web.StreamResponse:
        article = BY_SLUG.get(request.match_info["slug"])
        if article is None:
            raise Refusal("not_found", "there is no such article")
        near = [one for one in ARTICLES if one.area == article.area and one is not article]
        return await self._show(request, article.template, article=article, near=near, offers=self._market.offers())

    async def _articles(self) -> Library:
        if self._library is None:
            self._library = await asyncio.to_thread(_read_library, self._renderer)
        return self._library


def _read_library(renderer: Renderer) -> Library:
    return Library({article.slug: renderer.source(article.template) for article in ARTICLES})
