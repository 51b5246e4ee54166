"""The commands about announcements: publish one, see which there are, withdraw one."""

from __future__ import annotations

from typing import Any

import click

from proxy.command_line import CommandGroup, Options, answer_with, read_instant
from proxy.opening import session

LARGEST_LIST = 200
LONGEST_TITLE = 200
LONGEST_TEXT = 5_000


@click.group(cls=CommandGroup)
def announce() -> None:
    """Tell everybody something on the pages and at GET /v1/announcements; works while the gateway runs."""


@announce.command("publish")
@click.argument("title")
@click.option("--text", default="", help="More than fits into the title.")
@click.option(
    "--severity",
    type=click.Choice(["info", "maintenance", "incident"]),
    default="info",
    show_default=True,
    help="How it is marked.",
)
@click.option("--from", "starts", help="When it appears, such as 2026-11-27T09:30Z; at once where it is not said.")
@click.option("--until", "ends", help="When it disappears; where it is not said, when it is withdrawn.")
@click.pass_obj
def publish(options: Options, title: str, text: str, severity: Any, starts: str | None, ends: str | None) -> None:
    """Publish an announcement with this TITLE; pages show it within seconds."""
    from storage.announcements import publish_announcement

    title, text = title.strip(), text.strip()
    if not 1 <= len(title) <= LONGEST_TITLE or not title.isprintable():
        raise click.UsageError(f"a title has 1 to {LONGEST_TITLE} printable characters")
    if len(text) > LONGEST_TEXT or "\0" in text:
        raise click.UsageError(f"a text has at most {LONGEST_TEXT} characters")
    since, until = read_instant(starts), read_instant(ends)
    with session(options) as connection:
        now = connection.now()
        since = now if since is None else since
        if until is not None and until <= max(since, now):
            raise click.UsageError("--until must lie in the future and after --from")
        made = publish_announcement(connection, severity, title, text, since, until, now)
    answer_with(options, _as_json(made), f"published {made.id}")


@announce.command("list")
@click.option("--limit", type=click.IntRange(1, LARGEST_LIST), default=50, show_default=True, help="How many at most.")
@click.option("--cursor", help="The next_cursor of the page before.")
@click.pass_obj
def list_announcements(options: Options, limit: int, cursor: str | None) -> None:
    """List all announcements, also those that are over, withdrawn or still to come; the one that begins last comes first."""
    from storage.announcements import page_announcements

    with session(options, snapshot=True) as connection:
        found, following = page_announcements(connection, limit=limit, cursor=cursor)
    rows = [_as_json(one) for one in found]
    lines = [
        f"{row['id']}  {row['from']}  {row['until'] or '…':27}  {row['severity']:11}  "
        f"{'withdrawn  ' if row['withdrawn'] else ''}{row['title']}"
        for row in rows
    ]
    lines += [] if following is None else [f"more: --cursor {following}"]
    answer_with(options, {"data": rows, "next_cursor": following}, "\n".join(lines) or "nothing was announced yet")


@announce.command("withdraw")
@click.argument("announcement_id")
@click.pass_obj
def withdraw(options: Options, announcement_id: str) -> None:
    """Show an announcement no longer."""
    from storage.announcements import withdraw_announcement

    with session(options) as connection:
        found = withdraw_announcement(connection, announcement_id, connection.now())
    answer_with(options, _as_json(found), f"withdrew {found.id}")


def _as_json(announcement: Any) -> dict[str, Any]:
    from proxy.answers import instant

    withdrawn = announcement.withdrawn
    return {**announcement.to_json(), "withdrawn": None if withdrawn is None else instant(withdrawn)}
