"""How an answer leaves: as finished bytes, head and body in one write.

aiohttp's responses can do much that an answer of ours never needs (cookies, compression, ranges, payloads of every kind) and
pay for it each time. These write themselves where a caller speaks HTTP/1.1 on a connection that is kept, as API clients do,
and leave everything else to aiohttp: other versions, connections that end with the answer.

Whoever reads too slowly is waited for, and costs no more than asyncio keeps unsent for a connection; whoever has stopped
reading is dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from email.utils import formatdate
from typing import Any, Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion11

from middlewares.call import CALL
from middlewares.headers import Fields, HeadersOf, tell

CLIENT_STALL_SECONDS: Final = 60.0
UNSENT_BYTES: Final = 64 * 1024
"""What asyncio keeps for a caller who reads slowly before it asks us to wait; up to here a write never waits."""
_LAST_CHUNK: Final = b"0\r\n\r\n"


class Delivery(web.StreamResponse):
    """What plain and streamed answers share: their head, and who writes it."""

    def __init__(self, headers_of: HeadersOf, client_stall_seconds: float = CLIENT_STALL_SECONDS) -> None:
        """``client_stall_seconds``: the longest a caller may read nothing while bytes wait for it."""
        super().__init__()
        self._headers_of = headers_of
        self._client_stall_seconds = client_stall_seconds
        self._request: web.BaseRequest | None = None
        """The request this answers by itself; None where aiohttp writes."""
        self._left_to: web.BaseRequest | None = None
        """The request whose answer aiohttp writes."""
        self._head = b""
        """What has not been written yet of the head."""
        self._is_over = False

    @property
    def prepared(self) -> bool:
        """Whether the head has been decided."""
        return self._request is not None or super().prepared

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection stays for another request."""
        decided = super().keep_alive
        return True if decided is None and self._request is not None else decided

    def _begin(self, request: web.BaseRequest, own: Fields) -> bool:
        """Decide the head, with ``own`` fields; whether we write it. If not, the fields are where aiohttp looks for them."""
        fields = own + self._headers_of(request[CALL])
        if request.version == HttpVersion11 and request.keep_alive and super().keep_alive is None:
            self._request = request
            self._head = _head(fields)
            return True
        self._left_to = request
        tell(self.headers, fields)
        return False

    async def _send(self, data: bytes) -> None:
        """Write, and wait while the caller reads too slowly. Raises ConnectionResetError for a caller who has left."""
        request = self._request
        assert request is not None, "prepare() comes first"
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the caller has left")
        if self._head:
            data = self._head + data
            self._head = b""
        transport.write(data)
        if (unsent := transport.get_write_buffer_size()) > UNSENT_BYTES:
            await self._patiently(transport, unsent, request.writer.drain())

    async def _leave_to_aiohttp(self, size: int, sending: Coroutine[Any, Any, None]) -> None:
        """Let aiohttp write ``size`` bytes, within the same bounds."""
        transport = self._left_to.transport if self._left_to is not None else None
        if transport is None or (unsent := transport.get_write_buffer_size() + size) <= UNSENT_BYTES:
            await sending  # There is room, or nobody to wait for.
        else:
            await self._patiently(transport, unsent, sending)

    async def _patiently(self, transport: asyncio.Transport, unsent: int, sending: Coroutine[Any, Any, None]) -> None:
        """Wait for ``sending`` as long as the caller reads any of the ``unsent`` bytes at all. Raises ConnectionResetError
        for one who has left or has stopped reading."""
        # A task that may outlive us: aiohttp lets everybody wait for the same future, and a wait that is given up must not
        # cancel it for whoever writes next.
        task = asyncio.ensure_future(sending)
        while True:
            try:
                async with asyncio.timeout(self._client_stall_seconds):
                    await asyncio.shield(task)
                return
            except TimeoutError:
                left = transport.get_write_buffer_size()
                if left >= unsent:
                    transport.abort()
                    raise ConnectionResetError("the caller has stopped reading") from None
                unsent = left


class PlainAnswer(Delivery):
    """A whole JSON document."""

    def __init__(
        self, document: bytes, headers_of: HeadersOf, client_stall_seconds: float = CLIENT_STALL_SECONDS
    ) -> None:
        super().__init__(headers_of, client_stall_seconds)
        self._document = document

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Called by aiohttp when the whole chain has returned."""
        own = [("Content-Type", "application/json"), ("Content-Length", str(len(self._document)))]
        if self._begin(request, own):
            return None
        return await super().prepare(request)

    async def write_eof(self, data: bytes = b"") -> None:  # noqa: ARG002 - aiohttp's signature
        """The document, with its head."""
        if self._request is None:
            await self._leave_to_aiohttp(len(self._document), super().write_eof(self._document))
        elif not self._is_over:
            self._is_over = True
            await self._send(self._document)


class StreamedAnswer(Delivery):
    """Events, in chunks of their own."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Decide the head; it leaves together with the first bytes."""
        if self.prepared:
            return None
        own = [("X-Accel-Buffering", "no"), ("Content-Type", "text/event-stream")]
        if not self._begin(request, own):
            return await super().prepare(request)
        self._head = self._head[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
        return None

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Pass bytes on, at once."""
        if self._request is None:
            await self._leave_to_aiohttp(len(data), super().write(data))
        elif data:
            await self._send(_chunk(bytes(data)))

    async def write_eof(self, data: bytes = b"") -> None:
        """The last bytes and the end of the stream."""
        if self._request is None:
            await self._leave_to_aiohttp(len(data), super().write_eof(data))
        elif not self._is_over:
            self._is_over = True
            await self._send(_chunk(data) + _LAST_CHUNK if data else _LAST_CHUNK)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class _Clock:
    """The Date header, which changes once a second."""

    second = -1
    text = ""


def _head(fields: Fields) -> bytes:
    """The whole head of a 200. Raises ValueError for a field that would end before its line does."""
    second = int(time.time())
    if second != _Clock.second:
        _Clock.second, _Clock.text = second, formatdate(second, usegmt=True)
    lines = "".join([f"{name}: {text}\r\n" for name, text in fields])
    if not lines.count("\r") == lines.count("\n") == len(fields) or "\0" in lines:
        raise ValueError("a header holds a line end")
    return f"HTTP/1.1 200 OK\r\n{lines}Date: {_Clock.text}\r\n\r\n".encode()
