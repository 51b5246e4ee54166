"""The commands about recharges: what an account has bought, its refund, and what Stripe told that matches nothing of ours."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from proxy.answers import instant
from proxy.command_line import CommandFailed, CommandGroup, Options, answer_with
from proxy.opening import account_of, load, open_books, session

if TYPE_CHECKING:  # only for annotations: what a command needs is imported when it runs
    from proxy.config import Loaded
    from storage.database import Database
    from storage.refunds import RefundRow

LARGEST_LIST = 100


@click.group(cls=CommandGroup)
def recharges() -> None:
    """Look at recharges, refund them, and see payments that match none; works while the gateway runs."""


@recharges.command("list")
@click.argument("email")
@click.pass_obj
def list_of_account(options: Options, email: str) -> None:
    """List EMAIL's last recharges: how they stand, what was credited and refunded, what is refundable until when."""
    from console.recharge_routes import view_as_json, view_of
    from storage.recharges import list_recharges

    loaded = load(options)
    window = loaded.settings.billing.refund_window_days
    with open_books(loaded) as database, database.session(snapshot=True) as connection:
        found = list_recharges(connection, account_of(connection, email).id, limit=LARGEST_LIST)
        views = [view_of(connection, recharge, window, connection.now()) for recharge in found]
    rows = [{**view_as_json(view), "difference": view.recharge.difference} for view in views]
    lines = [
        f"{row['recharge_id']}  {row['created']}  {row['status']:18}  {row['amount']:>10}  "
        f"refundable {row['refundable']}  {row['difference']}".rstrip()
        for row in rows
    ]
    answer_with(options, {"data": rows}, "\n".join(lines) or "this account has no recharges")


@recharges.command("unmatched")
@click.pass_obj
def list_events(options: Options) -> None:
    """List the last events of Stripe that were about no recharge, or whose payment was refused: somebody may have paid."""
    from storage.payments import list_unmatched

    with session(options, snapshot=True) as connection:
        found = list_unmatched(connection, LARGEST_LIST)
    rows = [
        {"event_id": event_id, "type": kind, "subject": subject, "received": instant(received)}
        for event_id, kind, subject, received in found
    ]
    lines = [f"{row['received']}  {row['type']:40}  {row['subject']}  {row['event_id']}" for row in rows]
    answer_with(options, {"data": rows}, "\n".join(lines) or "everything that Stripe told is about a recharge")


@recharges.command("refund")
@click.argument("recharge_id")
@click.pass_obj
def refund(options: Options, recharge_id: str) -> None:
    """Give back the unspent part of a recharge through Stripe, within the refund window, as its owner could."""
    from console.recharge_routes import refund_as_json

    loaded = load(options)
    with open_books(loaded) as database:
        made = asyncio.run(_refund(loaded, database, recharge_id))
    if made.status == "failed":
        raise CommandFailed("Stripe refused this refund; its amount is in the balance again")
    row = {"recharge_id": recharge_id, **refund_as_json(made)}
    answer_with(options, row, f"refund of {row['amount']} USD: {row['status']}")


async def _refund(loaded: Loaded, database: Database, recharge_id: str) -> RefundRow:
    """As the API does it; a refund that Stripe does not answer stays asked, and a running gateway finishes it."""
    from console.recharge_desk import RechargeDesk
    from metrics.instruments import Instruments
    from proxy.payments import payments_of, rules_of
    from storage.recharges import find_recharge

    payments = payments_of(loaded.settings)
    if not payments.on:
        raise CommandFailed("payments are off: set stripe.api_key")
    desk = RechargeDesk(database, payments, lambda: rules_of(loaded.settings), Instruments("command"))
    await database.start()
    try:
        await payments.start()
        try:
            found = await database.read(find_recharge, recharge_id)
            if found is None:
                raise CommandFailed(f"there is no recharge {recharge_id}")
            return await desk.refund(found, "operator")
        finally:
            await payments.close()
    finally:
        await database.close()
