"""How often and how many at once: limits per account, held in memory.

The rate limit is GCRA (the generic cell rate algorithm): a bucket of one minute that refills continuously, kept as one
number per account. Source: ITU-T I.371, "virtual scheduling algorithm".
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from metrics.instruments import Instruments
from middlewares.call import CALL
from middlewares.errors import Refusal

WINDOW_SECONDS: Final = 60.0
ACCOUNTS_REMEMBERED: Final = 100_000
"""Buckets kept; full ones are dropped first, since a full bucket says nothing."""
RETRY_WHEN_CROWDED_SECONDS: Final = 1


@dataclass(frozen=True, slots=True)
class Decision:
    """What the limiter says of one request."""

    allowed: bool
    remaining: int
    retry_after_seconds: float
    """When the same request would be allowed; 0 if it is."""
    reset_seconds: float
    """When the bucket is full again."""


class RateLimiter:
    """One GCRA bucket per account; ``limit`` requests a minute, all of which may come at once."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._interval = WINDOW_SECONDS / limit
        self._full_at: dict[str, float] = {}

    def take(self, account_id: str, now: float) -> Decision:
        """Take one request out of the account's bucket at ``now`` (seconds on a clock that never runs backwards)."""
        full_at = max(self._full_at.get(account_id, now), now)
        after = full_at + self._interval
        wait = after - now - WINDOW_SECONDS
        # A hair of tolerance, or sums of fractions refuse the last request of a full bucket.
        if wait > 1e-9:
            return Decision(False, 0, wait, full_at - now)
        if len(self._full_at) >= ACCOUNTS_REMEMBERED and account_id not in self._full_at:
            self._forget(now)
        self._full_at[account_id] = after
        return Decision(True, int((WINDOW_SECONDS - (after - now)) / self._interval + 1e-6), 0.0, after - now)

    def _forget(self, now: float) -> None:
        """Drop full buckets; if none is full, the fullest half."""
        kept = {account: full_at for account, full_at in self._full_at.items() if full_at > now}
        if len(kept) >= ACCOUNTS_REMEMBERED:
            emptiest_first = sorted(kept, key=kept.__getitem__, reverse=True)
            kept = {account: kept[account] for account in emptiest_first[: ACCOUNTS_REMEMBERED // 2]}
        self._full_at = kept


def rate_limit(requests_per_minute: int, concurrent_requests: int, instruments: Instruments) -> Middleware:
    """Refuse with 429 beyond the limits; 0 means no limit."""
    limiter = RateLimiter(requests_per_minute) if requests_per_minute else None
    running: dict[str, int] = {}

    @web.middleware
    async def limit_rate(request: web.Request, handler: Handler) -> web.StreamResponse:
        call = request[CALL]
        account_id = call.account_id
        assert account_id is not None, "auth comes first"
        if limiter is not None:
            decision = limiter.take(account_id, asyncio.get_running_loop().time())
            call.limit_state = (limiter.limit, decision.remaining, decision.reset_seconds)
            if not decision.allowed:
                instruments.rate_limited.inc()
                raise Refusal(
                    "rate_limit_exceeded",
                    f"more than {limiter.limit} requests a minute; wait as long as Retry-After says",
                    retry_after_seconds=decision.retry_after_seconds,
                )
        if not concurrent_requests:
            return await handler(request)
        at_once = running.get(account_id, 0)
        if at_once >= concurrent_requests:
            instruments.rate_limited.inc()
            raise Refusal(
                "concurrency_limit_exceeded",
                f"more than {concurrent_requests} requests at once; wait for one to end",
                retry_after_seconds=RETRY_WHEN_CROWDED_SECONDS,
            )
        running[account_id] = at_once + 1
        try:
            return await handler(request)
        finally:
            running[account_id] -= 1
            if not running[account_id]:
                del running[account_id]

    return limit_rate
