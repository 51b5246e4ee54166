"""What a customer may ask for: amounts to the cent, addresses to the letter, pages that were given out."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import UNITS_PER_USD
from console.answers import check
from console.recharge_requests import NewRecharge, RechargeWish, allow_wish
from middlewares.body import parse
from middlewares.errors import Refusal

HOSTS = ("www.example.com", "shop.example.com:8443", "localhost")
URL = "https://www.example.com/back?session={CHECKOUT_SESSION_ID}"


def read_wish(body: bytes, minimum: int, maximum: int, hosts: tuple[str, ...]) -> RechargeWish:
    """As the route does it."""
    return allow_wish(check(NewRecharge, parse(body), "field"), minimum, maximum, hosts)


def wish(amount: str = "20", url: str = URL, *, hosts: tuple[str, ...] = HOSTS) -> int:
    """The amount of a wish, given as JSON."""
    body = f'{{"amount": {amount}, "success_url": {json.dumps(url)}, "cancel_url": {json.dumps(URL)}}}'
    return read_wish(body.encode(), 10 * UNITS_PER_USD, 10_000 * UNITS_PER_USD, hosts).amount


@given(st.integers(1_000, 1_000_000))
def test_cents_are_exact(cents: int) -> None:
    """However they are written."""
    dollars = Decimal(cents) / 100

    assert [cents * 10**6] * 2 == [wish(str(dollars)), wish(f"{cents}e-2")]


@pytest.mark.parametrize(
    "amount", ["9.99", "10000.01", "10.001", "1e400000", "-20", '"20"', "null", "true", "NaN", "{}"]
)
def test_other_amounts_are_refused(amount: str) -> None:
    """Below, above, finer than a cent, or no number."""
    with pytest.raises(Refusal) as caught:
        wish(amount)

    assert 400 == caught.value.problem.status


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "https://WWW.example.com/",
        "https://www.example.com:443/",
        "https://shop.example.com:8443/",
        "http://localhost:3000/",
    ],
)
def test_allowed_addresses(url: str) -> None:
    """Hosts of the list; a loopback host of the list with any port and without TLS."""
    assert 20 * UNITS_PER_USD == wish(url=url)


@pytest.mark.parametrize(
    "url",
    [
        "http://www.example.com/",
        "https://example.com/",
        "https://shop.example.com/",
        "https://www.example.com:8443/",
        "https://a@www.example.com/",
        "https://www.example.com\\@evil.com/",
        "https://evil.com/www.example.com",
        "https://www.example.com/\r\nX: y",
        "https://www.example.com/ü",
        "http://127.0.0.1/",
        "https://[::1/",
        "javascript:alert(1)",
        "https://www.example.com/" + "a" * 2_000,
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    """With the field's name."""
    with pytest.raises(Refusal) as caught:
        wish(url=url)

    assert "success_url" == caught.value.problem.param


def test_nothing_is_allowed_where_the_list_is_empty() -> None:
    """An operator has to name hosts."""
    with pytest.raises(Refusal):
        wish(hosts=())


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"amount":1,"amount":2}', b"\xff", b"[" * 100_000, b'{"amount":Infinity}']
)
def test_other_bodies_are_refused(body: bytes) -> None:
    """No object, a field twice, no UTF-8, too deep."""
    with pytest.raises(Refusal) as caught:
        read_wish(body, 1, 2, HOSTS)

    assert "invalid_json" == caught.value.problem.code


def test_a_field_nobody_knows_is_refused() -> None:
    """It may be a misspelt one."""
    with pytest.raises(Refusal) as caught:
        read_wish(b'{"amount": 20, "ammount": 20, "success_url": "", "cancel_url": ""}', 1, 2, ())

    assert "ammount" == caught.value.problem.param
