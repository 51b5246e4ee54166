"""Reading amounts out of what providers say of the operator's account: what is no amount is left out."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from urllib.parse import urlsplit

LARGEST: Final = 10**15
"""Whoever says more says something else."""


def amount(value: Any) -> Decimal | None:
    """A number, or a text that is one; None for everything else, what is too much to be true included."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        read = Decimal(str(value))
    except InvalidOperation:
        return None
    return read if read.is_finite() and abs(read) < LARGEST else None


def purse(currency: str, value: Any) -> dict[str, Decimal]:
    """One amount in one currency; empty where it is none."""
    read = amount(value)
    return {} if read is None else {currency: read}


def listed(rows: Any, currency_field: str, amount_field: str) -> dict[str, Decimal]:
    """An amount for each row of a list; rows that say something else are left out."""
    wallet: dict[str, Decimal] = {}
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, Mapping) and isinstance(row.get(currency_field), str):
            wallet |= purse(row[currency_field][:8], row.get(amount_field))
    return wallet


def currency_by_host(base_url: str, chinese: str) -> str:
    """Vendors with two sites keep yuan on the Chinese one, whose host ends so, and dollars on the other."""
    return "CNY" if (urlsplit(base_url).hostname or "").endswith(chinese) else "USD"
