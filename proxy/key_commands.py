"""Commands about keys that are not about one account: whether a text is a key at all, and sealing provider keys anew."""

from __future__ import annotations

import sys

import click

from proxy.command_line import Command, CommandFailed, Options, answer_with
from proxy.opening import load, open_books


@click.command("check", cls=Command)
@click.argument("text", metavar="[KEY]", required=False)
@click.pass_obj
@click.pass_context
def check_key(context: click.Context, options: Options, text: str | None) -> None:
    """Say whether KEY has the form and the checksum of a key of this gateway; no database is asked. Exits 1 if not.

    Without KEY it is read from standard input, so that it stands in no list of commands.
    """
    from storage.keys import looks_valid

    key = (text if text is not None else sys.stdin.readline(1_000)).strip()
    is_valid = looks_valid(key, load(options).settings.security.key_prefix)
    sentence = "this has the form of a key of this gateway" if is_valid else "this is not a key of this gateway"
    answer_with(options, {"ok": is_valid}, sentence)
    if not is_valid:
        context.exit(1)


@click.command("rotate-seal", cls=Command)
@click.pass_obj
def rotate_seal(options: Options) -> None:
    """Seal every stored provider key with the first of the secret keys; works while the gateway runs."""
    from storage.provider_keys import seal_anew
    from storage.sealing import Sealer

    loaded = load(options)
    sealer = Sealer(loaded.settings.security.secret_key.get_secret_value())
    if not sealer.is_available:
        raise CommandFailed("there is no secret key: set FIND_TOKEN_SECRET_KEY to the new one, a comma and the old one")
    sealed, unreadable = 0, 0
    with open_books(loaded) as database:
        behind = ""
        while True:
            # A transaction for each page, so that calls never wait for long.
            with database.session() as connection:
                page = seal_anew(connection, sealer, behind)
            sealed += page.sealed
            unreadable += page.unreadable
            if page.last is None:
                break
            behind = page.last
    answer = {"ok": not unreadable, "sealed": sealed, "unreadable": unreadable}
    answer_with(options, answer, f"sealed {sealed} provider keys anew")
    if unreadable:
        raise CommandFailed(
            f"{unreadable} provider keys do not open with any of the secret keys; they were left as they are"
        )


def add_to(main: click.Group, key: click.Group) -> None:
    """Put these commands beside the others."""
    key.add_command(check_key)
    main.add_command(rotate_seal)
