"""Promises of money: whole numbers in, exact text out, one way of rounding, and nothing inexact let in."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from billing.money import (
    LARGEST_AMOUNT,
    UNITS_PER_USD,
    InvalidAmount,
    divide_half_up,
    divide_up,
    format_usd,
    parse_usd,
)

AMOUNTS = st.integers(-LARGEST_AMOUNT, LARGEST_AMOUNT)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9.05", 905_000_000),
        ("0", 0),
        ("-0", 0),
        ("0.00000001", 1),
        ("-0.00000001", -1),
        ("1e-8", 1),
        ("1E3", 100_000_000_000),
        ("1.000000000000000000000000000000000000000000", 100_000_000),
        ("1000000000", LARGEST_AMOUNT),
        ("-1000000000", -LARGEST_AMOUNT),
        (12, 1_200_000_000),
        (Decimal("12.50"), 1_250_000_000),
    ],
)
def test_an_amount_is_read_exactly(text: str | int | Decimal, expected: int) -> None:
    """Dollars become 10⁻⁸ dollars, whatever way the number is written."""
    actual = parse_usd(text)

    assert expected == actual
    assert int is type(actual)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "abc",
        "1,5",
        "$1",
        "0x10",
        "1/3",
        "NaN",
        "sNaN",
        "Infinity",
        "-inf",
        "0.000000001",
        "1.000000001",
        # Longer than the 28 digits to which the decimal module rounds in silence.
        "1.00000000000000000000000000000000000000001",
        "1000000000.00000001",
        "-1000000000.00000001",
        "1e10",
        "1e9999999",
        "1e-9999999",
        "1e999999999999999999999999",
        Decimal("1E+400000000"),
        Decimal("1E-400000000"),
        10**12,
    ],
)
def test_what_is_no_exact_amount_is_refused(value: Any) -> None:
    """No text, no unlimited or unfit number is taken for money, and none is rounded to fit; the error is always the same."""
    with pytest.raises(InvalidAmount):
        parse_usd(value)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("1,5", "an amount is a decimal number such as 12.50, not '1,5'"),
        (1.5, "an amount is a decimal number such as 12.50, not 1.5"),
        ("1e10", "an amount is at most a billion dollars, not '1e10'"),
        ("0.000000001", "an amount has at most 8 decimals, '0.000000001' has more"),
    ],
)
def test_a_refusal_says_what_an_amount_is(value: Any, sentence: str) -> None:
    """And what was given instead: it is what a command prints."""
    with pytest.raises(InvalidAmount, match=f"^{re.escape(sentence)}$"):
        parse_usd(value)


@pytest.mark.parametrize("value", [9.05, 1.0, float("nan"), True, False, None, b"1", [1]])
def test_floats_and_other_kinds_are_refused(value: Any) -> None:
    """A float never becomes money, not even a whole one; neither does true."""
    with pytest.raises(InvalidAmount, match="an amount is a decimal number such as 12"):
        parse_usd(value)


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (905_000_000, "9.05"),
        (0, "0"),
        (1, "0.00000001"),
        (-1, "-0.00000001"),
        (UNITS_PER_USD, "1"),
        (-150_000_000, "-1.5"),
        (100 * UNITS_PER_USD, "100"),
        (LARGEST_AMOUNT + 1, "1000000000.00000001"),
    ],
)
def test_an_amount_is_written_plainly(amount: int, expected: str) -> None:
    """Up to eight decimals, no trailing zeros, no exponent."""
    assert expected == format_usd(amount)


@settings(deadline=None, print_blob=True)
@given(AMOUNTS)
def test_writing_and_reading_give_the_same_amount(amount: int) -> None:
    """No amount is changed by being shown, and what is shown is the exact number of dollars."""
    written = format_usd(amount)

    assert amount == parse_usd(written)
    assert Fraction(amount, UNITS_PER_USD) == Fraction(written)


@settings(deadline=None, print_blob=True)
@given(st.text(max_size=30) | st.decimals() | st.from_regex(r"\A-?[0-9]{0,30}\.?[0-9]{0,40}(e-?[0-9]{1,9})?\Z"))
@example("0.000000000000000000000000000000000000000000000001")
def test_reading_is_exact_or_refused(value: str | Decimal) -> None:
    """Whatever the text: an amount that is the very number, or InvalidAmount, and never anything else."""
    try:
        amount = parse_usd(value)
    except InvalidAmount:
        return

    assert abs(amount) <= LARGEST_AMOUNT
    assert Fraction(Decimal(value)) * UNITS_PER_USD == amount


@pytest.mark.parametrize(
    ("numerator", "denominator", "expected"),
    [
        (0, 1, 0),
        (1, 2, 1),
        (3, 2, 2),
        (5, 2, 3),
        (1, 3, 0),
        (2, 3, 1),
        (7385, 1000, 7),
        (7500, 1000, 8),
        (7499, 1000, 7),
    ],
)
def test_ties_go_up(numerator: int, denominator: int, expected: int) -> None:
    """Half a unit is a whole one, to even and to odd alike."""
    assert expected == divide_half_up(numerator, denominator)


@settings(deadline=None, print_blob=True)
@given(st.integers(0, 10**30), st.integers(1, 10**20))
def test_rounding_is_the_nearest_and_the_bound_is_above(numerator: int, denominator: int) -> None:
    """Rounding errs by half a unit at most, upwards in a tie; the upper bound is the next whole number."""
    exact = Fraction(numerator, denominator)
    nearest, above = divide_half_up(numerator, denominator), divide_up(numerator, denominator)

    assert -Fraction(1, 2) < nearest - exact <= Fraction(1, 2)
    assert 0 <= above - exact < 1
    assert {int} == {type(nearest), type(above)}


@pytest.mark.parametrize(("numerator", "denominator"), [(-1, 1), (1, 0), (1, -1), (-1, -1)])
def test_only_non_negative_amounts_are_rounded(numerator: int, denominator: int) -> None:
    """A negative amount has no agreed rounding here, so it is refused rather than guessed."""
    with pytest.raises(ValueError, match=r"^only non-negative amounts are rounded$"):
        divide_half_up(numerator, denominator)
    with pytest.raises(ValueError, match=r"^only non-negative amounts are rounded$"):
        divide_up(numerator, denominator)
