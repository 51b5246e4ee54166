"""A request whose answer goes into a recording instead of to its caller's connection, so that it can outlive the caller.

What stands further in notices nothing: it is given a request of aiohttp's that has no connection to keep, so answers are
written through aiohttp's own interface for whoever transports them (`AbstractStreamWriter`), and that one writes the recording.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from middlewares.recording import Broken, Head, Recording
from providers.sse import EventReader, data_of

# What belongs to one connection or one request and is not told to whoever reads the answer later.
_NOT_RECORDED: Final = frozenset(
    {
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "transfer-encoding",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
    }
)


class Recorder(AbstractStreamWriter):
    """Writes an answer into a recording, with a number for each event where ``numbered``."""

    def __init__(self, recording: Recording, *, numbered: bool) -> None:
        self._recording = recording
        self._events = EventReader() if numbered else None

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        """The head is known."""
        told = tuple((name, text) for name, text in headers.items() if name.lower() not in _NOT_RECORDED)
        streamed = "Content-Length" not in headers
        if not streamed:
            self._events = None
        self._recording.begin(Head(int(status_line.split()[1]), told, streamed))

    async def write(self, chunk: Any) -> None:
        """Bytes of the answer."""
        if not chunk:
            return
        if self._events is None:
            await self._recording.write(bytes(chunk))
            return
        comments = b""
        for event in self._events.feed(bytes(chunk)):
            number = self._recording.tape.last_event + 1
            if data_of(event):
                await self._recording.write(comments + with_id(event, number), is_event=True)
                comments = b""
            elif number > 1 and (lines := comment_lines(event)) is not None:
                comments += lines
            else:
                await self._recording.write(event)
        if comments:
            await self._recording.write(comments)

    async def write_eof(self, chunk: bytes = b"") -> None:
        """The last bytes of the answer."""
        await self.write(chunk)
        if self._events is not None and (rest := self._events.rest()):
            await self._recording.write(rest)

    async def drain(self) -> None:
        """`write` waits where it must."""

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        """Answers of ours are never compressed."""
        raise NotImplementedError

    def enable_chunking(self) -> None:
        """Whoever reads the recording frames it for its own connection."""


def with_id(event: bytes, number: int) -> bytes:
    """The event with an `id:` line of ours before the blank line that ends it: the last such line is the one that counts."""
    line_end = b"\r\n" if event.endswith(b"\r\n") else event[-1:]
    return b"%bid: %d%b%b" % (event[: -len(line_end)], number, line_end, line_end)


def comment_lines(event: bytes) -> bytes | None:
    """The lines of a comment, without the blank line behind them; None for anything else.

    A blank line that ends nothing but a comment means nothing, but OpenAI's Python client, once it has seen an id, takes it for
    the end of an event and fails on that event's empty data. So in numbered streams comments are the first lines of the event
    that follows them.
    """
    lines = [line for line in event.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n") if line]
    if not all(line.startswith(b":") for line in lines):
        return None
    return b"".join(line + b"\n" for line in lines)


class _Nowhere(asyncio.Transport):
    """What a detached request has in the place of a connection."""

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self._recording = recording
        self._closing = False

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        """Something where a write may have to wait for readers, so that whoever writes sets itself a limit."""
        return 0 if self._recording.is_whole else self._recording.tape.size_bytes + 1

    def abort(self) -> None:
        self._closing = True

    def close(self) -> None:
        self._closing = True


class Detached(web.Request):
    """``request`` again, with the same facts, answered into a recording."""

    ATTRS = web.Request.ATTRS | frozenset({"_nowhere"})

    def __init__(self, request: web.Request, recording: Recording, *, numbered: bool) -> None:
        super().__init__(
            request._message,
            request.content,
            request.protocol,
            Recorder(recording, numbered=numbered),
            request.task,
            asyncio.get_running_loop(),
            state=dict(request.items()),
        )
        self._match_info = request._match_info
        self._nowhere = _Nowhere(recording)

    @property
    def keep_alive(self) -> bool:
        """There is no connection to keep, so nobody writes to one past aiohttp."""
        return False

    @property
    def transport(self) -> asyncio.Transport:
        """Never gone: who has no caller any more is told by being cancelled."""
        return self._nowhere


async def record(
    request: web.Request,
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    recording: Recording,
    *,
    numbered: bool,
) -> web.StreamResponse:
    """Have ``handler`` answer ``request`` into the recording; ending it is the caller's. Raises what ``handler`` raises, and
    Broken for an answer that was given up in the middle."""
    detached = Detached(request, recording, numbered=numbered)
    response = await handler(detached)
    if detached.transport.is_closing():
        raise Broken
    await response.prepare(detached)
    await response.write_eof()
    return response
