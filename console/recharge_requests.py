"""What a customer asks for when recharging, read strictly: an exact amount, and addresses that only lead back to us.

No float ever holds the amount: JSON's numbers are read as decimals. An address is one that the operator has allowed, to the
letter, because a payment page that sends customers elsewhere is a gift to whoever wants their cards.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

from billing.money import InvalidAmount, Money, format_usd, parse_usd
from billing.recharges import UNITS_PER_CENT
from billing.values import value
from middlewares.errors import Refusal, invalid

LONGEST_URL: Final = 2_000
LARGEST_PAGE: Final = 100
LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
_FIELDS: Final = ("amount", "success_url", "cancel_url")
_URL: Final = re.compile(r"[!#-;=?-\[\]-~]+")
"""Printable ASCII without spaces, quotes, backslashes and angle brackets: what browsers read in more than one way."""


@value
class RechargeWish:
    """A recharge as it was asked for."""

    amount: Money
    success_url: str
    cancel_url: str


def read_wish(body: bytes, minimum: Money, maximum: Money, return_hosts: Sequence[str]) -> RechargeWish:
    """The wish in a body of JSON. Raises Refusal and names the field."""
    document = parse_object(body)
    for name in document:
        if name not in _FIELDS:
            raise invalid(name[:100], f"unknown field {name[:100]!r}: a recharge has {', '.join(_FIELDS)}")
    amount = _amount(document.get("amount"), minimum, maximum)
    urls = (_return_url(document.get(name), name, return_hosts) for name in _FIELDS[1:])
    return RechargeWish(amount, *urls)


def parse_object(body: bytes) -> dict[str, Any]:
    """A JSON object whose numbers are decimals; a field that stands twice, NaN and Infinity are refused."""
    try:
        parsed = _DECODE(body.decode())
    except (ValueError, RecursionError, ArithmeticError):
        raise Refusal("invalid_json", "the body is not valid JSON") from None
    if not isinstance(parsed, dict):
        raise Refusal("invalid_json", "the body must be a JSON object")
    return parsed


def _amount(given: object, minimum: Money, maximum: Money) -> Money:
    """Dollars with at most two decimals, within the operator's limits."""
    if isinstance(given, bool) or not isinstance(given, (int, Decimal)):
        raise invalid("amount", "amount must be a number of dollars, such as 20 or 20.50")
    try:
        amount = parse_usd(given)
    except InvalidAmount:
        amount = -1
    if amount < 0 or amount % UNITS_PER_CENT:
        raise invalid("amount", "amount must be a number of dollars with at most two decimals, such as 20.50")
    if not minimum <= amount <= maximum:
        raise invalid("amount", f"amount must be between {format_usd(minimum)} and {format_usd(maximum)} dollars")
    return amount


def _return_url(given: object, name: str, return_hosts: Sequence[str]) -> str:
    """An address to which the payment page may send the customer."""
    if not isinstance(given, str) or not given:
        raise invalid(name, f"{name} must be an https address on one of this gateway's return hosts")
    if len(given) > LONGEST_URL or not _URL.fullmatch(given):
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


def read_page(limit: str | None, cursor: str | None) -> tuple[int, tuple[int, str] | None]:
    """How many rows of a list, and before which instant and id. Raises Refusal."""
    if limit is not None and not re.fullmatch(r"[1-9][0-9]{0,2}", limit):
        raise invalid("limit", f"limit must be a whole number from 1 to {LARGEST_PAGE}")
    rows = min(int(limit or 20), LARGEST_PAGE)
    if cursor is None:
        return rows, None
    try:
        created, _, last_id = base64.urlsafe_b64decode(cursor.encode()).decode().partition(":")
        if not re.fullmatch(r"[0-9]{1,18}", created) or not re.fullmatch(r"[0-9a-z_]{1,100}", last_id):
            raise ValueError("not a cursor")
    except (ValueError, binascii.Error):
        raise invalid("cursor", "cursor must be the next_cursor of the page before") from None
    return rows, (int(created), last_id)


def write_cursor(created: int, last_id: str) -> str:
    """What leads to the rows after this one."""
    return base64.urlsafe_b64encode(f"{created}:{last_id}".encode()).decode()


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]
    if twice:
        raise ValueError("a field stands twice")
    return dict(pairs)


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a JSON number")


_DECODE: Final = json.JSONDecoder(
    object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=Decimal
).decode
