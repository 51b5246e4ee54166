"""The commands about prices: one call's receipt, what another price book would change, and putting wrong charges right."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proxy.command_line import Command, CommandFailed, CommandGroup, Options, answer_with
from proxy.opening import load, open_books, session

if TYPE_CHECKING:  # only for annotations, so that asking for help waits for nothing
    from billing.price_book import PriceBook

_SHOWN = (
    *("request_id", "created", "account_id", "model", "provider", "mode", "billing_outcome"),
    *("prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "usage_source"),
    *("price_version", "price_rule", "fee_percent", "held", "provider_cost", "fee", "cost", "absorbed"),
)
"""What a receipt in text shows of its call."""

_FILE = click.Path(dir_okay=False, path_type=Path)


def _instant(_context: click.Context, _parameter: click.Parameter, text: str | None) -> datetime | None:
    """An option's date or instant; UTC unless it says otherwise."""
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"a date or an instant such as 2026-11-21T09:30:00Z, not {text!r}") from None
    return (instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)).astimezone(UTC)


@click.command(cls=Command)
@click.argument("request_id", required=False)
@click.option("--verify", "file", type=_FILE, help="Compute this receipt again; no database is opened.")
@click.pass_obj
@click.pass_context
def receipt(context: click.Context, options: Options, request_id: str | None, file: Path | None) -> None:
    """Print the receipt of one call, or prove one with --verify: from itself and the price book alone."""
    if (request_id is None) == (file is None):
        raise click.UsageError("either a REQUEST_ID or --verify FILE was expected")
    if file is not None:
        if not _verify(options, file):
            context.exit(1)
    else:
        _print(options, str(request_id))


def _book(options: Options) -> PriceBook:
    return load(options).catalogue.price_book()


def _print(options: Options, request_id: str) -> None:
    from billing.receipt import make_receipt
    from storage.receipts import find_billed_call

    book = _book(options)
    with session(options, snapshot=True) as connection:
        found = find_billed_call(connection, request_id)
    if found is None:
        raise CommandFailed(f"there is no call {request_id} in the billing log")
    row, entries = found
    made = make_receipt(row.to_json(), [entry.to_json() for entry in entries], book)
    answer_with(options, made, "\n".join(_receipt_lines(made)))


def _receipt_lines(made: dict[str, Any]) -> list[str]:
    """A receipt for reading; what is proved is its JSON."""
    call, rates = made["call"], made["rates"]
    lines = [f"{name:19} {'-' if call[name] is None else call[name]}" for name in _SHOWN]
    if rates is not None:
        kinds = ("input", "cached_input", "cache_write", "output")
        told = ", ".join(f"{kind} {rates[kind]}" for kind in kinds)
        lines.append(f"{'rates':19} {told} USD per million tokens")
    elif call["price_version"] is None:
        lines.append(f"{'rates':19} none: no provider's answer was priced")
    else:
        lines.append(f"{'rates':19} not known: the catalogue does not hold this price version")
    lines += [
        f"{'entry':19} {entry['kind']} {entry['amount']} {entry['debit']} -> {entry['credit']} {entry['reason']}".rstrip()
        for entry in made["entries"]
    ]
    return [*lines, f"{'paid':19} {made['paid']}", f"{'digest':19} {made['digest']}"]


def _verify(options: Options, file: Path) -> bool:
    """Whether the receipt agrees, said aloud."""
    from billing.receipt import verify
    from billing.receipt_form import LARGEST_RECEIPT_BYTES, NotAReceipt, parse

    with file.open("rb") as opened:
        content = opened.read(LARGEST_RECEIPT_BYTES + 1)
    try:
        parsed = parse(content.decode("utf-8"))
    except (UnicodeDecodeError, NotAReceipt) as error:
        raise CommandFailed(f"{file}: {error}") from None
    found = verify(parsed, _book(options))
    disagreements = [
        {"field": one.field, "expected": one.expected, "found": one.found, "sentence": one.sentence} for one in found
    ]
    lines = [one.sentence for one in found]
    lines.append("the receipt does not agree" if found else "the receipt agrees")
    answer_with(options, {"ok": not found, "disagreements": disagreements}, "\n".join(lines))
    return not found


@click.group(cls=CommandGroup)
def prices() -> None:
    """Compare price books, and put right what a wrong price took."""


@prices.command("diff")
@click.argument("file", type=_FILE)
@click.option(
    "--since", callback=_instant, help="Also what the calls since then would have cost; a date or an instant, UTC."
)
@click.pass_obj
def diff(options: Options, file: Path, since: datetime | None) -> None:
    """What the catalogue FILE would change against the one in force."""
    from providers.price_changes import compare
    from proxy.config import load_catalogue
    from proxy.price_answers import changes_as_json, changes_as_text, recosting_as_json
    from storage.identifiers import microseconds
    from storage.recosting import recost

    loaded = load(options)
    other = load_catalogue(file)
    answer = changes_as_json(compare(loaded.catalogue, other))
    if since is not None:
        with open_books(loaded) as database:
            recosted = recost(database, other.price_book(), microseconds(since))
        answer["calls"] = {"since": since.isoformat(), **recosting_as_json(recosted)}
    answer_with(options, answer, changes_as_text(answer))


@prices.command("rerate")
@click.option("--model", required=True, help="The public name of the model that served.")
@click.option("--from", "since", required=True, callback=_instant, help="The first moment; a date or an instant, UTC.")
@click.option("--to", "until", required=True, callback=_instant, help="The moment after the last.")
@click.option("--catalogue", type=_FILE, help="The right prices, where they are not those in force.")
@click.option("--reason", required=True, help="Why; it is kept with every entry.")
@click.option(
    "--charge-more", is_flag=True, help="Take more for calls that were too cheap, as far as credit is available."
)
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@click.pass_obj
def rerate(
    options: Options,
    model: str,
    since: datetime,
    until: datetime,
    catalogue: Path | None,
    reason: str,
    *,
    charge_more: bool,
    dry_run: bool,
) -> None:
    """Charge the calls of a model again at the right price, by adjustments; doing it twice changes nothing."""
    from proxy.config import load_catalogue
    from proxy.price_answers import rerating_as_json, rerating_as_text
    from storage.identifiers import microseconds, now_microseconds
    from storage.rerating import Wish
    from storage.rerating import rerate as correct

    if since >= until:
        raise click.UsageError("--from must be before --to")
    loaded = load(options)
    right = loaded.catalogue if catalogue is None else load_catalogue(catalogue)
    if model not in right.models:
        raise CommandFailed(f"the catalogue has no model {model}")
    wish = Wish(
        book=right.price_book(),
        model=model,
        since=microseconds(since),
        until=microseconds(until),
        reason=reason,
        charge_more=charge_more,
        dry_run=dry_run,
    )
    with open_books(loaded) as database:
        answer = rerating_as_json(correct(database, wish, now_microseconds()))
    answer = {"model": model, "from": since.isoformat(), "to": until.isoformat(), "dry_run": dry_run, **answer}
    answer_with(options, answer, rerating_as_text(answer))
