"""What single settings may hold, and what is said when they do not."""

from __future__ import annotations

import base64
from typing import Any

import pydantic
import pytest
from pydantic import SecretStr, TypeAdapter

from proxy.chain import MIDDLEWARES
from proxy.checks import (
    Chain,
    CollectorUrl,
    DatabaseUrl,
    Dollars,
    HeaderPrefix,
    KeyPrefix,
    Listen,
    Percent,
    Seconds,
    SecretKey,
    Url,
    Wait,
    Whole,
    parse_listen,
)

SECRET_KEY = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_an_address_is_read_as_host_and_port(listen: str, expected: tuple[str, int]) -> None:
    """IPv4, IPv6 in brackets, names."""
    assert expected == parse_listen(listen)


@pytest.mark.parametrize("listen", ["", "8080", "host:", ":80", "host:65536", "::1:80", "a b:1", "http://x:1", "h:1\n"])
def test_what_is_no_address_is_refused(listen: str) -> None:
    """The sentence shows the form."""
    with pytest.raises(ValueError, match=r"^expected host:port such as 127\.0\.0\.1:8080$"):
        parse_listen(listen)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Listen, "127.0.0.1:0"),
        (Url, "https://example.com/base"),
        (DatabaseUrl, "sqlite:///x.db"),
        (DatabaseUrl, "postgresql://me:pw@host:5432/name"),
        (CollectorUrl, ""),
        (CollectorUrl, "http://127.0.0.1:4318/"),
        (HeaderPrefix, "X-Acme-"),
        (KeyPrefix, "acme_"),
        (Chain, MIDDLEWARES),
        (Whole, 0),
        (Seconds, 0.001),
        (Wait, 0),
        (Percent, 0),
        (Dollars, 10),
    ],
)
def test_what_is_right_is_taken_as_it_is(kind: Any, value: object) -> None:
    """Nothing is changed on the way."""
    assert value == TypeAdapter(kind).validate_python(value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Listen, "127.0.0.1"),
        (Url, "example.com"),
        (Url, "ftp://example.com"),
        (Url, "https://"),
        (DatabaseUrl, "x.db"),
        (DatabaseUrl, "mysql://host/name"),
        (DatabaseUrl, "sqlite://x.db"),
        (DatabaseUrl, "sqlite:///:memory:"),
        (CollectorUrl, "127.0.0.1:4318"),
        (HeaderPrefix, "X-Acme"),
        (HeaderPrefix, "-"),
        (HeaderPrefix, "X Acme-"),
        (HeaderPrefix, "X-Acme-\n"),
        (KeyPrefix, ""),
        (KeyPrefix, "acme key"),
        (KeyPrefix, "a" * 33),
        (Chain, (*MIDDLEWARES, "auth")),
        (Chain, tuple(reversed(MIDDLEWARES))),
        (Chain, MIDDLEWARES[1:]),
        (Chain, (*MIDDLEWARES, "more")),
        (Whole, True),
        (Seconds, True),
        (Seconds, 0),
        (Seconds, 86_401),
        (Wait, -1),
        (Percent, False),
        (Percent, 1001),
        (Dollars, 0),
        (SecretKey, "c2hvcnQ="),
        (SecretKey, "not base64!"),
        (SecretKey, base64.b64encode(bytes(33)).decode()),
    ],
)
def test_what_is_wrong_is_refused(kind: Any, value: object) -> None:
    """Each check refuses what would fail later, or worse, work by accident."""
    with pytest.raises(pydantic.ValidationError):
        TypeAdapter(kind).validate_python(value)


def test_a_secret_key_is_32_bytes_or_nothing() -> None:
    """Without one, sealing is off; that is a choice and no fault."""
    adapter = TypeAdapter(SecretKey)
    assert SecretStr("") == adapter.validate_python("")
    assert SECRET_KEY == adapter.validate_python(SECRET_KEY).get_secret_value()


def test_an_address_loses_the_slash_at_its_end() -> None:
    """So that paths can be put behind it."""
    assert "https://example.com" == TypeAdapter(Url).validate_python("https://example.com/")
