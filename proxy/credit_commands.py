"""Commands about an account's credits: adjust them, see which are about to expire, undo an expiry, reactivate an account."""

from __future__ import annotations

from typing import Any

import click

from proxy.answers import account_as_json, instant
from proxy.command_line import Command, CommandFailed, Options, answer_with
from proxy.opening import account_of, load, open_books, session

OPERATOR_REASON = "undone by the operator"


def credits_as_lines(shown: dict[str, Any]) -> list[str]:
    """The lots for people, one a line, as the fields of `account show` stand."""
    return [
        f"lot         {lot['created']}  {lot['kind']:9}  {lot['left']} of {lot['amount']} left"
        + (f", until {lot['lapses_at']}" if lot["lapses_at"] else "")
        + (f", {lot['refundable']} refundable until {lot['refundable_until']}" if lot["refundable"] != "0" else "")
        for lot in shown["lots"]
    ]


@click.command("adjust", cls=Command, context_settings={"ignore_unknown_options": True})
@click.argument("email")
@click.argument("amount")
@click.option("--reason", required=True, help="Why; it is kept with the entry.")
@click.option("--id", "name", help="A name of your own: the same adjustment again under it changes nothing.")
@click.pass_obj
def adjust_account(options: Options, email: str, amount: str, reason: str, name: str | None) -> None:
    """Correct EMAIL's balance by AMOUNT dollars: give, or with a minus take back, at most what is available."""
    from billing.money import InvalidAmount, format_usd, parse_usd
    from storage.corrections import post_adjustment
    from storage.identifiers import new_id, now_microseconds
    from storage.postings import InsufficientCredit

    try:
        money = parse_usd(amount)
    except InvalidAmount as error:
        raise click.UsageError(str(error)) from None
    if money == 0:
        raise click.UsageError(f"an adjustment is more or less than nothing, not {amount}")
    if name is not None and not (name.isprintable() and 1 <= len(name) <= 100):
        raise click.UsageError("an id is 1 to 100 printable characters")
    name = name or new_id("")
    with session(options) as connection:
        found = account_of(connection, email)
        outcome = post_adjustment(connection, name, found.id, money, reason, now_microseconds())
    if isinstance(outcome, InsufficientCredit):
        raise CommandFailed(
            f"only {format_usd(outcome.available)} USD are available, {format_usd(-money)} cannot be taken"
        )
    answer = {"entry_id": f"adjustment:{name}", "account_id": found.id, "email": found.email}
    answer |= {"amount": format_usd(money), "balance": format_usd(outcome.balance)}
    answer |= {"available": format_usd(outcome.available)}
    answer_with(options, answer, f"adjusted by {answer['amount']} USD, balance {answer['balance']} USD")


@click.command("expiring", cls=Command)
@click.option("--days", default=30, show_default=True, type=click.IntRange(0, 36_500), help="How far to look ahead.")
@click.pass_obj
def list_expiring(options: Options, days: int) -> None:
    """List the accounts whose credits are due to expire, the first due first, with the notices recorded."""
    from billing.money import format_usd
    from storage.expiry import list_expiring as find

    loaded = load(options)
    with open_books(loaded) as database, database.session(snapshot=True) as connection:
        found = find(connection, loaded.settings.billing.credit_expiry_days, days, connection.now())
    data = [
        {
            "account_id": one.account_id,
            "email": one.email,
            "balance": format_usd(one.balance),
            "last_active": instant(one.last_active),
            "expires_at": instant(one.due),
            "notices": list(one.notices),
        }
        for one in found
    ]
    lines = [
        f"{one['expires_at']}  {one['balance']:>14}  {one['email']}  {' '.join(one['notices']) or 'no notice yet'}"
        for one in data
    ]
    answer_with(options, {"data": data}, "\n".join(lines) or f"no credits expire within {days} days")


@click.command("restore", cls=Command)
@click.argument("email")
@click.option("--reason", default=OPERATOR_REASON, show_default=True, help="Why; it is kept with the entry.")
@click.pass_obj
def restore_account(options: Options, email: str, reason: str) -> None:
    """Undo the latest expiry of EMAIL's credits, once; it counts as activity."""
    from billing.money import format_usd
    from storage.corrections import restore_expired
    from storage.postings import find_balance

    with session(options) as connection:
        found = account_of(connection, email)
        restored = restore_expired(connection, found.id, reason, connection.now())
        balance = find_balance(connection, found.id)
    if restored is None:
        raise CommandFailed(f"no expiry of {found.email} is left to undo")
    expiry_id, amount = restored
    answer = {"entry_id": f"restore:{expiry_id}", "account_id": found.id, "email": found.email}
    answer |= {"amount": format_usd(amount), "balance": format_usd(balance.balance)}
    answer_with(options, answer, f"restored {answer['amount']} USD, balance {answer['balance']} USD")


@click.command("reactivate", cls=Command)
@click.argument("email")
@click.pass_obj
def reactivate_account(options: Options, email: str) -> None:
    """Make EMAIL's deactivated account active again: its keys work within a second. It counts as activity."""
    from storage.expiry import reactivate

    with session(options) as connection:
        reactivate(connection, account_of(connection, email).id, connection.now())
        found = account_of(connection, email)
    answer_with(options, account_as_json(found), f"reactivated {found.email}")


def add_to(account: click.Group) -> None:
    """Put these commands beside the other commands about accounts."""
    for command in (adjust_account, list_expiring, restore_account, reactivate_account):
        account.add_command(command)
