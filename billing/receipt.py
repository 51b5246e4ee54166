"""The receipt of one call: what it was charged and why, in a form that anybody who has the price book can compute again.

A receipt is the call's line of the billing log, the entries it made, the rates that were used, and a digest over all of it.
The digest finds what was changed by accident; whoever changes a receipt on purpose can make a new digest, so `verify`
trusts none of its amounts: it chooses the price and its rule again from the instant and the prompt, and computes everything
that follows from them. Facts that no price decides (when, how many tokens, how much was held) are taken as they are told,
and contradict the rest if they are changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from billing.matrix import BYOK, UsageSource
from billing.money import Money, divide_half_up, format_usd, parse_usd
from billing.price_book import PriceBook, upstream_name, upstream_of
from billing.pricing import RATE_UNITS_PER_MONEY_UNIT, Price, Rates, format_rate
from billing.receipt_form import (
    FORM,
    AttemptLine,
    CallLine,
    Disagreement,
    EntryLine,
    FormFaults,
    Receipt,
    read_receipt,
    shown,
)
from billing.repricing import (
    ADJUSTMENT,
    Moves,
    NotPriced,
    Repriced,
    ledger_accounts,
    reprice,
    version_of_adjustment,
)

_NOT_IN_RECEIPTS: Final = ("balance_after",)
"""What stands in a call's line and cannot be computed from it."""


def make_receipt(call: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], book: PriceBook) -> dict[str, Any]:
    """The receipt of a call from its line of the billing log and its entries, both as JSON shows them.

    ``rates`` is null where the call names no price, or one that the book does not hold.
    """
    line = {name: value for name, value in call.items() if name not in _NOT_IN_RECEIPTS}
    receipt = {"receipt": FORM, "call": line, "entries": [dict(entry) for entry in entries]}
    price = book.find(line["price_version"]) if line["price_version"] is not None else None
    if price is None:
        receipt["rates"] = None
    else:
        rule, rates = price.applied_at(datetime.fromisoformat(line["created"]), line["prompt_tokens"])
        receipt["rates"] = {"price_version": price.version, "rule": rule, **rates_as_json(rates)}
    customer = f"customer:{line['account_id']}"
    adjusted = sum(_signed(entry, customer) for entry in entries if entry["kind"] == ADJUSTMENT)
    receipt["paid"] = format_usd(parse_usd(line["cost"]) + adjusted)
    return {**receipt, "digest": digest(receipt)}


def _signed(entry: Mapping[str, Any], customer: str) -> Money:
    """What an entry takes from the customer; negative for what it gives back."""
    amount = parse_usd(entry["amount"])
    return {entry["debit"]: amount, entry["credit"]: -amount}.get(customer, 0)


def rates_as_json(rates: Rates) -> dict[str, str]:
    """Rates as decimal strings, in USD per million tokens."""
    return {
        "input": format_rate(rates.input),
        "cached_input": format_rate(rates.cached_input),
        "cache_write": format_rate(rates.cache_write),
        "output": format_rate(rates.output),
    }


def digest(receipt: Mapping[str, Any]) -> str:
    """SHA-256 over everything else in the receipt, as JSON with sorted names, without spaces and in ASCII."""
    content = {name: value for name, value in receipt.items() if name != "digest"}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def verify(receipt: object, book: PriceBook) -> list[Disagreement]:
    """Everything in a receipt that does not follow from its facts and the price book; empty if it agrees."""
    found: list[Disagreement] = []
    if isinstance(receipt, dict):
        _compare(found, "digest", digest(receipt), receipt.get("digest"))
    try:
        read = read_receipt(receipt)
    except FormFaults as error:
        return [*found, *error.faults]
    call = read.call
    found += _check_flags(call)
    price = _price_of(call, book, found)
    again = _again(call, price, found)
    if again is not None:
        found += _check_amounts(read, again, known=price is not None)
        found += _check_attempts(read, again, book)
    moves = again.moves if again is not None else call.moves
    found += _check_entries(read, moves)
    found += _check_adjustments(read, call.moves, book)
    customer = f"customer:{call.account_id}"
    adjusted = sum(
        {entry.debit: entry.amount, entry.credit: -entry.amount}.get(customer, 0)
        for entry in read.entries
        if entry.kind == ADJUSTMENT
    )
    _compare(found, "paid", format_usd(call.cost + adjusted), format_usd(read.paid))
    return found


def _compare(found: list[Disagreement], field: str, expected: object, actual: object) -> None:
    if expected != actual:
        found.append(Disagreement(field, shown(expected), shown(actual)))


