"""The commands about prices: one call's receipt, what another price book would change, and putting wrong charges right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proxy.command_line import Command, CommandFailed, Options, answer_with
from proxy.opening import load, session

if TYPE_CHECKING:  # only for annotations, so that asking for help waits for nothing
    from billing.price_book import PriceBook

_SHOWN = (
    *("request_id", "created", "account_id", "model", "provider", "mode", "billing_outcome"),
    *("prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "usage_source"),
    *("price_version", "price_rule", "fee_percent", "held", "provider_cost", "fee", "cost", "absorbed"),
)
"""What a receipt in text shows of its call."""

_FILE = click.Path(dir_okay=False, path_type=Path)


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
