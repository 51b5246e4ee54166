"""A receipt is read field by field, and what cannot be read is named."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.receipt_form import LARGEST_RECEIPT_BYTES, FormFaults, NotAReceipt, parse, read_receipt
from tests.billed import priced_catalogue, random_settlement
from tests.billing.test_receipt import receipt_of


def a_receipt() -> dict[str, Any]:
    """The JSON of one."""
    made = random_settlement(Random(5), 1, "acct_1", priced_catalogue())
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


@pytest.mark.parametrize(
    "text", ["", "{", '{"a":1,"a":2}', '{"a":1.0}', '{"a":NaN}', "[" * 100_000, '{"a":' + "1" * 5000 + "}"]
)
def test_what_two_readers_could_understand_differently_is_refused(text: str) -> None:
    """Names twice, fractions, numbers without end, nesting without end."""
    with pytest.raises(NotAReceipt):
        parse(text)


def test_a_receipt_has_a_limit() -> None:
    """Nobody computes with a megabyte."""
    with pytest.raises(NotAReceipt, match="at most"):
        parse(" " * (LARGEST_RECEIPT_BYTES + 1))


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
