"""How often one account may ask the account plane: its own limit, apart from that of calls."""

from __future__ import annotations

from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from middlewares.call import CALL, Call
from middlewares.errors import Refusal
from storage.limits import Limits, LocalLimits, Scope

REQUESTS_PER_MINUTE: Final = 120
_LIMITS: Final = Limits(requests_per_minute=REQUESTS_PER_MINUTE)


def limits() -> Middleware:
    """Refuse with 429 beyond 120 requests a minute and account."""
    limiter = LocalLimits()

    @web.middleware
    async def limit_rate(request: web.Request, handler: Handler) -> web.StreamResponse:
        call = request[CALL]
        await check_limit(limiter, str(call.account_id), call)
        return await handler(request)

    return limit_rate


async def check_limit(limiter: LocalLimits, account_id: str, call: Call) -> None:
    """Count a request about this account. Raises a Refusal for one too many."""
    verdict = await limiter.enter((Scope(f"account:{account_id}", _LIMITS),), call.request_id)
    call.limit_state = verdict.state
    if verdict.refused_by is not None:
        raise Refusal(
            "rate_limit_exceeded",
            f"more than {REQUESTS_PER_MINUTE} requests a minute about your account; wait as long as Retry-After says",
            retry_after_seconds=verdict.retry_after_seconds,
        )
