"""Commands about keys: make one with its limits, list and revoke them, judge a text, and seal provider keys anew."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from proxy.answers import key_as_json
from proxy.command_line import Command, CommandFailed, CommandGroup, Options, answer_with, read_instant
from proxy.opening import account_of, load, open_books, session

if TYPE_CHECKING:  # only for annotations: what a command needs is imported when it runs
    from providers.catalogue import Catalogue
    from storage.keys import KeyTerms

WINDOWS = ("daily", "weekly", "monthly", "none")
COUNT = click.IntRange(1, 10**9)


@click.group(cls=CommandGroup)
def key() -> None:
    """Create, list and revoke keys; works while the gateway runs."""


def _key_name(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    """The name by the rule of the API, so that what is made here can be changed there."""
    from storage.keys import LONGEST_NAME, check_name

    try:
        return check_name(name)
    except ValueError:
        raise click.UsageError(f"the name of a key has 1 to {LONGEST_NAME} printable characters") from None


@key.command("create")
@click.argument("email")
@click.option("--name", required=True, callback=_key_name, help="What the key is for.")
@click.option("--expires", help="When it stops working, such as 2026-12-31; never where it is not said.")
@click.option("--spend-limit", metavar="USD", help="Dollars its calls may cost in one window.")
@click.option("--reset", type=click.Choice(WINDOWS), help="When the spending limit begins anew (UTC); none: never.")
@click.option("--requests-per-minute", type=COUNT, help="Requests it may make in a minute.")
@click.option("--tokens-per-minute", type=COUNT, help="Tokens its calls may use in a minute.")
@click.option("--concurrent-requests", type=COUNT, help="Its requests that may be open at the same time.")
@click.option("--model", "models", multiple=True, help="A model it may use, by name or alias; once for each.")
@click.pass_obj
def create_key(options: Options, /, email: str, name: str, expires: str | None, **limits: Any) -> None:
    """Create a key for EMAIL's account. It is shown once and cannot be shown again."""
    from storage import keys
    from storage.identifiers import now_microseconds

    loaded, ends = load(options), read_instant(expires)
    if ends is not None and ends <= now_microseconds():
        raise click.UsageError(f"a key expires in the future, not {expires}")
    terms = _terms(loaded.catalogue, **limits)
    with open_books(loaded) as database, database.session() as connection:
        found = account_of(connection, email)
        prefix = loaded.settings.security.key_prefix
        record, full_key = keys.create_key(connection, found.id, name, prefix, expires=ends, terms=terms)
    answer_with(options, {**key_as_json(record), "key": full_key, "email": found.email}, full_key)


def _terms(
    catalogue: Catalogue, *, spend_limit: str | None, reset: str | None, models: tuple[str, ...], **numbers: int | None
) -> KeyTerms:
    """What the options say, as the API would have it."""
    from billing.money import InvalidAmount, parse_usd
    from middlewares.body import find_model
    from middlewares.errors import Refusal
    from storage.keys import KeyTerms

    if spend_limit is None and reset is not None:
        raise click.UsageError("--reset says when a --spend-limit begins anew: name one")
    try:
        limit = None if spend_limit is None else parse_usd(spend_limit)
        # By their public names, so that an alias allows what it stands for.
        allowed = tuple(dict.fromkeys(find_model(catalogue, one).id for one in models))
    except InvalidAmount as error:
        raise click.UsageError(str(error)) from None
    except Refusal as error:
        raise click.UsageError(error.problem.message) from None
    if limit is not None and limit < 0:
        raise click.UsageError(f"a spending limit is at least 0, not {spend_limit}")
    window = None if limit is None else reset or "none"
    return KeyTerms(spend_limit=limit, spend_window=window, allowed_models=allowed or None, **numbers)


@key.command("list")
@click.argument("email")
@click.pass_obj
def list_keys(options: Options, email: str) -> None:
    """List the keys of EMAIL's account; of each only the last four characters are known."""
    from storage import keys

    with session(options) as connection:
        records = [key_as_json(one) for one in keys.list_keys(connection, account_of(connection, email).id)]
    lines = [f"{one['key_id']}  …{one['last_four']}  {one['status']}  {one['name']}" for one in records]
    answer_with(options, {"data": records}, "\n".join(lines) or "this account has no keys")


@key.command("revoke")
@click.argument("key_id")
@click.pass_obj
def revoke_key(options: Options, key_id: str) -> None:
    """Revoke a key for good: it stops working within a second."""
    from storage import keys

    with session(options) as connection:
        record = keys.revoke_key(connection, key_id)
    answer_with(options, key_as_json(record), f"revoked {record.key_id}")


@key.command("check")
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
