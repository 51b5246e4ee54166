"""The account plane's own limit: 120 requests a minute and account, apart from that of calls."""

from __future__ import annotations

import asyncio
from typing import Any

from console.limits import REQUESTS_PER_MINUTE
from tests.gateway import Gateway


async def test_beyond_it_is_429(gateway: Gateway, ask_of: Any) -> None:
    """For one account, not for another, and not for its calls; the answer says when to come again."""
    ask = ask_of(gateway)
    _, stranger = gateway.new_account("stranger")

    replies = await asyncio.gather(*[ask("GET", "/v1/user/balance") for _ in range(REQUESTS_PER_MINUTE + 30)])

    refused = [reply for reply in replies if reply.status != 200]
    assert {(429, "rate_limit_exceeded")} == {reply.code for reply in refused}
    assert 20 <= len(refused) <= 30
    assert {str(REQUESTS_PER_MINUTE)} == {reply.headers["X-RateLimit-Limit"] for reply in replies}
    assert {"1"} == {reply.headers["Retry-After"] for reply in refused}
    assert {"private, no-store"} == {reply.headers["Cache-Control"] for reply in refused}
    assert 200 == (await ask("GET", "/v1/user/balance", key=stranger)).status
    assert 200 == (await gateway.chat()).status