def _check_flags(call: CallLine) -> list[Disagreement]:
    """What the line says twice, in other words."""
    found: list[Disagreement] = []
    guessed = call.usage_source in (UsageSource.ESTIMATED, UsageSource.BOUNDED)
    _compare(found, "call.estimated", str(guessed).lower(), str(call.estimated).lower())
    _compare(found, "call.anomalous", str(call.absorbed > 0).lower(), str(call.anomalous).lower())
    _compare(found, "call.cost", format_usd(call.provider_cost + call.fee), format_usd(call.cost))
    if call.reasoning_tokens > call.completion_tokens:
        found.append(
            Disagreement("call.reasoning_tokens", f"at most {call.completion_tokens}", str(call.reasoning_tokens))
        )
    return found


def _price_of(call: CallLine, book: PriceBook, found: list[Disagreement]) -> Price | None:
    """The price that the call names, if the book holds it and it was the one for that moment."""
    version = call.price_version
    if version is None:
        if call.facts.paid:
            found.append(Disagreement("call.price_version", "the price of a call that is paid for", "nothing"))
        return None
    if not version.startswith(upstream_name(str(call.model), str(call.provider), "")):
        expected = f"a price of {call.model} at {call.provider}"
        found.append(Disagreement("call.price_version", expected, shown(version)))
    price = book.find(version)
    if price is None:
        if call.facts.paid:
            expected = "a version in the price book; this catalogue does not hold it"
            found.append(Disagreement("call.price_version", expected, shown(version)))
        return None
    due = book.expected_at(price, call.created)
    if due != price:
        _compare(found, "call.price_version", due.version if due else "a price in force at that moment", version)
    return price


def _again(call: CallLine, price: Price | None, found: list[Disagreement]) -> Repriced | None:
    """The call computed again; None where it cannot be, with the reason in ``found``."""
    if price is None and call.facts.paid:
        return None
    nothing = Price("", call.created, Rates(0, 0, 0, 0))
    try:
        return reprice(price or nothing, call.facts)
    except NotPriced as error:
        value = getattr(call, error.field)
        found.append(Disagreement(f"call.{error.field}", f"facts to compute the cost from: {error}", shown(value)))
        return None


def _check_amounts(read: Receipt, again: Repriced, *, known: bool) -> list[Disagreement]:
    """The charge, and the rates behind it where the price is ``known``."""
    call = read.call
    found: list[Disagreement] = []
    for name, expected, actual in (
        ("provider_cost", again.charge.provider_cost, call.provider_cost),
        ("fee", again.charge.fee, call.fee),
        ("cost", again.charge.cost, call.cost),
        ("absorbed", again.absorbed, call.absorbed),
    ):
        _compare(found, f"call.{name}", format_usd(expected), format_usd(actual))
    if known and call.price_rule is not None:
        _compare(found, "call.price_rule", again.rule, call.price_rule)
    if read.rates is not None:
        _compare(found, "rates.price_version", call.price_version, read.rates.price_version)
        _compare(found, "rates.rule", again.rule if known else call.price_rule, read.rates.rule)
        for name, expected_rate in rates_as_json(again.rates).items() if known else ():
            _compare(found, f"rates.{name}", expected_rate, getattr(read.rates, name))
    return found


def _check_attempts(read: Receipt, again: Repriced, book: PriceBook) -> list[Disagreement]:
    """What the operator paid the providers, and who bore it."""
    call = read.call
    found: list[Disagreement] = []
    for index, attempt in enumerate(read.attempts):
        place = f"call.attempts[{index}]"
        _compare(found, f"{place}.number", index + 1, attempt.number)
        last = index == len(read.attempts) - 1
        if last and (call.facts.paid or call.prompt_tokens or call.completion_tokens):
            for name in ("model", "provider", "prompt_tokens", "completion_tokens"):
                _compare(found, f"{place}.{name}", getattr(call, name), getattr(attempt, name))
            served = upstream_name(attempt.model, attempt.provider, attempt.upstream_model)
            _compare(found, f"{place}.upstream_model", upstream_of(call.price_version or ""), served)
            if call.price_version is not None and book.find(call.price_version) is not None:
                expected = format_usd(again.upstream_cost)
                _compare(found, f"{place}.upstream_cost", expected, format_usd(attempt.upstream_cost))
        elif not _possible(attempt, call, book):
            expected = "what these tokens cost there, whatever part of them was cached"
            found.append(Disagreement(f"{place}.upstream_cost", expected, format_usd(attempt.upstream_cost)))
        bearer = "account" if last and call.facts.paid else "operator"
        _compare(found, f"{place}.borne_by", bearer if attempt.upstream_cost else "nobody", attempt.borne_by)
    return found


