"""Ids that sort by the time they were made, and the instants rows carry: microseconds since 1970, UTC."""

from __future__ import annotations

import secrets
import time


def now_microseconds() -> int:
    """This machine's clock, in microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def new_id(prefix: str) -> str:
    """`prefix` and 32 hex digits: 48 bits of milliseconds, so that new rows stand together, and 80 random bits."""
    return f"{prefix}{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
