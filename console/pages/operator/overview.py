"""The first page for operators, with what needs attention, and the providers as they are."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from billing.money import format_usd
from console.operator_books import OperatorBooks
from console.pages.market import Market, upstream_lines
from console.pages.showing import Shower
from console.pages.visiting import Visitor
from storage.attempt_sums import AttemptSums

AUDIT_DAYS: Final = 7
"""A proof of the books that is older needs attention."""
_NOTHING: Final = AttemptSums(0, 0, 0)


class OverviewPages:
    """The pages, and what they share."""

    def __init__(self, shower: Shower, books: OperatorBooks, market: Market) -> None:
        self._shower = shower
        self._books = books
        self._market = market

    async def show(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """What needs attention."""
        lines = [(name, line) for name, lines in upstream_lines(self._market).items() for line in lines]
        return await self._shower.show(
            request,
            visitor,
            "operator/overview.html",
            **await self._books.attention(),
            down=[(name, line.name) for name, line in lines if line.state == "down"],
            offered=sum(line.state != "off" for _, line in lines),
            audit_days=AUDIT_DAYS,
        )

    async def providers(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Every upstream: its circuit and times as this process sees them, its attempts and cost of today by the books."""
        sums, catalogue = await self._books.attempts_today(), self._market.catalogue()
        providers = {
            name: [(line, None if sums is None else _shown(sums.get((name, line.name), _NOTHING))) for line in lines]
            for name, lines in upstream_lines(self._market).items()
        }
        return await self._shower.show(
            request,
            visitor,
            "operator/providers.html",
            providers=providers,
            keys={name: len(catalogue.providers[name].keys) for name in providers},
        )


def _shown(sums: AttemptSums) -> dict[str, object]:
    return {"attempts": sums.attempts, "failed": sums.failed, "cost": format_usd(sums.cost)}
