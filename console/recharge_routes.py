"""The routes of recharging: POST credits, the history, one recharge, a refund. Everybody sees their own and nothing else."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import Field

from billing.money import format_usd
from billing.recharges import UNITS_PER_CENT
from billing.values import named_value
from console.answers import Page, answer, owner_of, read_body, read_query
from console.keys import manager_of
from console.payments import Payments, PaymentsUnavailable
from console.recharge_desk import RechargeDesk
from console.recharge_requests import NewRecharge, RechargeWish, allow_wish
from middlewares.errors import Refusal, invalid
from storage.accounts import UnknownAccount
from storage.cursors import InvalidCursor
from storage.database import Connection, Database
from storage.identifiers import iso_instant, now_microseconds
from storage.lots import read_credits
from storage.payments import read_facts
from storage.recharges import Recharge, find_recharge, page_recharges
from storage.refunds import NothingRefundable, RefundRow, list_refunds, refundable

LARGEST_PAGE: Final = 100
USUAL_PAGE: Final = 20


@named_value
class RechargeView:
    """A recharge with what follows from its payment's facts: what its owner sees."""

    recharge: Recharge
    status: str
    refundable_cents: int
    refundable_until: int | None
    refunds: tuple[RefundRow, ...]


class RechargePage(Page):
    """Which page of the history."""

    limit: int = Field(default=USUAL_PAGE, ge=1, le=LARGEST_PAGE, description="How many rows at most.")


class Recharges:
    """What an account holder can do about recharges, and the routes that do it."""

    def __init__(self, desk: RechargeDesk, database: Database, payments: Payments) -> None:
        self.rules = desk.rules
        self._desk = desk
        self._database = database
        self._payments = payments

    @property
    def on(self) -> bool:
        """Whether this gateway takes payments."""
        return self._payments.on

    async def open(self, account_id: str, wish: RechargeWish) -> tuple[str, str]:
        """Open a recharge: its id, and the page to pay on. Raises a Refusal."""
        self._must_be_on()
        try:
            return await self._desk.open(account_id, wish)
        except PaymentsUnavailable:
            raise Refusal(
                "payments_unavailable", "Stripe cannot be reached at the moment; nothing was charged, try again"
            ) from None
        except UnknownAccount:
            raise Refusal("account_deactivated", "this account is deactivated") from None

    async def find_page(self, account_id: str, page: Page) -> tuple[list[dict[str, Any]], str | None]:
        """A page of the history, newest first. Raises a Refusal for a cursor that is none."""
        window = self.rules().refund_window_days
        try:
            return await self._database.read(_page, account_id, page.limit, page.cursor, window, now_microseconds())
        except InvalidCursor as error:
            raise invalid("cursor", str(error)) from None

    async def look(self, account_id: str, recharge_id: str) -> dict[str, Any]:
        """One recharge; Stripe is asked first where it may have been paid, so that whoever returns from paying has credit."""
        recharge = await self._desk.look(await self._find(account_id, recharge_id))
        view = await self._database.read(_view, recharge.id, self.rules().refund_window_days, now_microseconds())
        return view_as_json(view)

    async def refund(self, account_id: str, recharge_id: str) -> dict[str, Any]:
        """Give back the unspent part of a recharge. Raises a Refusal."""
        recharge = await self._find(account_id, recharge_id)
        self._must_be_on()
        try:
            refund = await self._desk.refund(recharge, "owner")
        except NothingRefundable as error:
            raise Refusal("not_refundable", str(error)) from None
        if refund.status == "failed":
            raise Refusal("not_refundable", "Stripe refused this refund; its amount is in your balance again")
        return {"recharge_id": recharge.id, **refund_as_json(refund)}

    def post_credits(self) -> Handler:
        """Open a recharge; answers with the page to pay on."""

        async def handle(request: web.Request) -> web.StreamResponse:
            self._must_be_on()
            rules = self.rules()
            asked = await read_body(request, NewRecharge)
            wish = allow_wish(asked, rules.minimum, rules.maximum, rules.return_hosts)
            recharge_id, url = await self.open(owner_of(request), wish)
            return answer({"recharge_id": recharge_id, "checkout_url": url})

        return handle

    def get_recharges(self) -> Handler:
        """The history, newest first, a page at a time."""

        async def handle(request: web.Request) -> web.StreamResponse:
            shown, cursor = await self.find_page(owner_of(request), read_query(request, RechargePage))
            return answer({"data": shown, "next_cursor": cursor})

        return handle

    def get_recharge(self) -> Handler:
        """One recharge."""

        async def handle(request: web.Request) -> web.StreamResponse:
            return answer(await self.look(owner_of(request), request.match_info["id"]))

        return handle

    def post_refund(self) -> Handler:
        """Give back the unspent part of a recharge."""

        async def handle(request: web.Request) -> web.StreamResponse:
            return answer(await self.refund(manager_of(request), request.match_info["id"]))

        return handle

    async def _find(self, account_id: str, recharge_id: str) -> Recharge:
        """The account's recharge of this id; the same refusal whether it is another's or nobody's."""
        recharge = await self._database.read(find_recharge, recharge_id, account_id)
        if recharge is None:
            raise Refusal("not_found", "there is no such recharge")
        return recharge

    def _must_be_on(self) -> None:
        if not self._payments.on:
            raise Refusal("payments_off", "this gateway takes no payments: its operator has not set up Stripe")


