"""A receipt agrees with the price book it was made by, and whatever is changed in it is named."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from billing.matrix import Ending
from billing.money import format_usd
from billing.receipt import digest, make_receipt, verify
from billing.receipt_form import Disagreement
from billing.repricing import adjustment_id, ledger_accounts, moves_of
from storage.calls import AttemptRow, CallRow
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


FIRST, SECOND = (f"various:alpha/v-1@{date}" for date in ("2026-01-01", "2026-03-01"))


def known_receipt(*adjustments: dict[str, Any]) -> dict[str, Any]:
    """A receipt whose every number can be followed by hand: one provider failed, the next served at 0.15 and 0.6."""
    failed = AttemptRow(
        number=1,
        provider="alpha",
        model="other",
        upstream_model="o-1",
        outcome="failed",
        status=500,
        code="upstream_error",
        latency_ms=1,
        prompt_tokens=100,
        upstream_cost=12_500,
        borne_by="operator",
    )
    served = replace(
        failed,
        number=2,
        model="various",
        upstream_model="v-1",
        prompt_tokens=1000,
        completion_tokens=400,
        upstream_cost=30_000,
        borne_by="account",
    )
    row = CallRow(
        request_id="req_1",
        created=1_767_571_200_000_000,
        account_id="acct_1",
        key_id="key_1",
        path="/v1/chat/completions",
        requested_model="various",
        model="various",
        provider="alpha",
        mode="standard",
        payer="credits",
        streamed=False,
        status=200,
        billing_outcome="complete",
        usage_source="provider",
        prompt_tokens=1000,
        cached_tokens=200,
        cache_write_tokens=300,
        completion_tokens=400,
        reasoning_tokens=100,
        held=100_000,
        provider_cost=37_425,
        fee=2_058,
        cost=39_483,
        price_version=FIRST,
        price_rule="plain",
        fee_percent="5.5",
    )
    receipt = receipt_of(row, [failed, served])
    return make_receipt(receipt["call"], [*receipt["entries"], *adjustments], BOOK)


def adjustment(version: str, kind: str, amount: int, created: str, *, back: bool = False) -> dict[str, Any]:
    """The entry that corrects a part of the known call's price."""
    debit, credit = ledger_accounts("acct_1")[kind]
    return {
        "id": adjustment_id(version, "req_1", kind),
        "debit": credit if back else debit,
        "credit": debit if back else credit,
        "amount": format_usd(amount),
        "kind": "adjustment",
        "reference": "req_1",
        "reason": "the price was wrong",
        "created": created,
    }


EARLIER, LATER = "2026-11-21T10:00:00.000000Z", "2026-11-22T10:00:00.000000Z"
KNOWN = known_receipt()
DEARER = [adjustment(SECOND, "usage", 2_375, EARLIER), adjustment(SECOND, "fee", 131, EARLIER)]
BACK = [adjustment(FIRST, "usage", 2_375, LATER, back=True), adjustment(FIRST, "fee", 131, LATER, back=True)]
TWICE = known_receipt(*BACK, *DEARER)


def sentences(receipt: dict[str, Any], changes: dict[str, Any]) -> list[str]:
    """What is said of a receipt after changes, given by their places, and with a digest that fits them."""
    for dotted, value in changes.items():
        place = tuple(int(name) if name.isdigit() else name for name in dotted.split("."))
        receipt = changed(receipt, place, value, new_digest=True)
    return [one.sentence for one in verify(receipt, BOOK)]


def test_a_known_call_and_its_corrections_agree() -> None:
    """At 0.15 and 0.6 USD, 0.015 and 0.1875 for what was cached and written; then at 0.17 and 0.57; then at the first."""
    receipts = [known_receipt(), known_receipt(*DEARER), known_receipt(*BACK, *DEARER)]

    assert [[], [], []] == [verify(one, BOOK) for one in receipts]
    assert ["0.00039483", "0.00041989", "0.00039483"] == [one["paid"] for one in receipts]
    rates = {"input": "0.15", "cached_input": "0.015", "cache_write": "0.1875", "output": "0.6"}
    assert {"price_version": FIRST, "rule": "plain", **rates} == known_receipt()["rates"]
    assert None is make_receipt({**KNOWN["call"], "price_version": None}, [], BOOK)["rates"]
    assert None is make_receipt({**KNOWN["call"], "price_version": "gone@2026-01-01"}, [], BOOK)["rates"]


