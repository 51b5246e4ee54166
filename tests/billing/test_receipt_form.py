"""A receipt is read field by field, and what cannot be read is named."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.matrix import Ending
from billing.receipt_form import LARGEST_RECEIPT_BYTES, FormFaults, NotAReceipt, parse, read_receipt
from tests.billed import priced_catalogue, random_settlement
from tests.billing.test_receipt import receipt_of


def a_receipt() -> dict[str, Any]:
    """The JSON of one, of a call that was paid for."""
    made = random_settlement(Random(5), 1, "acct_1", priced_catalogue(), ending=Ending.COMPLETE, byok=False)
    return receipt_of(made.row, made.attempts)


def test_a_receipt_is_read() -> None:
    """Money as whole units, instants as instants."""
    given_receipt = a_receipt()
    read = read_receipt(parse(json.dumps(given_receipt)))

    assert "req_000001" == read.call.request_id
    assert len(given_receipt["call"]["attempts"]) == len(read.attempts)
    assert given_receipt["call"]["created"] == f"{read.call.created:%Y-%m-%dT%H:%M:%S.%f}Z"


@pytest.mark.parametrize(
    ("name", "found", "expected"),
    [
        ("cost", 5, "an amount in dollars such as 9.05"),
        ("cost", "-1", "an amount in dollars such as 9.05"),
        ("cost", "0.10", "an amount in dollars such as 9.05"),
        ("cost", None, "an amount in dollars such as 9.05"),
        ("prompt_tokens", True, "a whole number"),
        ("prompt_tokens", -1, "a whole number"),
        ("estimated", 1, "true or false"),
        ("created", "yesterday", "an instant such as 2026-11-21T09:30:00.000001Z"),
        ("mode", "free", "standard or byok"),
        ("price_rule", 7, "a text or null"),
        ("attempts", {}, "a list"),
    ],
)
def test_every_field_of_another_form_is_named(name: str, found: object, expected: str) -> None:
    """With what was expected there."""
    receipt = a_receipt()
    receipt["call"][name] = found
    with pytest.raises(FormFaults) as caught:
        read_receipt(receipt)

    assert [(f"call.{name}", expected)] == [(fault.field, fault.expected) for fault in caught.value.faults]


LONG = "x" * 101


@pytest.mark.parametrize(
    ("place", "found", "sentence"),
    [
        ("receipt", 2, "receipt: expected 1, the number of the form, found 2"),
        ("receipt", True, "receipt: expected 1, the number of the form, found True"),
        ("receipt", None, "receipt: expected 1, the number of the form, found nothing"),
        ("call", 5, "call: expected an object, found 5; call.attempts: expected a list, found nothing"),
        ("entries", 5, "entries: expected a list, found 5"),
        ("entries", ["e"], "entries[0]: expected an object, found e"),
        ("rates", False, "rates: expected an object, found False"),
        ("paid", "1.0", "paid: expected an amount in dollars such as 9.05, found 1.0"),
        ("paid", LONG, f"paid: expected an amount in dollars such as 9.05, found {LONG[:-1]}…"),
        ("paid", LONG[:-1], f"paid: expected an amount in dollars such as 9.05, found {LONG[:-1]}"),
        ("call.key_id", 5, ""),
        ("call.request_id", 5, "call.request_id: expected a text, found 5"),
        (
            "call.usage_source",
            "guess",
            "call.usage_source: expected provider or estimated or bounded or null, found guess",
        ),
        ("call.prompt_tokens", 2**63, f"call.prompt_tokens: expected a whole number, found {2**63}"),
        ("call.prompt_tokens", 2**63 - 1, ""),
        ("call.attempts", [[]], "call.attempts[0]: expected an object, found []"),
        (
            "entries.0.created",
            None,
            "entries[0].created: expected an instant such as 2026-11-21T09:30:00.000001Z, found nothing",
        ),
    ],
)
def test_what_cannot_be_read_is_told_in_full(place: str, found: object, sentence: str) -> None:
    """Where, what was expected, and what stands there, at most a hundred characters of it."""
    receipt = a_receipt()
    table: Any = receipt
    *way, last = place.split(".")
    for name in way:
        table = table[int(name) if name.isdigit() else name]
    table[last] = found

    assert sentence == told_of(receipt)


def told_of(receipt: object) -> str:
    """What reading it says; empty for one that can be read."""
    try:
        read_receipt(receipt)
    except FormFaults as error:
        return str(error)
    return ""


def test_all_faults_are_told_at_once() -> None:
    """One behind the other."""
    receipt = a_receipt()
    receipt["call"]["held"] = None
    del receipt["rates"]

    assert (
        "call.held: expected an amount in dollars such as 9.05, found nothing; rates: expected an object, found "
        == told_of(receipt)
    )
    assert "receipt: expected 1, the number of the form, found nothing" == told_of([receipt])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "Expecting value: line 1 column 1 (char 0)"),
        ('{"a":1,"a":2}', "a name is given twice"),
        ('{"a":1.0}', "1.0 is not a whole number"),
        ('{"a":' + "1" * 50 + ".5}", "1" * 40 + " is not a whole number"),
        ('{"a":NaN}', "NaN is not a whole number"),
        ('{"a":' + "1" * 20 + "}", "a number is too long"),
        ('{"a":' + "1" * 5000 + "}", "a number is too long"),
    ],
)
def test_what_two_readers_could_understand_differently_is_refused(text: str, sentence: str) -> None:
    """Names twice, fractions, numbers without end."""
    with pytest.raises(NotAReceipt) as refused:
        parse(text)

    assert f"this is not the JSON of a receipt: {sentence}" == str(refused.value)


def test_nesting_has_an_end() -> None:
    """Whoever nests without one is refused like the rest."""
    with pytest.raises(NotAReceipt, match="this is not the JSON of a receipt"):
        parse("[" * 100_000)


def test_a_receipt_has_a_limit() -> None:
    """Nobody computes with a megabyte; a number has nineteen digits."""
    with pytest.raises(NotAReceipt, match="at most"):
        parse(" " * (LARGEST_RECEIPT_BYTES + 1))
    assert [] == parse("[]" + " " * (LARGEST_RECEIPT_BYTES - 2))
    assert 2**63 - 1 == parse(str(2**63 - 1))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_JSON, st.sampled_from(["call", "entries", "rates", "paid"]))
def test_no_json_breaks_the_reader(value: object, name: str) -> None:
    """It is read, or its faults are named."""
    try:
        read = read_receipt({**a_receipt(), name: value})
        named = [bool(read.call.request_id)]
    except FormFaults as error:
        named = [name in fault.field for fault in error.faults]

    assert named
    assert all(named)
