"""What a customer asks for when recharging, read strictly: an exact amount, and addresses that only lead back to us.

The amount is read to the digit. An address is one that the operator has allowed, to the
letter, because a payment page that sends customers elsewhere is a gift to whoever wants their cards.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, WithJsonSchema

from billing.money import Money, format_usd
from billing.recharges import UNITS_PER_CENT
from billing.values import value
from console.answers import Body, Dollars
from middlewares.errors import invalid

LONGEST_URL: Final = 2_000
LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
_URL: Final = re.compile(r"[!#-;=?-\[\]-~]+")
"""Printable ASCII without spaces, quotes, backslashes and angle brackets: what browsers read in more than one way."""


def _a_number(given: object) -> object:
    if isinstance(given, str):
        raise ValueError("expected a number of dollars, such as 20 or 20.50")
    return given


class NewRecharge(Body):
    """The body of POST /credits: dollars with at most two decimals, and where the payment page sends its visitor back."""

    amount: Annotated[Dollars, BeforeValidator(_a_number), WithJsonSchema({"type": "number", "examples": [20.50]})]
    success_url: str = Field(max_length=LONGEST_URL)
    cancel_url: str = Field(max_length=LONGEST_URL)


@value
class RechargeWish:
    """A recharge as it was asked for, within the operator's rules."""

    amount: Money
    success_url: str
    cancel_url: str


def allow_wish(asked: NewRecharge, minimum: Money, maximum: Money, return_hosts: Sequence[str]) -> RechargeWish:
    """The wish, if the operator's rules allow it. Raises a Refusal that names the field."""
    return RechargeWish(
        allow_amount(asked.amount, minimum, maximum),
        _return_url(asked.success_url, "success_url", return_hosts),
        _return_url(asked.cancel_url, "cancel_url", return_hosts),
    )


def allow_amount(amount: Money, minimum: Money, maximum: Money) -> Money:
    """Dollars with at most two decimals, within the operator's limits. Raises a Refusal."""
    if amount < 0 or amount % UNITS_PER_CENT:
        raise invalid("amount", "amount must be a number of dollars with at most two decimals, such as 20.50")
    if not minimum <= amount <= maximum:
        raise invalid("amount", f"amount must be between {format_usd(minimum)} and {format_usd(maximum)} dollars")
    return amount


def _return_url(given: str, name: str, return_hosts: Sequence[str]) -> str:
    """An address to which the payment page may send the customer."""
    if not _URL.fullmatch(given):
        raise invalid(name, f"{name} must be an address of at most {LONGEST_URL} plain characters")
    try:
        parts = urlsplit(given)
        host, port = parts.netloc.lower(), parts.port
    except ValueError:
        raise invalid(name, f"{name} is not an address") from None
    bare = host if port is None else host.rpartition(":")[0]
    allowed = {entry.lower() for entry in return_hosts}
    loopback = bare in LOOPBACK and bare in allowed
    if parts.scheme != "https" and not (loopback and parts.scheme == "http"):
        raise invalid(name, f"{name} must begin with https://")
    if host not in allowed and not loopback and not (bare in allowed and port == 443):
        raise invalid(name, f"{name} must lead to a host on the list of this gateway's return hosts")
    return given
