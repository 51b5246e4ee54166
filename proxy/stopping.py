"""The end of calls that last longer than a process that is told to stop waits for them: told, settled, and then closed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from aiohttp import web

from middlewares.errors import Refusal
from proxy.front import FrontHandler

SETTLE_SECONDS: Final = 3.0
"""How long streams that are ended may take to be settled and tell it; then whoever is still being served is cut off."""


class OpenStreams:
    """The streams of a process, each by the timer that bounds its silence: what ends it early is that its time is over."""

    def __init__(self) -> None:
        self.are_ended = False
        """Whether streams end because the process does."""
        self._timers: set[asyncio.Timeout] = set()

    @contextmanager
    def with_one(self, timer: asyncio.Timeout) -> Iterator[None]:
        """One more is under way; it ends at once where all have been ended."""
        self._timers.add(timer)
        try:
            if self.are_ended:
                timer.reschedule(0)
            yield
        finally:
            self._timers.discard(timer)

    def end(self) -> None:
        """End all that are under way, and all that come."""
        self.are_ended = True
        for timer in self._timers:
            if not timer.expired():
                timer.reschedule(0)


def stopped() -> Refusal:
    """What a stream tells that is ended with its process."""
    message = "the gateway stops and could wait no longer; what has come until here is charged, the rest is not"
    return Refusal("overloaded", message)


async def close_runners(
    runners: Sequence[web.AppRunner], streams: OpenStreams, seconds: float, at_once: asyncio.Event
) -> None:
    """Accept nothing new, and wait for the calls that are being served. When they have had so long to end by themselves, or
    ``at_once`` is set, streams are ended, and a little later whoever is still there is cut off."""
    ending = asyncio.create_task(_end_calls(runners, streams, seconds, at_once))
    try:
        for runner in runners:
            await runner.cleanup()
    finally:
        ending.cancel()


async def _end_calls(
    runners: Sequence[web.AppRunner], streams: OpenStreams, seconds: float, at_once: asyncio.Event
) -> None:
    # aiohttp by itself would cut off streams without a word, and only when the time has passed twice.
    connections = [one for runner in runners if runner.server for one in runner.server.connections]
    with suppress(TimeoutError):
        await asyncio.wait_for(at_once.wait(), seconds)
    streams.end()
    await asyncio.sleep(SETTLE_SECONDS)
    for connection in connections:
        if isinstance(connection, FrontHandler):
            connection.give_up()
