"""The dashboard: balance, what was spent day by day, the latest calls; usage in full, and one call with its receipt."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

from aiohttp import web

from console.answers import LARGEST_PAGE, Page, check
from console.billing_log import CallFilter, CallPage
from console.pages.chart import Chart, draw
from console.pages.showing import Shower
from console.pages.visiting import Visitor
from console.services import Services
from console.usage import Range

LATEST: Final = 8
PAGE_ROWS: Final = 25
MOST_ROWS: Final = 20
"""Models, and keys, of which the sums are listed."""


class DashboardPages:
    """The pages, and what they share."""

    def __init__(self, shower: Shower, services: Services) -> None:
        self._shower = shower
        self._services = services

    async def show(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """The first page of the console."""
        account_id = visitor.account_id
        balance = await self._services.balance(account_id)
        usage = await self._services.usage(account_id, Range())
        calls, _ = await self._services.calls.find_page(account_id, CallFilter(), LATEST, None)
        return await self._shower.show(
            request,
            visitor,
            "my/dashboard.html",
            balance=balance,
            usage=usage,
            chart=chart_of(usage),
            calls=[row.to_json() for row in calls],
        )

    async def usage(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Sums of thirty days, and all calls a page at a time, by the filters of the billing log."""
        asked = {name: text for name, text in request.query.items() if text}  # A form sends what is empty, too.
        page = check(CallPage, asked, "parameter")
        usage = await self._services.usage(visitor.account_id, Range())
        rows, cursor = await self._services.calls.find_page(
            visitor.account_id, page, min(page.limit, PAGE_ROWS), page.cursor
        )
        keys, _ = await self._services.keys.find_page(visitor.account_id, Page(limit=LARGEST_PAGE))
        return await self._shower.show(
            request,
            visitor,
            "my/usage.html",
            usage=usage,
            chart=chart_of(usage),
            by_model=dearest(usage["by_model"]),
            by_key=dearest(usage["by_key"]),
            names={key["id"]: key["name"] for key in keys},
            calls=[row.to_json() for row in rows],
            cursor=cursor,
            asked={name: asked.get(name, "") for name in ("from", "to", "model", "mode", "key", "status")},
        )

    async def call(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """One call, with its attempts, and the receipt to keep."""
        receipt = await self._services.calls.find_receipt(visitor.account_id, request.match_info["id"])
        return await self._shower.show(request, visitor, "my/call.html", call=receipt["call"], receipt=receipt)


def chart_of(usage: Mapping[str, Any]) -> Chart:
    """What was spent on each day of the range, days without calls included."""
    spent = {row["day"]: Decimal(row["cost"]) for row in usage["by_day"]}
    first, last = date.fromisoformat(usage["from"]), date.fromisoformat(usage["to"])
    days = [(first + timedelta(days=number)).isoformat() for number in range((last - first).days + 1)]
    return draw([(day, spent.get(day, Decimal(0))) for day in days])


def dearest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that cost most, so that a page stays a page."""
    return sorted(rows, key=lambda row: Decimal(row["cost"]), reverse=True)[:MOST_ROWS]
