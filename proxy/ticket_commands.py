"""The commands about support tickets: what waits for an answer, one ticket, an answer to it, its end."""

from __future__ import annotations

import sys
from typing import Any

import click

from proxy.command_line import CommandFailed, CommandGroup, Options, answer_with
from proxy.opening import account_of, session

LARGEST_LIST = 200
LONGEST_ANSWER = 20_000


@click.group(cls=CommandGroup)
def tickets() -> None:
    """Read support tickets and answer them; works while the gateway runs."""


@tickets.command("list")
@click.option("--status", type=click.Choice(["open", "answered", "closed"]), help="Only these.")
@click.option("--account", "email", help="Only those of this e-mail address.")
@click.option("--limit", type=click.IntRange(1, LARGEST_LIST), default=50, show_default=True, help="How many at most.")
@click.option("--cursor", help="The next_cursor of the page before.")
@click.pass_obj
def list_tickets(options: Options, status: Any, email: str | None, limit: int, cursor: str | None) -> None:
    """List tickets, newest first."""
    from storage.tickets import page_tickets

    with session(options, snapshot=True) as connection:
        account_id = None if email is None else account_of(connection, email).id
        found, following = page_tickets(connection, account_id=account_id, status=status, limit=limit, cursor=cursor)
    rows = [{**ticket.to_json(), "account_id": ticket.account_id} for ticket in found]
    lines = [f"{row['id']}  {row['created']}  {row['status']:8}  {row['subject']}" for row in rows]
    lines += [] if following is None else [f"more: --cursor {following}"]
    answer_with(options, {"data": rows, "next_cursor": following}, "\n".join(lines) or "there are no such tickets")


@tickets.command("show")
@click.argument("ticket_id")
@click.pass_obj
def show_ticket(options: Options, ticket_id: str) -> None:
    """Show a ticket, whose it is, and the facts of its request."""
    from storage.accounts import find_account
    from storage.tickets import find_ticket

    with session(options, snapshot=True) as connection:
        found = find_ticket(connection, ticket_id)
        account = None if found is None else find_account(connection, found.account_id)
    if found is None or account is None:
        raise CommandFailed(f"there is no ticket {ticket_id}")
    row: dict[str, Any] = {**found.to_json(), "account_id": account.id, "email": account.email}
    lines = [f"{name:14}{row[name]}" for name in ("id", "status", "created", "email", "request_id", "subject")]
    lines += [f"{name:14}{value}" for name, value in (row["request"] or {}).items()]
    lines += ["", row["message"]]
    for one in row["answers"]:
        lines += ["", f"answered {one['created']}:", one["text"]]
    answer_with(options, row, "\n".join(lines))


@tickets.command("answer")
@click.argument("ticket_id")
@click.argument("text")
@click.pass_obj
def answer_ticket(options: Options, ticket_id: str, text: str) -> None:
    """Answer a ticket with TEXT, or with what stands in standard input where TEXT is -. Its owner sees the answer."""
    from storage import tickets as storage

    text = (sys.stdin.read() if text == "-" else text).strip()
    if not text or len(text) > LONGEST_ANSWER or "\0" in text:
        raise click.UsageError(f"an answer has 1 to {LONGEST_ANSWER} characters")
    with session(options) as connection:
        found = storage.answer_ticket(connection, ticket_id, text, connection.now())
    answer_with(options, found.to_json(), f"answered {found.id}")


@tickets.command("close")
@click.argument("ticket_id")
@click.pass_obj
def close_ticket(options: Options, ticket_id: str) -> None:
    """Close a ticket; an answer later shows it as answered again."""
    from storage import tickets as storage

    with session(options) as connection:
        found = storage.close_ticket(connection, ticket_id, connection.now())
    answer_with(options, found.to_json(), f"closed {found.id}")
