"""A process that cannot keep up says so at once: new calls get 503 with `Retry-After`, and those under way keep their pace.

It is overloaded when too many calls are under way, when too many jobs wait for the books, or when its event loop has been
late all the time for a while. One late moment is none: the smallest delay of the last few looks counts, so a burst that is
worked off refuses nobody. A refused call costs little; nothing of its body is read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from metrics.instruments import Instruments
from middlewares.errors import Refusal

LOOK_SECONDS: Final = 0.25
LOOKS: Final = 4
"""How many looks in a row must find the loop late."""
RETRY_SECONDS: Final = 1.0
LONGEST_LEDGER_QUEUE: Final = 2_000
"""Jobs that may wait for the books: a fifth of what the ledger's own queue takes, about a second of its work."""


class Overload:
    """Whether this process can take another call."""

    def __init__(self, ledger_queue: Callable[[], int]) -> None:
        """``ledger_queue`` tells how many jobs wait for the books. Nothing is allowed yet."""
        self._most_calls = 0
        self._most_lag_seconds = 0.0
        self._ledger_queue = ledger_queue
        self._lags = deque([0.0] * LOOKS, maxlen=LOOKS)
        self.calls = 0
        """How many are under way."""

    def allow(self, calls: int, lag_seconds: float) -> None:
        """``calls`` may be under way; the loop may be late by ``lag_seconds`` for long."""
        self._most_calls = calls
        self._most_lag_seconds = lag_seconds

    def reason(self) -> str | None:
        """Why no further call can be taken; None if one can."""
        if self.calls >= self._most_calls:
            return "calls"
        if self._ledger_queue() > LONGEST_LEDGER_QUEUE:
            return "ledger"
        return "lag" if self.lag_seconds > self._most_lag_seconds else None

    @property
    def lag_seconds(self) -> float:
        """By how much the loop has been late in each of the last looks."""
        return min(self._lags)

    async def watch(self) -> None:
        """Look again and again how late the loop is."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOK_SECONDS
            await asyncio.sleep(LOOK_SECONDS)
            self._lags.append(loop.time() - due)


def overload(state: Overload, instruments: Instruments) -> Middleware:
    """Refuse what cannot be taken with 503, and count what is under way."""

    @web.middleware
    async def shed(request: web.Request, handler: Handler) -> web.StreamResponse:
        reason = state.reason()
        if reason is not None:
            instruments.shed(reason)
            raise Refusal(
                "overloaded", "this gateway has no capacity left; try again", retry_after_seconds=RETRY_SECONDS
            )
        state.calls += 1
        try:
            return await handler(request)
        finally:
            state.calls -= 1

    return shed
