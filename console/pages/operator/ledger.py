"""The pages of the ledger for operators: its entries, anybody's call with its receipt, and what was earned and spent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from aiohttp import web

from console.answers import check
from console.operator_books import EntryPage, OperatorBooks, ReportRange
from console.pages.forms import said
from console.pages.showing import Shower
from console.pages.visiting import Visitor, redirect
from middlewares.errors import Refusal
from storage.entries import KINDS

PAGE_ROWS: Final = 50
LONGEST_ID: Final = 100
FILTERS: Final = ("account", "kind", "from", "to")


class LedgerPages:
    """The pages, and what they share."""

    def __init__(self, shower: Shower, books: OperatorBooks) -> None:
        self._shower = shower
        self._books = books

    async def show(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Entries, newest first, by account, kind and time; what a filter cannot mean is said beside the form."""
        asked = said(request.query)
        fault, cursor = None, None
        entries: list[dict[str, Any]] = []
        try:
            entries, cursor = await self._books.entries(check(EntryPage, {**asked, "limit": PAGE_ROWS}, "parameter"))
        except Refusal as error:
            fault = error.problem
        return await self._shower.show(
            request,
            visitor,
            "operator/ledger.html",
            fault=fault,
            entries=entries,
            cursor=cursor,
            kinds=KINDS,
            asked={name: asked.get(name, "") for name in FILTERS},
        )

    async def call(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """One call with its attempts, its entries and the rates that were used."""
        receipt = await self._books.receipt(request.match_info["id"])
        return await self._shower.show(request, visitor, "operator/call.html", receipt=receipt, call=receipt["call"])

    async def find(self, request: web.Request, _visitor: Visitor) -> web.StreamResponse:
        """Lead to the call whose id was typed."""
        request_id = request.query.get("request_id", "").strip()[:LONGEST_ID]
        return redirect(f"/operator/calls/{quote(request_id, safe='')}" if request_id else "/operator/ledger")

    async def report(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """The sums of `find-token report`."""
        asked = said(request.query)
        fault, report = None, None
        try:
            report = await self._books.report(check(ReportRange, asked, "parameter"))
        except Refusal as error:
            fault = error.problem
        by = asked.get("by", "day")
        return await self._shower.show(
            request, visitor, "operator/report.html", fault=fault, report=report, by=by, asked=_days(asked, report)
        )


def _days(asked: Mapping[str, str], report: Mapping[str, str] | None) -> dict[str, str]:
    return {name: asked.get(name, "") if report is None else report[name] for name in ("from", "to")}
