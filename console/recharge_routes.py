"""The routes of recharging: POST credits, the history, one recharge, a refund. Everybody sees their own and nothing else."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from billing.money import format_usd
from billing.recharges import UNITS_PER_CENT
from billing.values import named_value
from console.bodies import read_body
from console.payments import Payments, PaymentsUnavailable
from console.recharge_desk import RechargeDesk
from console.recharge_requests import read_page, read_wish, write_cursor
from middlewares.call import CALL
from middlewares.errors import Refusal
from storage.accounts import UnknownAccount
from storage.database import Connection, Database
from storage.identifiers import iso_instant, now_microseconds
from storage.lots import read_credits
from storage.payments import read_facts
from storage.recharges import Recharge, find_recharge, list_recharges
from storage.refunds import NothingRefundable, RefundRow, list_refunds, refundable

MAX_BODY_BYTES = 65_536


@named_value
class RechargeView:
    """A recharge with what follows from its payment's facts: what its owner sees."""

    recharge: Recharge
    status: str
    refundable_cents: int
    refundable_until: int | None
    refunds: tuple[RefundRow, ...]


def post_credits(desk: RechargeDesk, payments: Payments) -> Handler:
    """Open a recharge; answers with the page to pay on."""

    async def handle(request: web.Request) -> web.StreamResponse:
        _must_be_on(payments)
        rules = desk.rules()
        body = await read_body(request, MAX_BODY_BYTES)
        wish = read_wish(body, rules.minimum, rules.maximum, rules.return_hosts)
        try:
            recharge_id, url = await desk.open(_owner(request), wish)
        except PaymentsUnavailable:
            raise _unavailable() from None
        except UnknownAccount:
            raise Refusal("account_deactivated", "this account is deactivated") from None
        return _json({"recharge_id": recharge_id, "checkout_url": url})

    return handle


def get_recharges(desk: RechargeDesk, database: Database) -> Handler:
    """The history, newest first, a page at a time."""

    async def handle(request: web.Request) -> web.StreamResponse:
        limit, before = read_page(request.query.get("limit"), request.query.get("cursor"))
        window = desk.rules().refund_window_days
        views = await database.read(_page, _owner(request), limit + 1, before, window, now_microseconds())
        shown = views[:limit]
        last = shown[-1].recharge if len(views) > limit else None
        return _json(
            {
                "data": [view_as_json(view) for view in shown],
                "next_cursor": None if last is None else write_cursor(last.created, last.id),
            }
        )

    return handle


def get_recharge(desk: RechargeDesk, database: Database) -> Handler:
    """One recharge; Stripe is asked first where it may have been paid, so that whoever returns from paying has credit."""

    async def handle(request: web.Request) -> web.StreamResponse:
        recharge = await desk.look(await _find(request, database))
        view = await database.read(_view, recharge.id, desk.rules().refund_window_days, now_microseconds())
        return _json(view_as_json(view))

    return handle


def post_refund(desk: RechargeDesk, database: Database, payments: Payments) -> Handler:
    """Give back the unspent part of a recharge."""

    async def handle(request: web.Request) -> web.StreamResponse:
        recharge = await _find(request, database)
        _must_be_on(payments)
        try:
            refund = await desk.refund(recharge, "owner")
        except NothingRefundable as error:
            raise Refusal("not_refundable", str(error)) from None
        if refund.status == "failed":
            raise Refusal("not_refundable", "Stripe refused this refund; its amount is in your balance again")
        return _json({"recharge_id": recharge.id, **refund_as_json(refund)})

    return handle


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
    connection: Connection, account_id: str, limit: int, before: tuple[int, str] | None, window_days: int, now: int
) -> list[RechargeView]:
    found = list_recharges(connection, account_id, limit=limit, **({} if before is None else {"before": before}))
    return [view_of(connection, recharge, window_days, now) for recharge in found]


def _view(connection: Connection, recharge_id: str, window_days: int, now: int) -> RechargeView:
    recharge = find_recharge(connection, recharge_id)
    assert recharge is not None, "recharges are never deleted"
    return view_of(connection, recharge, window_days, now)


async def _find(request: web.Request, database: Database) -> Recharge:
    """The recharge that the path names, if it is the caller's; the same refusal whether it is another's or nobody's."""
    recharge = await database.read(find_recharge, request.match_info["id"], _owner(request))
    if recharge is None:
        raise Refusal("not_found", "there is no such recharge")
    return recharge


def _owner(request: web.Request) -> str:
    account_id = request[CALL].account_id
    assert account_id is not None, "auth comes first"
    return account_id


def _must_be_on(payments: Payments) -> None:
    if not payments.on:
        raise Refusal("payments_off", "this gateway takes no payments: its operator has not set up Stripe")


def _unavailable() -> Refusal:
    return Refusal("payments_unavailable", "Stripe cannot be reached at the moment; nothing was charged, try again")


def _json(answer: dict[str, Any]) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    return web.Response(body=json.dumps(answer).encode(), content_type="application/json", headers=headers)
