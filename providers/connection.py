"""One connection to a provider: requests out, answers in, one after another.

An asyncio protocol around providers/http_answer.py. Used by providers/transport.py alone, which decides when a connection is
made, kept and ended. An answer that nobody reads stops the provider: past a limit nothing more is taken from the socket. And
it is handed over in pieces of a limited size, because whoever passes them on holds each of them several times for a moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from providers.errors import AnswerUnreadable, ConnectionLost, UpstreamError
from providers.http_answer import AnswerParser, MalformedAnswer

GATHERED_LIMIT_BYTES: Final = 64 * 1024
"""Of an answer nobody reads, no more than this (and one read of the socket) is taken from the provider."""
PIECE_LIMIT_BYTES: Final = 64 * 1024
"""The most that is handed over at once."""


class Connection(asyncio.Protocol):
    """At most one request at a time; its answer is gathered as it comes."""

    def __init__(self, gone: Callable[[Connection], None]) -> None:
        """``gone`` is told when the connection has ended."""
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: AnswerParser | None = None
        self._pieces: list[bytes] = []
        self._gathered = 0
        self._is_paused = False
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the connection stands."""
        # A cast and not an assertion: the transports of other event loops are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes have come."""
        parser = self._parser
        if parser is None or parser.ended:
            self.abort()  # Bytes that nobody asked for: whatever they are, they are not the next answer.
            return
        try:
            body = parser.feed(data)
        except MalformedAnswer as error:
            self._fail(AnswerUnreadable(str(error)))
            self.abort()
            return
        if body:
            self._pieces.append(body)
            self._gathered += len(body)
            if self._gathered > GATHERED_LIMIT_BYTES and not self._is_paused and self._transport is not None:
                self._is_paused = True
                self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the connection is gone."""
        self._transport = None
        self._gone(self)
        if self._parser is not None and exc is None:
            self._parser.feed_eof()
        self._cut()
        self._wake()

    def send(self, request: bytes) -> None:
        """Write one request and expect its answer."""
        self._parser = AnswerParser()
        self._error = None
        if self._transport is None or self._transport.is_closing():
            self._fail(ConnectionLost("the connection to the provider was lost before it answered"))
            return
        self._transport.write(request)

    async def head(self) -> None:
        """Wait for status and headers."""
        parser = self.answer()
        while not parser.status:
            if self._error is not None:
                raise self._error
            await self._wait()

    def answer(self) -> AnswerParser:
        """The head of the answer that has arrived."""
        assert self._parser is not None, "send() comes first"
        return self._parser

    async def read_some(self) -> bytes:
        """The body bytes gathered so far, at least one, up to the limit of a piece; empty at the end."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._parser is None or self._parser.ended:
                return b""
            await self._wait()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        if self._gathered <= PIECE_LIMIT_BYTES:
            self._forget()
            return data
        self._gathered -= PIECE_LIMIT_BYTES
        self._pieces = [data[PIECE_LIMIT_BYTES:]]
        if self._gathered <= GATHERED_LIMIT_BYTES:
            self._read_on()
        return data[:PIECE_LIMIT_BYTES]

    def has_ended(self) -> bool:
        """Whether the whole answer has been read or nothing more can come."""
        return self._error is not None or self._parser is None or self._parser.ended

    def is_alive(self) -> bool:
        """Whether a request can be written."""
        return self._transport is not None and not self._transport.is_closing()

    def is_reusable(self) -> bool:
        """Whether the answer has ended in a way that leaves the connection good for another."""
        parser = self._parser
        return parser is not None and parser.ended and parser.reusable and self._error is None and self.is_alive()

    def rest(self) -> float:
        """Wait for the next request; now, on the loop's clock."""
        self._parser = None
        self._forget()
        self.idle_since = self._loop.time()
        return self.idle_since

    def abort(self) -> None:
        """End the connection at once, and with it whatever the provider is doing for us."""
        self._cut()  # What we end ourselves must not look like the end of an answer that lasts until the connection's.
        if self._transport is not None:
            self._transport.abort()

    def _forget(self) -> None:
        """Nothing is gathered any more, so more can be taken from the provider."""
        self._pieces.clear()
        self._gathered = 0
        self._read_on()

    def _read_on(self) -> None:
        """Take from the provider again, if that was stopped."""
        transport = self._transport
        if self._is_paused and transport is not None and not transport.is_closing():
            self._is_paused = False
            transport.resume_reading()

    async def _wait(self) -> None:
        """Until something has come, or the connection is gone."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _cut(self) -> None:
        """The connection is at its end: an answer that is not has failed."""
        if self._parser is None or self._parser.ended:
            return
        if self._parser.touched:
            self._fail(AnswerUnreadable("the answer was cut off"))
        else:
            self._fail(ConnectionLost("the connection to the provider was lost before it answered"))

    def _fail(self, error: UpstreamError) -> None:
        if self._error is None:
            self._error = error
        self._wake()
