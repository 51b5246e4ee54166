"""The commands about recharges: what an account has bought, and what Stripe told that matches nothing of ours."""

from __future__ import annotations

import click

from proxy.answers import instant
from proxy.command_line import CommandGroup, Options, answer_with
from proxy.opening import account_of, load, open_books, session

LARGEST_LIST = 100


@click.group(cls=CommandGroup)
def recharges() -> None:
    """Look at recharges and at payments that match none; works while the gateway runs."""


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
