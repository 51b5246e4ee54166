"""The page of money: what there is, lot by lot, recharging by card, the history, a refund."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiohttp import web

from billing.money import InvalidAmount, format_usd, parse_usd
from console.answers import Page
from console.pages.market import Offers
from console.pages.showing import Shower, done, page_of
from console.pages.visiting import Visitor
from console.recharge_requests import RechargeWish, allow_amount
from console.recharge_routes import Recharges
from console.services import Services
from middlewares.errors import Problem, Refusal, invalid

PAGE_ROWS: Final = 15
LOOKED_AT: Final = 3
"""How many open recharges Stripe is asked about when somebody comes back from paying."""


class BillingPages:
    """The pages, and what they share."""

    def __init__(self, shower: Shower, services: Services, recharges: Recharges, offers: Callable[[], Offers]) -> None:
        self._shower = shower
        self._services = services
        self._recharges = recharges
        self._offers = offers

    async def show(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Balance and history; whoever comes back from paying has their credit at once."""
        if request.query.get("done") == "paid":
            await self._look(visitor)
        return await self._page(request, visitor)

    async def recharge(self, request: web.Request, visitor: Visitor, fields: dict[str, str]) -> web.StreamResponse:
        """Open a recharge, and lead to the page to pay on."""
        rules, home = self._recharges.rules(), self._offers().public_url.rstrip("/")
        try:
            amount = allow_amount(_dollars(fields.get("amount", "")), rules.minimum, rules.maximum)
            wish = RechargeWish(amount, f"{home}/my/billing?done=paid", f"{home}/my/billing?done=left")
            _, url = await self._recharges.open(visitor.account_id, wish)
        except Refusal as error:
            return await self._page(request, visitor, fault=error.problem, amount=fields.get("amount", ""))
        # A link and not a redirect: our policy lets forms lead nowhere but here.
        return await self._shower.show(request, visitor, "my/pay.html", url=url, amount=format_usd(amount))

    async def refund(self, request: web.Request, visitor: Visitor, _fields: dict[str, str]) -> web.StreamResponse:
        """Give back the unspent part of a recharge."""
        try:
            await self._recharges.refund(visitor.account_id, request.match_info["id"])
        except Refusal as error:
            return await self._page(request, visitor, fault=error.problem)
        return done("/my/billing", "refunded")

    async def _page(
        self, request: web.Request, visitor: Visitor, *, fault: Problem | None = None, amount: str = ""
    ) -> web.Response:
        page = page_of(request, Page, PAGE_ROWS)
        history, following = await self._recharges.find_page(visitor.account_id, page)
        return await self._shower.show(
            request,
            visitor,
            "my/billing.html",
            fault=fault,
            balance=await self._services.balance(visitor.account_id),
            history=history,
            cursor=following,
            payable=self._recharges.on,
            offers=self._offers(),
            amount=amount,
        )

    async def _look(self, visitor: Visitor) -> None:
        """Ask Stripe about the newest recharges that are open, as the API does when one of them is looked at."""
        newest, _ = await self._recharges.find_page(visitor.account_id, Page(limit=LOOKED_AT))
        for recharge in newest:
            if recharge["status"] in ("open", "processing"):
                await self._recharges.look(visitor.account_id, recharge["recharge_id"])


def _dollars(text: str) -> int:
    try:
        return parse_usd(text.removeprefix("$").strip())
    except InvalidAmount:
        raise invalid("amount", "amount: expected dollars, such as 20 or 20.50") from None
