"""What a single setting may hold: host and port, an address, seconds, percent, the chain's order.

Every check says what it expected; what was found is added where the fault is reported.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from metrics.otlp import traces_url
from proxy.extensions import check_names
from storage.accounts import is_mailable
from storage.database import open_database
from storage.sealing import Sealer
from storage.shared_limits import check_address


def parse_listen(listen: str) -> tuple[str, int]:
    """``"127.0.0.1:8080"`` or ``"[::1]:8080"`` as host and port; port 0 lets the system choose. Raises ValueError."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/\[\]]+)):(\d{1,5})", listen)
    if match is None or int(match[3]) > 65535:
        raise ValueError("expected host:port such as 127.0.0.1:8080")
    return match[1] or match[2], int(match[3])


def _refuse_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


def _check_listen(value: str) -> str:
    parse_listen(value)
    return value


def _check_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError("expected an address that begins with http:// or https://")
    return value.rstrip("/")


def _check_database(value: str) -> str:
    """Nothing is opened yet; a driver that is not installed is found too."""
    if not re.fullmatch(r"sqlite:///(?!:memory:).+|postgres(ql)?://.+", value):
        raise ValueError('expected "sqlite:///file" or "postgresql://user:password@host:5432/name"')
    open_database(value)
    return value


def _check_redis(value: str) -> str:
    """Empty, or an address that the installed client takes; nothing is connected yet."""
    if value:
        check_address(value)
    return value


def _check_collector(value: str) -> str:
    """Empty, or the address of a collector; nothing is connected yet."""
    if value:
        traces_url(value)
    return value


def _check_secret_key(value: SecretStr) -> SecretStr:
    """Empty (sealing is off) or 32 bytes in base64; several with commas between while the key is being changed."""
    try:
        Sealer(value.get_secret_value())
    except ValueError:
        raise ValueError("expected 32 bytes in base64 (make one with: openssl rand -base64 32)") from None
    return value


def _check_header_prefix(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,40}-", value):
        raise ValueError('expected letters, digits and "-", with "-" at the end')
    return value


def _check_key_prefix(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", value):
        raise ValueError('expected 1 to 32 letters, digits, "_" or "-"')
    return value


def _check_mail_address(value: str) -> str:
    if not is_mailable(value):
        raise ValueError("expected an e-mail address such as no-reply@example.com")
    return value


def _check_title(value: str) -> str:
    if not re.fullmatch(r"[^\W_][^<>\"@,;:\\]{0,60}", value) or not value.isprintable():
        raise ValueError("expected a name of up to 61 letters, digits, spaces and simple signs")
    return value


Whole = Annotated[int, BeforeValidator(_refuse_bool)]
Seconds = Annotated[float, BeforeValidator(_refuse_bool), Field(gt=0, le=86_400)]
Wait = Annotated[float, BeforeValidator(_refuse_bool), Field(ge=0, le=3_600)]
Percent = Annotated[Decimal, BeforeValidator(_refuse_bool), Field(ge=0, le=1000)]
Dollars = Annotated[Decimal, BeforeValidator(_refuse_bool), Field(gt=0, le=1_000_000, decimal_places=2)]
Listen = Annotated[str, AfterValidator(_check_listen)]
Url = Annotated[str, AfterValidator(_check_url)]
DatabaseUrl = Annotated[str, AfterValidator(_check_database)]
RedisUrl = Annotated[str, AfterValidator(_check_redis)]
CollectorUrl = Annotated[str, AfterValidator(_check_collector)]
SecretKey = Annotated[SecretStr, AfterValidator(_check_secret_key)]
KeyPrefix = Annotated[str, AfterValidator(_check_key_prefix)]
HeaderPrefix = Annotated[str, AfterValidator(_check_header_prefix)]
MailAddress = Annotated[str, AfterValidator(_check_mail_address)]
Title = Annotated[str, AfterValidator(_check_title)]
Chain = Annotated[tuple[str, ...], AfterValidator(check_names)]
