"""Amounts of money as whole numbers, read from text, written as text, and rounded in one place.

The unit is 10⁻⁸ US dollars: the eight decimals that prices per request need. No float ever touches money.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TypeAlias

Money: TypeAlias = int
"""An amount in units of 10⁻⁸ USD."""

UNITS_PER_USD = 10**8
LARGEST_AMOUNT: Money = 10**17
"""A billion dollars; more than this is a mistake, and it keeps sums inside a database's 64-bit integers."""


_SMALLEST = Decimal(1).scaleb(-8)


class InvalidAmount(ValueError):
    """A text or number that is not an exact amount of money with at most eight decimals."""


def parse_usd(value: str | int | Decimal) -> Money:
    """Read dollars, exactly: ``"9.05"`` is 905000000.

    Raises InvalidAmount for anything that is not a finite number with at most eight decimals, at most a billion dollars.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        raise InvalidAmount(f"an amount is a decimal number such as 12.50, not {value!r}")
    try:
        dollars = Decimal(value)
    except InvalidOperation:
        raise InvalidAmount(f"an amount is a decimal number such as 12.50, not {value!r}") from None
    # Decimals are compared exactly, while every operation on them rounds to 28 digits or overflows: so compare first.
    if not dollars.is_finite() or dollars.copy_abs() > LARGEST_AMOUNT // UNITS_PER_USD:
        raise InvalidAmount(f"an amount is at most a billion dollars, not {value!r}")
    exact = dollars.quantize(_SMALLEST)
    if exact != dollars:
        raise InvalidAmount(f"an amount has at most 8 decimals, {value!r} has more")
    return int(exact.scaleb(8))


def format_usd(amount: Money) -> str:
    """Dollars with up to eight decimals and no trailing zeros: 905000000 is ``"9.05"``."""
    if amount < 0:
        return f"-{format_usd(-amount)}"
    digits = f"{amount:09d}"
    part = digits[-8:].rstrip("0")
    return f"{digits[:-8]}.{part}" if part else digits[:-8]


def divide_half_up(numerator: int, denominator: int) -> int:
    """``numerator / denominator`` to the nearest whole number, a tie upwards; both non-negative, denominator positive."""
    if numerator < 0 or denominator <= 0:
        raise ValueError("only non-negative amounts are rounded")
    return (2 * numerator + denominator) // (2 * denominator)


def divide_up(numerator: int, denominator: int) -> int:
    """The smallest whole number that is not below ``numerator / denominator``; for upper bounds."""
    if numerator < 0 or denominator <= 0:
        raise ValueError("only non-negative amounts are rounded")
    return -(-numerator // denominator)