def view_as_json(view: RechargeView) -> dict[str, Any]:
    """A recharge as its owner sees it."""
    recharge = view.recharge
    return {
        "recharge_id": recharge.id,
        "status": view.status,
        "amount": format_usd(recharge.amount),
        "charged": format_usd((recharge.paid_cents or recharge.asked_cents) * UNITS_PER_CENT),
        "credited": format_usd(recharge.credited),
        "refunded": format_usd(recharge.refunded),
        "currency": "USD",
        "created": iso_instant(recharge.created),
        "paid": None if recharge.paid is None else iso_instant(recharge.paid),
        "refundable": format_usd(view.refundable_cents * UNITS_PER_CENT),
        "refundable_until": None if view.refundable_until is None else iso_instant(view.refundable_until),
        "refunds": [refund_as_json(refund) for refund in view.refunds],
    }


def refund_as_json(refund: RefundRow) -> dict[str, Any]:
    """A refund: what goes back to the card, and whether Stripe has taken it yet."""
    return {
        "refund_id": refund.id,
        "amount": format_usd(refund.cents * UNITS_PER_CENT),
        "status": {"asked": "pending", "sent": "succeeded"}.get(refund.status, refund.status),
        "created": iso_instant(refund.created),
    }


def view_of(connection: Connection, recharge: Recharge, window_days: int, now: int) -> RechargeView:
    """What follows from the facts of a recharge's payment."""
    credit = read_credits(connection, recharge.account_id, window_days)
    lots = {lot.id: lot for lot in credit.lots.lots}
    disputes = read_facts(connection, recharge).disputes
    status: str = recharge.status
    if any(dispute.taken is not None and dispute.given_back is None for dispute in disputes):
        status = "disputed"
    elif recharge.refunded:
        status = "refunded" if recharge.refunded == recharge.credited else "partially_refunded"
    lot = lots.get(recharge.id)
    return RechargeView(
        recharge=recharge,
        status=status,
        refundable_cents=refundable(connection, recharge, credit, now),
        refundable_until=None if lot is None else lot.refundable_until,
        refunds=tuple(list_refunds(connection, recharge.payment_intent or "")),
    )


def _page(
    connection: Connection, account_id: str, limit: int, cursor: str | None, window_days: int, now: int
) -> tuple[list[dict[str, Any]], str | None]:
    found, following = page_recharges(connection, account_id, limit=limit, cursor=cursor)
    return [view_as_json(view_of(connection, recharge, window_days, now)) for recharge in found], following


def _view(connection: Connection, recharge_id: str, window_days: int, now: int) -> RechargeView:
    recharge = find_recharge(connection, recharge_id)
    assert recharge is not None, "recharges are never deleted"
    return view_of(connection, recharge, window_days, now)
