"""Ids that sort by the time they were made, and the instants rows carry: microseconds since 1970, UTC."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def now_microseconds() -> int:
    """This machine's clock, in microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def microseconds(instant: datetime) -> int:
    """An aware instant as rows carry it, exactly: `timestamp()` is a float and misses the microsecond now and then."""
    return (instant - _EPOCH) // _MICROSECOND


def month_of(instant: datetime) -> str:
    """The month in UTC that an aware instant lies in, as "2026-11", wherever the machine or the instant thinks it is."""
    return f"{instant.astimezone(UTC):%Y-%m}"


def iso_instant(instant: int) -> str:
    """Microseconds since 1970 as ``2026-11-21T09:30:00.000001Z``."""
    return f"{_EPOCH + instant * _MICROSECOND:%Y-%m-%dT%H:%M:%S.%f}Z"


def new_id(prefix: str) -> str:
    """`prefix` and 32 hex digits: 48 bits of milliseconds, so that new rows stand together, and 80 random bits."""
    return f"{prefix}{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