def test_what_the_operator_absorbs_later_is_not_paid() -> None:
    """A correction between the operator's own accounts leaves alone what the account has paid."""
    assert "0.00039483" == known_receipt(adjustment(SECOND, "absorbed", 5, EARLIER))["paid"]


def test_the_digest_is_what_the_documentation_says() -> None:
    """SHA-256 of the rest as JSON in ASCII, names sorted, no spaces; one that is not is told by its name, with both."""
    receipt = {**KNOWN, "call": {**KNOWN["call"], "requested_model": "modèle"}}
    rest = {name: value for name, value in receipt.items() if name != "digest"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    right = f"sha256:{hashlib.sha256(text.encode('ascii')).hexdigest()}"

    assert right == digest(receipt)
    assert [Disagreement("digest", right, str(KNOWN["digest"]))] == verify(receipt, BOOK)


def test_a_receipt_says_what_it_may_leave_unsaid() -> None:
    """Rates that nobody kept, a rule from before rules were kept, and thinking up to the whole answer are no faults."""
    for changes in ({"rates": None}, {"call.price_rule": None}, {"call.reasoning_tokens": 400}):
        assert [] == sentences(KNOWN, changes)


def test_a_call_whose_gateway_died_has_a_receipt() -> None:
    """Free, without a price, an attempt or an entry; that it was paid for is not believed."""
    row = CallRow(
        request_id="req_1",
        created=1_767_571_200_000_000,
        account_id="acct_1",
        key_id="key_1",
        path="/v1/chat/completions",
        requested_model="various",
        model=None,
        provider=None,
        mode="standard",
        payer="credits",
        streamed=False,
        status=500,
        billing_outcome="gateway_died",
        usage_source=None,
    )
    receipt = receipt_of(row)

    assert (None, "0", []) == (receipt["rates"], receipt["paid"], verify(receipt, BOOK))
    assert ["call.price_version: expected the price of a call that is paid for, found nothing"] == sentences(
        receipt, {"call.billing_outcome": "complete"}
    )
    assert [
        "call.cost: expected 0, found 1",
        "call.cost: expected 0, found 1",
        "paid: expected 1, found 0",
    ] == sentences(receipt, {"call.cost": "1"})


NOT_HELD = "a version in the price book; this catalogue does not hold it"
UNLIKELY = "what these tokens cost there, whatever part of them was cached"
FACTS = "facts to compute the cost from"
TOO_MUCH_CACHED = "cached and cache-write tokens are part of the prompt, and are more than it has"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"call.estimated": True}, ["call.estimated: expected false, found true"]),
        ({"call.usage_source": "estimated"}, ["call.estimated: expected true, found false"]),
        ({"call.usage_source": "bounded"}, ["call.estimated: expected true, found false"]),
        ({"call.anomalous": True}, ["call.anomalous: expected false, found true"]),
        (
            {"call.cost": "0.00039484"},
            [
                "call.cost: expected 0.00039483, found 0.00039484",
                "call.cost: expected 0.00039483, found 0.00039484",
                "paid: expected 0.00039484, found 0.00039483",
            ],
        ),
        ({"call.reasoning_tokens": 401}, ["call.reasoning_tokens: expected at most 400, found 401"]),
        (
            {"call.price_version": None},
            ["call.price_version: expected the price of a call that is paid for, found nothing"],
        ),
        (
            {"call.model": "other"},
            [
                f"call.price_version: expected a price of other at alpha, found {FIRST}",
                "call.attempts[1].model: expected other, found various",
            ],
        ),
        (
            {"call.price_version": "various:alpha/v-1@2026-02-01"},
            [f"call.price_version: expected {NOT_HELD}, found various:alpha/v-1@2026-02-01"],
        ),
        (
            {"call.price_version": SECOND, "rates.price_version": SECOND},
            [
                f"call.price_version: expected {FIRST}, found {SECOND}",
                "call.provider_cost: expected 0.000398, found 0.00037425",
                "call.fee: expected 0.00002189, found 0.00002058",
                "call.cost: expected 0.00041989, found 0.00039483",
                "rates.input: expected 0.17, found 0.15",
                "rates.cached_input: expected 0.17, found 0.015",
                "rates.cache_write: expected 0.17, found 0.1875",
                "rates.output: expected 0.57, found 0.6",
                "call.attempts[1].upstream_cost: expected 0.000398, found 0.0003",
                "entries[0].amount: expected 0.000398, found 0.00037425",
                "entries[1].amount: expected 0.00002189, found 0.00002058",
            ],
        ),
        (
            {"call.created": "2025-12-31T23:59:59.999999Z"},
            [f"call.price_version: expected a price in force at that moment, found {FIRST}"],
        ),
        (
            {"call.fee_percent": "much"},
            [f"call.fee_percent: expected {FACTS}: a fee is a percentage such as 5.5, not 'much', found much"],
        ),
        (
            {"call.fee_percent": None},
            [
                f"call.fee_percent: expected {FACTS}: the line was written before hold and fee were kept in it, found nothing"
            ],
        ),
        (
            {"call.cached_tokens": 701},
            [f"call.cached_tokens: expected {FACTS}: {TOO_MUCH_CACHED}, found 701"],
        ),
        (
            {"call.provider_cost": "0.00037426"},
            [
                "call.cost: expected 0.00039484, found 0.00039483",
                "call.provider_cost: expected 0.00037425, found 0.00037426",
            ],
        ),
        (
            {"call.fee": "0.00002059"},
            ["call.cost: expected 0.00039484, found 0.00039483", "call.fee: expected 0.00002058, found 0.00002059"],
        ),
        (
            {"call.absorbed": "0.00000001"},
            ["call.anomalous: expected true, found false", "call.absorbed: expected 0, found 0.00000001"],
        ),
        (
            {"call.held": "0.00039482"},
            [
                "call.fee: expected 0.00002057, found 0.00002058",
                "call.cost: expected 0.00039482, found 0.00039483",
                "call.absorbed: expected 0.00000001, found 0",
                "entries[1].amount: expected 0.00002057, found 0.00002058",
                "entries: expected req_1:absorbed of 0.00000001, found no such entry",
            ],
        ),
        ({"call.price_rule": "tier:50000"}, ["call.price_rule: expected plain, found tier:50000"]),
        ({"rates.price_version": "x"}, [f"rates.price_version: expected {FIRST}, found x"]),
        ({"rates.rule": "x"}, ["rates.rule: expected plain, found x"]),
        ({"rates.input": "1"}, ["rates.input: expected 0.15, found 1"]),
        ({"rates.cached_input": "1"}, ["rates.cached_input: expected 0.015, found 1"]),
        ({"rates.cache_write": "1"}, ["rates.cache_write: expected 0.1875, found 1"]),
        ({"rates.output": "1"}, ["rates.output: expected 0.6, found 1"]),
        ({"call.attempts.0.number": 2}, ["call.attempts[0].number: expected 1, found 2"]),
        (
            {"call.attempts.0.upstream_cost": "0.0001251"},
            [f"call.attempts[0].upstream_cost: expected {UNLIKELY}, found 0.0001251"],
        ),
        ({"call.attempts.0.borne_by": "nobody"}, ["call.attempts[0].borne_by: expected operator, found nobody"]),
        ({"call.attempts.1.number": 3}, ["call.attempts[1].number: expected 2, found 3"]),
        (
            {"call.attempts.1.model": "other"},
            [
                "call.attempts[1].model: expected various, found other",
                "call.attempts[1].upstream_model: expected various:alpha/v-1, found other:alpha/v-1",
            ],
        ),
        (
            {"call.attempts.1.provider": "beta"},
            [
                "call.attempts[1].provider: expected alpha, found beta",
                "call.attempts[1].upstream_model: expected various:alpha/v-1, found various:beta/v-1",
            ],
        ),
        ({"call.attempts.1.prompt_tokens": 1}, ["call.attempts[1].prompt_tokens: expected 1000, found 1"]),
        ({"call.attempts.1.completion_tokens": 1}, ["call.attempts[1].completion_tokens: expected 400, found 1"]),
        (
            {"call.attempts.1.upstream_model": "o-1"},
            ["call.attempts[1].upstream_model: expected various:alpha/v-1, found various:alpha/o-1"],
        ),
        (
            {"call.attempts.1.upstream_cost": "0.0001"},
            ["call.attempts[1].upstream_cost: expected 0.0003, found 0.0001"],
        ),
        ({"call.attempts.1.borne_by": "operator"}, ["call.attempts[1].borne_by: expected account, found operator"]),
        (
            {"entries.0.id": "req_2:usage"},
            [
                "entries: expected req_1:usage of 0.00037425, found no such entry",
                "entries[0].id: expected no entry that the call did not make, found req_2:usage",
            ],
        ),
        ({"entries.0.debit": "customer:acct_2"}, ["entries[0].debit: expected customer:acct_1, found customer:acct_2"]),
        ({"entries.1.credit": "revenue:usage"}, ["entries[1].credit: expected revenue:fee, found revenue:usage"]),
        ({"entries.1.amount": "1"}, ["entries[1].amount: expected 0.00002058, found 1"]),
        ({"entries.0.kind": "fee"}, ["entries[0].kind: expected usage, found fee"]),
        ({"entries.1.reference": "req_2"}, ["entries[1].reference: expected req_1, found req_2"]),
        (
            {"entries.1.id": "req_1:usage"},
            [
                "entries[1].credit: expected revenue:usage, found revenue:fee",
                "entries[1].amount: expected 0.00037425, found 0.00002058",
                "entries[1].kind: expected usage, found fee",
                "entries: expected req_1:fee of 0.00002058, found no such entry",
                "entries: expected every entry once, found one of them twice",
            ],
        ),
        ({"paid": "1"}, ["paid: expected 0.00039483, found 1"]),
        (
            {"call.account_id": "acct_2"},
            [
                "entries[0].debit: expected customer:acct_2, found customer:acct_1",
                "entries[1].debit: expected customer:acct_2, found customer:acct_1",
            ],
        ),
    ],
)
def test_every_disagreement_is_told_in_full(changes: dict[str, Any], expected: list[str]) -> None:
    """Where it stands, what was expected and what was found, for all that follows from it and nothing else."""
    assert expected == sentences(KNOWN, changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"entries.2.reference": "req_2"}, ["entries[2].reference: expected req_1, found req_2"]),
        (
            {"entries.2.debit": "absorbed"},
            [
                "entries[2].debit: expected between customer:acct_1 and revenue:usage, found absorbed and customer:acct_1",
                "entries[2].amount: expected what brings usage to 0.00037425, found what brings it to 0.000398",
            ],
        ),
        (
            {"entries.2.credit": "absorbed"},
            [
                "entries[2].debit: expected between customer:acct_1 and revenue:usage, found revenue:usage and absorbed",
                "entries[2].amount: expected what brings usage to 0.00037425, found what brings it to 0.000398",
                "paid: expected 0.00041858, found 0.00039483",
            ],
        ),
        (
            {"entries.3.amount": "0.00000132"},
            [
                "entries[3].amount: expected what brings fee to 0.00002058, found what brings it to 0.00002057",
                "paid: expected 0.00039482, found 0.00039483",
            ],
        ),
        (
            {"entries.5.amount": "0.00000132"},
            [
                "entries[5].amount: expected what brings fee to 0.00002189, found what brings it to 0.0000219",
                "entries[3].amount: expected what brings fee to 0.00002058, found what brings it to 0.00002059",
                "paid: expected 0.00039484, found 0.00039483",
            ],
        ),
        (
            {"entries.2.id": "rerate:gone@2026-01-01:req_1:usage"},
            [f"entries[2].id: expected {NOT_HELD}, found gone@2026-01-01"],
        ),
        (
            {"entries.3.id": "rerate:other:alpha/o-1@2026-01-01:req_1:fee"},
            [f"entries[3].id: expected {NOT_HELD}, found other:alpha/o-1@2026-01-01"],
        ),
        (
            {"entries.2.id": "x"},
            [
                "entries[2].id: expected rerate:, a price version, the request id, a kind, found x",
                "entries[3].amount: expected what brings usage to 0.00037425, found what brings it to 0.000398",
            ],
        ),
        (
            {"entries.2.id": "rerate:various:alpha/v-1@2026-01-01:req_1:byok"},
            [
                "entries[2].debit: expected between customer:acct_1 and revenue:byok, found revenue:usage and customer:acct_1",
                "entries[2].amount: expected what brings usage to 0.00037425, found what brings it to 0.000398",
            ],
        ),
        (
            {"entries.2.created": "2026-11-20T10:00:00.000000Z", "entries.3.created": "2026-11-20T10:00:00.000000Z"},
            [
                "entries[2].amount: expected what brings usage to 0.00037425, found what brings it to 0.0003505",
                "entries[3].amount: expected what brings fee to 0.00002058, found what brings it to 0.00001927",
                "entries[4].amount: expected what brings usage to 0.000398, found what brings it to 0.00037425",
                "entries[5].amount: expected what brings fee to 0.00002189, found what brings it to 0.00002058",
            ],
        ),
        (
            {"call.fee_percent": None},
            [
                f"call.fee_percent: expected {FACTS}: the line was written before hold and fee were kept in it, found nothing"
            ],
        ),
    ],
)
def test_every_wrong_correction_is_told_in_full(changes: dict[str, Any], expected: list[str]) -> None:
    """Corrections count in the order in which they were made, each by itself."""
    assert expected == sentences(TWICE, changes)
