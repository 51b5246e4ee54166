"""A receipt agrees with the price book it was made by, and whatever is changed in it is named."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from billing.matrix import Ending
from billing.money import format_usd
from billing.receipt import digest, make_receipt, verify
from billing.repricing import ledger_accounts, moves_of
from storage.calls import CallRow
from tests.billed import priced_catalogue, random_settlement

CATALOGUE = priced_catalogue()
BOOK = CATALOGUE.price_book()
Place = tuple[str | int, ...]


def receipt_of(row: CallRow, attempts: Any = ()) -> dict[str, Any]:
    """The receipt of a call as the ledger posts it."""
    moves = moves_of(row.provider_cost, row.fee, row.absorbed, byok=row.mode == "byok").by_kind()
    accounts = ledger_accounts(row.account_id)
    entries = [
        {
            "id": f"{row.request_id}:{kind}",
            "debit": accounts[kind][0],
            "credit": accounts[kind][1],
            "amount": format_usd(amount),
            "kind": kind,
            "reference": row.request_id,
            "reason": "",
            "created": "2026-11-21T09:30:00.000001Z",
        }
        for kind, amount in moves.items()
        if amount
    ]
    call = {**row.to_json(), "attempts": [attempt.to_json() for attempt in attempts]}
    return make_receipt(call, entries, BOOK)


def a_receipt(seed: int = 7, **fixed: Any) -> dict[str, Any]:
    """The receipt of a random call that is paid for, unless said otherwise."""
    facts = {"ending": Ending.COMPLETE, "prompt": 43_217, "byok": False, "model": "various", **fixed}
    made = random_settlement(Random(seed), 1, "acct_1", CATALOGUE, **facts)
    return receipt_of(made.row, made.attempts)


def leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every value in a JSON document, with its place."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inner in pairs:
            yield from leaves(inner, (*place, name))
    else:
        yield place, value


def flipped(value: Any) -> Iterator[Any]:
    """The value with each of its digits changed in turn; a truth turned round; null turned into something."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        text = str(value)
        yield from (int(f"{text[:at]}{(int(text[at]) + 1) % 10}{text[at + 1 :]}") for at in range(len(text)))
    elif value is None:
        yield "1"
    else:
        digits = [at for at, one in enumerate(value) if one.isascii() and one.isdigit()]
        yield from (f"{value[:at]}{(int(value[at]) + 1) % 10}{value[at + 1 :]}" for at in digits)
        yield f"{value}x"


def changed(receipt: dict[str, Any], place: Place, value: Any, *, new_digest: bool) -> dict[str, Any]:
    """A copy with another value at ``place``; its digest made anew if wanted."""
    copied = copy.deepcopy(receipt)
    table: Any = copied
    for name in place[:-1]:
        table = table[name]
    table[place[-1]] = value
    return {**copied, "digest": digest(copied)} if new_digest else copied


RECEIPTS = {
    "paid": a_receipt(),
    "long prompt": a_receipt(prompt=143_217),
    "own key": a_receipt(byok=True, seed=11),
    "beyond its hold": a_receipt(hold=1234),
    "cut by the provider": a_receipt(ending=Ending.CUT_BY_PROVIDER),
}


@pytest.mark.parametrize("name", RECEIPTS)
def test_any_flipped_digit_is_caught(name: str) -> None:
    """In every field, the digest's own digits included."""
    receipt = RECEIPTS[name]
    assert [] == verify(receipt, BOOK)
    missed = [
        (place, other)
        for place, value in leaves(receipt)
        for other in flipped(value)
        if not verify(changed(receipt, place, other, new_digest=False), BOOK)
    ]

    assert [] == missed


MONEY = {
    *("prompt_tokens", "completion_tokens", "provider_cost", "fee", "cost", "absorbed", "anomalous", "estimated"),
    *("price_version", "price_rule", "upstream_cost", "amount", "debit", "credit", "kind", "reference", "borne_by"),
    *("input", "cached_input", "cache_write", "output", "rule", "paid", "model", "provider", "upstream_model"),
    *("account_id", "mode"),
}
"""The fields that money depends on and that follow from others, or decide others."""


def moves_money(receipt: dict[str, Any], place: Place) -> bool:
    """Whose account it is matters where something was taken from it; a failed attempt by what it cost."""
    if place == ("call", "account_id"):
        return bool(receipt["entries"])
    if place[:2] == ("call", "attempts") and place[2] != len(receipt["call"]["attempts"]) - 1:
        return place[-1] in ("upstream_cost", "borne_by")
    return True


