"""Bodies and queries are read strictly, and amounts are written exactly."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from billing.money import LARGEST_AMOUNT, UNITS_PER_USD, format_usd
from console.answers import Dollars, End, Instant, number
from tests.gateway import Gateway


@given(st.integers(-LARGEST_AMOUNT, LARGEST_AMOUNT))
def test_a_number_has_exactly_its_digits(amount: int) -> None:
    """Read back as a decimal it is the amount."""
    assert Decimal(amount) / UNITS_PER_USD == Decimal(orjson.dumps({"x": number(amount)})[5:-1].decode())


@given(st.integers(0, LARGEST_AMOUNT))
def test_dollars_are_read_as_they_are_written(amount: int) -> None:
    """As a text; and as a JSON number where it has no more digits than such a number carries."""
    read = TypeAdapter(Dollars)
    text = format_usd(amount)

    assert amount == read.validate_python(text)
    if len(text) <= 16:
        assert amount == read.validate_python(orjson.loads(text))


@pytest.mark.parametrize("value", [None, True, [], "", "1e400", "NaN", float("inf"), "0.000000001", 10**12])
def test_what_is_no_amount_is_refused(value: Any) -> None:
    """Whatever it is."""
    with pytest.raises(ValidationError):
        TypeAdapter(Dollars).validate_python(value)


def test_instants_and_the_ends_of_ranges() -> None:
    """UTC unless they say otherwise; a date begins its day, and as an end includes it."""
    second = 10**6

    assert 0 == TypeAdapter(Instant).validate_python("1970-01-01")
    assert 3 * second == TypeAdapter(Instant).validate_python("1970-01-01T01:00:03+01:00")
    assert 86_400 * second == TypeAdapter(End).validate_python("1970-01-01")
    assert 5 * second == TypeAdapter(End).validate_python("1970-01-01T00:00:05Z")
    for text in ("", "now", "1970-13-01", "9999-12-31T23:59:59-23:59"):
        for kind in (Instant, End):
            with pytest.raises(ValidationError):
                TypeAdapter(kind).validate_python(text)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"", (400, "invalid_json")),
        (b"[]", (400, "invalid_json")),
        (b"{", (400, "invalid_json")),
        (b'{"name": "a", "name": "b"}', (400, "invalid_json")),
        (b'{"name": NaN}', (400, "invalid_json")),
        (b'{"name": "' + b"x" * 70_000 + b'"}', (413, "request_too_large")),
    ],
)
async def test_a_body_that_is_not_one_object(gateway: Gateway, sent: bytes, code: tuple[int, str]) -> None:
    """Refused as everywhere, and a large one before it is read."""
    refused = await gateway.send(sent, path="/v1/user/keys")

    assert code == refused.code
