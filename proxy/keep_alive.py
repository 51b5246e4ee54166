"""Comments for a caller whose provider is silent before its first content, so that nothing on the way takes the connection
for dead.

A comment is the first byte of the answer: its status is 200 from then on, and what goes wrong afterwards can only be told
inside the stream. So none is sent while the provider shows that it is there, by a status line or by comments of its own,
and none before the provider has been silent for a while; whoever fails until then fails with its proper status. Another
provider may still be tried afterwards, because no content has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import web

from providers.sse import comment
from proxy.delivery import StreamedAnswer

KEEP_ALIVE: Final = comment("keep-alive")


class KeepAlive:
    """Watches over one attempt until it is stopped. It costs a timer; only where a provider is silent, a task."""

    def __init__(self, request: web.Request, seconds: float, stream: Callable[[], StreamedAnswer]) -> None:
        """``seconds``: how long a provider may be silent, and how often a comment follows; 0 is never. ``stream`` begins the
        call's answer, or gives the one that has begun."""
        self._request = request
        self._seconds = seconds
        self._stream = stream
        self._loop = loop = asyncio.get_running_loop()
        self._heard_at = loop.time()
        self._timer = loop.call_later(seconds, self._look) if seconds else None
        self._speaker: asyncio.Task[None] | None = None

    def heard(self) -> None:
        """The provider has sent something."""
        self._heard_at = self._loop.time()

    def stop(self) -> None:
        """Content is there, or the attempt is over: not another byte from here."""
        if self._timer is not None:
            self._timer.cancel()
        if self._speaker is not None:
            self._speaker.cancel()

    def _look(self) -> None:
        silent_until = self._heard_at + self._seconds
        if silent_until > self._loop.time():
            self._timer = self._loop.call_at(silent_until, self._look)
        else:
            self._speaker = self._loop.create_task(self._speak())

    async def _speak(self) -> None:
        stream = self._stream()
        try:
            while True:
                await stream.prepare(self._request)
                await stream.write(KEEP_ALIVE)
                await asyncio.sleep(self._seconds)
        except ConnectionError:
            return  # The caller has left; whoever waits for the provider is told by the server.