@pytest.mark.parametrize("name", RECEIPTS)
def test_a_flipped_digit_is_caught_although_the_digest_was_made_anew(name: str) -> None:
    """Every field that money depends on is computed again, so a new digest hides nothing."""
    receipt = RECEIPTS[name]
    places = [(place, value) for place, value in leaves(receipt) if place[-1] in MONEY and moves_money(receipt, place)]
    assert len(places) > 15
    missed = [
        (place, other)
        for place, value in places
        for other in flipped(value)
        if not verify(changed(receipt, place, other, new_digest=True), BOOK)
    ]

    assert [] == missed


@pytest.mark.parametrize("field", ["cached_tokens", "cache_write_tokens", "fee_percent"])
def test_facts_that_only_the_cost_knows_are_caught_by_it(field: str) -> None:
    """How much of the prompt was cached, and the fee: another number makes another cost."""
    receipt = a_receipt(prompt=49_217)
    for other in flipped(receipt["call"][field]):
        assert verify(changed(receipt, ("call", field), other, new_digest=True), BOOK), other


def fields_of(receipt: dict[str, Any]) -> set[str]:
    """The fields that are named after a new digest was made."""
    return {one.field for one in verify({**receipt, "digest": digest(receipt)}, BOOK)}


def test_another_instant_is_caught_where_another_price_was_in_force() -> None:
    """A day later the next price had begun; a paid call before the first price has none."""
    receipt = a_receipt()
    later = changed(receipt, ("call", "created"), "2026-03-01T00:00:00.000000Z", new_digest=True)
    before = changed(receipt, ("call", "created"), "2025-12-31T23:59:59.999999Z", new_digest=True)

    versions = {"2026-03-01": "2026-01-01", "2026-01-01": "2026-03-01"}
    assert receipt["call"]["price_version"].partition("@")[2] in versions
    assert "call.price_version" in fields_of(before)
    if receipt["call"]["price_version"].endswith("2026-01-01"):
        assert "call.price_version" in fields_of(later)


def test_a_free_ending_that_is_said_to_be_paid_is_caught() -> None:
    """And the other way round: who pays follows from how the call ended."""
    assert "call.cost" in fields_of(
        changed(RECEIPTS["paid"], ("call", "billing_outcome"), "cut_by_provider", new_digest=True)
    )
    assert "call.cost" in fields_of(
        changed(RECEIPTS["cut by the provider"], ("call", "billing_outcome"), "complete", new_digest=True)
    )


def test_a_version_that_the_book_does_not_hold_is_said_plainly() -> None:
    """The money of a paid call cannot be computed again; that of a free one needs no price."""
    other = priced_catalogue(various=[{"from": "2026-05-01T00:00:00Z", "input": 1, "output": 1}]).price_book()

    assert [
        "call.price_version: expected a version in the price book; this catalogue does not hold it, found "
        + RECEIPTS["paid"]["call"]["price_version"]
    ] == [one.sentence for one in verify(RECEIPTS["paid"], other)]
    assert [] == verify(RECEIPTS["cut by the provider"], other)


def test_a_line_from_before_fees_were_kept_is_said_plainly() -> None:
    """Nobody can compute it again, and no guess is made."""
    receipt = a_receipt()
    old = changed(
        changed(receipt, ("call", "fee_percent"), None, new_digest=True), ("call", "price_rule"), None, new_digest=True
    )

    assert "call.fee_percent" in fields_of(old)


@pytest.mark.parametrize("text", [None, [], 5, "x", {}, {"receipt": 1}, {"receipt": True}, {"receipt": 1, "call": []}])
def test_what_is_no_receipt_disagrees(text: Any) -> None:
    """Nothing that JSON can say breaks it."""
    assert verify(text, BOOK)


def test_entries_that_the_call_did_not_make_are_caught() -> None:
    """Nor may one be missing, or stand there twice."""
    receipt = RECEIPTS["paid"]
    entry = receipt["entries"][0]
    more = {**receipt, "entries": [*receipt["entries"], {**entry, "id": "req_other:usage"}]}
    less = {**receipt, "entries": receipt["entries"][1:]}
    twice = {**receipt, "entries": [*receipt["entries"], entry]}

    assert {f"entries[{len(receipt['entries'])}].id"} == fields_of(more)
    assert {"entries"} == fields_of(less)
    assert "entries" in fields_of(twice)
