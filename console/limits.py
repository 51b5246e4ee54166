"""How often one account may ask the account plane: its own limit, apart from that of calls."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from middlewares.call import CALL
from middlewares.errors import Refusal
from middlewares.rate_limit import RateLimiter

REQUESTS_PER_MINUTE: Final = 120


def limits() -> Middleware:
    """Refuse with 429 beyond 120 requests a minute and account."""
    limiter = RateLimiter(REQUESTS_PER_MINUTE)

    @web.middleware
    async def limit_rate(request: web.Request, handler: Handler) -> web.StreamResponse:
        call = request[CALL]
        assert call.account_id is not None, "auth comes first"
        decision = limiter.take(call.account_id, asyncio.get_running_loop().time())
        call.limit_state = (REQUESTS_PER_MINUTE, decision.remaining, decision.reset_seconds)
        if not decision.allowed:
            raise Refusal(
                "rate_limit_exceeded",
                f"more than {REQUESTS_PER_MINUTE} requests a minute about your account; wait as long as Retry-After says",
                retry_after_seconds=decision.retry_after_seconds,
            )
        return await handler(request)

    return limit_rate
