"""The pages of accounts for operators: search, one account, and what may be done to it, each thing after it was confirmed.

A form is sent twice: what it asks is shown first, with an id under which it is then done once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from billing.money import format_usd
from console.answers import check
from console.operator_books import AccountPage, OperatorBooks
from console.operator_desk import PROMOTION, NewCredit, OperatorDesk
from console.pages.forms import fill, said
from console.pages.showing import Shower, done
from console.pages.visiting import Visitor
from middlewares.errors import Problem, Refusal
from storage.identifiers import new_id

PAGE_ROWS: Final = 25
CREDIT: Final = ("amount", "reason", "expires")


class OperatorAccountPages:
    """The pages, and what they share."""

    def __init__(self, shower: Shower, books: OperatorBooks, desk: OperatorDesk) -> None:
        self._shower = shower
        self._books = books
        self._desk = desk

    async def show(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Accounts, newest first, or those that were searched for."""
        page = check(AccountPage, {**said(request.query), "limit": PAGE_ROWS}, "parameter")
        accounts, cursor = await self._books.accounts(page)
        return await self._shower.show(
            request, visitor, "operator/accounts.html", accounts=accounts, cursor=cursor, asked=page.q
        )

    async def one(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """One account."""
        return await self._one(request, visitor)

    async def credit(self, request: web.Request, visitor: Visitor, fields: dict[str, str]) -> web.StreamResponse:
        """Show what would be given, or give it."""
        account_id = request.match_info["id"]
        try:
            wish = fill(NewCredit, fields)
            if wish.id is not None:
                await self._desk.credit(visitor, account_id, wish)
                return done(f"/operator/accounts/{account_id}", "credited")
            await self._desk.check_credit(wish)
        except Refusal as error:
            return await self._one(request, visitor, fault=error.problem, given=fields)
        found = await self._books.account(account_id)
        return await self._shower.show(
            request,
            visitor,
            "operator/credit.html",
            account=found["account"],
            amount=format_usd(wish.amount),
            given=_given(fields),
            id=new_id(PROMOTION),
        )

    async def deactivate(self, request: web.Request, visitor: Visitor, fields: dict[str, str]) -> web.StreamResponse:
        """Ask whether an account is to be deactivated, or do it."""
        return await self._set_active(request, visitor, fields, active=False)

    async def reactivate(self, request: web.Request, visitor: Visitor, fields: dict[str, str]) -> web.StreamResponse:
        """Ask whether an account is to be active again, or do it."""
        return await self._set_active(request, visitor, fields, active=True)

    async def _set_active(
        self, request: web.Request, visitor: Visitor, fields: dict[str, str], *, active: bool
    ) -> web.StreamResponse:
        account_id = request.match_info["id"]
        if fields.get("confirmed") != "yes":
            found = await self._books.account(account_id)
            return await self._shower.show(
                request, visitor, "operator/status.html", account=found["account"], active=active
            )
        try:
            await self._desk.set_active(visitor, account_id, active=active)
        except Refusal as error:
            return await self._one(request, visitor, fault=error.problem)
        return done(f"/operator/accounts/{account_id}", "reactivated" if active else "deactivated")

    async def _one(
        self,
        request: web.Request,
        visitor: Visitor,
        *,
        fault: Problem | None = None,
        given: Mapping[str, str] | None = None,
    ) -> web.Response:
        found = await self._books.account(request.match_info["id"])
        return await self._shower.show(
            request, visitor, "operator/account.html", fault=fault, **found, given=_given(given or {})
        )


def _given(fields: Mapping[str, str]) -> dict[str, str]:
    return {name: fields.get(name, "") for name in CREDIT}