def _possible(attempt: AttemptLine, call: CallLine, book: PriceBook) -> bool:
    """Whether some split of the prompt into cached, written and other tokens costs what the attempt says."""
    if call.mode == BYOK:
        return attempt.upstream_cost == 0
    upstream = upstream_name(attempt.model, attempt.provider, attempt.upstream_model)
    begun = [price for price in book.prices_of(upstream) if price.effective_from <= call.created]
    for price in begun:
        rates = price.upstream_rates_at(call.created, attempt.prompt_tokens)
        inputs = (rates.input, rates.cached_input, rates.cache_write)
        least, most = (
            divide_half_up(
                attempt.prompt_tokens * one + attempt.completion_tokens * rates.output, RATE_UNITS_PER_MONEY_UNIT
            )
            for one in (min(inputs), max(inputs))
        )
        if least <= attempt.upstream_cost <= most:
            return True
    return not begun


def _check_entries(read: Receipt, moves: Moves) -> list[Disagreement]:
    """The entries that the settlement made: one for each amount that is not zero, and no other."""
    call = read.call
    found: list[Disagreement] = []
    own = {entry.id: (index, entry) for index, entry in enumerate(read.entries) if entry.kind != ADJUSTMENT}
    accounts = ledger_accounts(call.account_id)
    for kind, amount in moves.by_kind().items():
        if not amount:
            continue
        index, entry = own.pop(f"{call.request_id}:{kind}", (0, None))
        if entry is None:
            found.append(Disagreement("entries", f"{call.request_id}:{kind} of {format_usd(amount)}", "no such entry"))
            continue
        debit, credit = accounts[kind]
        place = f"entries[{index}]"
        _compare(found, f"{place}.debit", debit, entry.debit)
        _compare(found, f"{place}.credit", credit, entry.credit)
        _compare(found, f"{place}.amount", format_usd(amount), format_usd(entry.amount))
        _compare(found, f"{place}.kind", kind, entry.kind)
        _compare(found, f"{place}.reference", call.request_id, entry.reference)
    for index, entry in own.values():
        found.append(Disagreement(f"entries[{index}].id", "no entry that the call did not make", shown(entry.id)))
    if len({entry.id for entry in read.entries}) < len(read.entries):
        found.append(Disagreement("entries", "every entry once", "one of them twice"))
    return found


def _check_adjustments(read: Receipt, moved: Moves, book: PriceBook) -> list[Disagreement]:
    """Later corrections: after each, the account has paid what the call costs at the price that the correction names."""
    call = read.call
    found: list[Disagreement] = []
    net = moved.by_kind()
    for version, entries in _corrections(read, found):
        for place, kind, entry in entries:
            _compare(found, f"{place}.reference", call.request_id, entry.reference)
            debit, credit = ledger_accounts(call.account_id)[kind]
            if (entry.debit, entry.credit) == (debit, credit):
                net[kind] += entry.amount
            elif (entry.debit, entry.credit) == (credit, debit):
                net[kind] -= entry.amount
            else:
                expected = f"between {debit} and {credit}"
                found.append(Disagreement(f"{place}.debit", expected, shown(f"{entry.debit} and {entry.credit}")))
        place = entries[0][0]
        price = book.find(version)
        if price is None or upstream_of(version) != upstream_of(call.price_version or ""):
            expected = "a version in the price book; this catalogue does not hold it"
            found.append(Disagreement(f"{place}.id", expected, shown(version)))
            continue
        try:
            due = reprice(price, call.facts).moves.by_kind()
        except NotPriced:
            continue  # Told already.
        for kind, amount in due.items():
            if net[kind] != amount:
                place = next((one for one, name, _ in entries if name == kind), place)
                expected = f"what brings {kind} to {format_usd(amount)}"
                found.append(Disagreement(f"{place}.amount", expected, f"what brings it to {format_usd(net[kind])}"))
    return found


_Correction = list[tuple[str, str, EntryLine]]


def _corrections(read: Receipt, found: list[Disagreement]) -> Iterable[tuple[str, _Correction]]:
    """The adjustments by the price they correct to, in the order in which they were made: place, kind, entry of each."""
    groups: dict[str, _Correction] = {}
    for index, entry in _in_order(read.entries):
        place = f"entries[{index}]"
        named = version_of_adjustment(entry.id, read.call.request_id)
        if named is None:
            found.append(Disagreement(f"{place}.id", "rerate:, a price version, the request id, a kind", entry.id))
        else:
            groups.setdefault(named[0], []).append((place, named[1], entry))
    return groups.items()


def _in_order(entries: Sequence[EntryLine]) -> Iterator[tuple[int, EntryLine]]:
    adjustments = [(index, entry) for index, entry in enumerate(entries) if entry.kind == ADJUSTMENT]
    return iter(sorted(adjustments, key=lambda one: (one[1].created, one[1].id)))
