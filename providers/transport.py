"""The only door to the network on the way to a provider: one method, behind which the means may change.

`Transport.open` sends one request and returns once the status and headers of the answer are there. Whoever opens an
answer closes it. What goes wrong on the way is raised in the words of providers/errors.py.

The means is a pool of plain asyncio connections and not an HTTP client library: a general client costs more per request
than everything else a gateway does (docs/decisions/0004-transport-seam.md has the figures). It speaks HTTP/1.1 over TCP or
TLS, sends a request in one write, follows no redirect, keeps no cookie, uses no proxy, and limits no time but that of
connecting: how long an attempt may take is the caller's to limit.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import zlib
from collections import deque
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Protocol, Self
from urllib.parse import urlsplit

from aiohappyeyeballs import start_connection

from billing.values import value
from providers.connection import GATHERED_LIMIT_BYTES, Connection
from providers.errors import AnswerUnreadable, UpstreamError, UpstreamUnreachable

ANSWER_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""The largest plain answer that is read into memory."""
ERROR_LIMIT_BYTES: Final = 64 * 1024
"""Of an error body no more than this is read."""
CONNECT_SECONDS: Final = 8.0
"""How long a connection may take to be made, TLS included."""
RACE_SECONDS: Final = 0.25
"""How long one address of a provider may take before the next one is tried beside it (RFC 8305)."""
IDLE_SECONDS: Final = 45.0
"""How long a connection is kept without a request; then it is closed. Whatever stands between us and the provider may forget
it without a word after a minute, and a burst of calls leaves many."""
IDLE_LIMIT: Final = 512
"""How many connections to one provider are kept without a request."""
TARGETS_REMEMBERED: Final = 1000
END_SECONDS: Final = 0.05
"""How long a provider that has said its last word may take to end its answer, so that its connection can be used again."""
LATE_SECONDS: Final = 0.25
"""Where a time limit ends later than it should by this much, it is this process that was late."""
INTERRUPTED_SECONDS: Final = 0.05
"""How long an answer is still read when whoever waits for it is cancelled: long enough for what the provider has sent."""


@value
class Outgoing:
    """One request to an upstream."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"
    """POST, or GET for what has no body and costs nothing."""


class UpstreamAnswer(Protocol):
    """An answer whose head has arrived. Closing it before its end aborts it upstream."""

    status: int
    headers: Mapping[str, str]
    interrupted: bool
    """Whether whoever waits was cancelled and has the answer all the same, because it had come in that moment: what it cost
    is then known, and the cancellation is theirs to carry out. Set by opening, and by reading all."""

    async def read(self, limit_bytes: int = ANSWER_LIMIT_BYTES) -> bytes:
        """The whole body. Raises AnswerUnreadable where it is cut, or larger than the limit."""
        ...

    async def read_some(self) -> bytes:
        """The bytes that have arrived, at least one; empty at the end. Raises AnswerUnreadable where the body is cut."""
        ...

    async def end(self) -> None:
        """Nothing more is wanted: give the upstream a moment to end its answer."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Transport(Protocol):
    """Sends requests to providers."""

    async def open(self, outgoing: Outgoing) -> UpstreamAnswer:
        """Send, and wait for the head of the answer. Raises UpstreamUnreachable, UpstreamTimedOut or AnswerUnreadable."""
        ...


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a URL leads, worked out once."""

    host: str
    port: int
    tls: bool
    request_head: bytes
    """Request line and Host header."""


class PooledTransport:
    """HTTP/1.1 connections, kept for the next request after a complete answer."""

    def __init__(self) -> None:
        self._targets: dict[tuple[str, str], _Target] = {}
        self._idle: dict[tuple[str, int, bool], deque[Connection]] = {}
        self._open: set[Connection] = set()
        self._tls_context: ssl.SSLContext | None = None
        self._closed = True
        self._clearing: asyncio.TimerHandle | None = None
        """When idle connections are looked at next; None while there are none."""

    async def start(self) -> None:
        """Ready to open; needs the running loop."""
        self._closed = False

    async def close(self) -> None:
        """Close every connection, those in use as well."""
        self._closed = True
        for connection in list(self._open):
            connection.abort()
        self._idle.clear()
        if self._clearing is not None:
            self._clearing.cancel()
            self._clearing = None

    async def open(self, outgoing: Outgoing) -> UpstreamAnswer:
        """Send, and wait for the head of the answer."""
        if self._closed:
            raise UpstreamUnreachable("the gateway is stopping")
        target = self._targets.get((outgoing.method, outgoing.url)) or self._learn(outgoing.method, outgoing.url)
        connection = self._take(target) or await self._connect(target)
        interrupted = False
        try:
            connection.send(_request(target, outgoing))
            try:
                await connection.head()
            except asyncio.CancelledError:
                await _or_cancelled(connection.head())
                interrupted = True
            return _Answer(self, target, connection, interrupted)
        except BaseException:
            connection.abort()
            raise

    def release(self, target: _Target, connection: Connection) -> None:
        """Keep the connection for the next request if its answer was read to the end, else end it and the answer."""
        if not connection.is_reusable() or self._closed:
            connection.abort()
            return
        idle = self._idle.setdefault((target.host, target.port, target.tls), deque())
        now = connection.rest()
        idle.append(connection)
        while idle and (len(idle) > IDLE_LIMIT or now - idle[0].idle_since > IDLE_SECONDS):
            idle.popleft().abort()
        if self._clearing is None:
            self._clearing = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._clear)

    def _clear(self) -> None:
        """Close what nobody has used for too long, and look again when the next one is due."""
        loop = asyncio.get_running_loop()
        self._clearing, oldest = None, loop.time() - IDLE_SECONDS
        for idle in self._idle.values():
            while idle and idle[0].idle_since <= oldest:
                idle.popleft().abort()
        left = [idle[0].idle_since for idle in self._idle.values() if idle]
        if left:
            self._clearing = loop.call_at(min(left) + IDLE_SECONDS, self._clear)

    def _take(self, target: _Target) -> Connection | None:
        """The connection used last, since it is the least likely to have been closed at the other end."""
        idle = self._idle.get((target.host, target.port, target.tls))
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        while idle:
            connection = idle.pop()
            if connection.is_alive() and connection.idle_since >= oldest:
                return connection
            connection.abort()
        return None

    async def _connect(self, target: _Target) -> Connection:
        context, loop = self._context() if target.tls else None, asyncio.get_running_loop()
        until = loop.time() + CONNECT_SECONDS
        try:
            async with asyncio.timeout_at(until):
                found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
                # asyncio's own race between addresses loses a socket where it is cancelled as that connects.
                connected = await start_connection(found, happy_eyeballs_delay=RACE_SECONDS)
                _, connection = await loop.create_connection(
                    lambda: Connection(self._open.discard),
                    sock=connected,
                    ssl=context,
                    server_hostname=target.host if target.tls else None,
                )
        except (OSError, TimeoutError, UnicodeError) as error:
            # No name, no route, refused, no valid certificate, or none of it in time: nothing was sent.
            late = isinstance(error, TimeoutError) and was_late(until)
            raise UpstreamUnreachable("no connection to the provider could be made", heard_late=late) from error
        if self._closed:
            connection.abort()
            raise UpstreamUnreachable("the gateway is stopping")
        self._open.add(connection)
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls_context is None:
            self._tls_context = ssl.create_default_context()
            self._tls_context.set_alpn_protocols(["http/1.1"])
        return self._tls_context

    def _learn(self, method: str, url: str) -> _Target:
        """Take a URL apart; there are two for each provider in the catalogue."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise UpstreamUnreachable("the provider's address is not an http or https URL") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or not all("!" <= sign <= "~" for sign in url):
            raise UpstreamUnreachable("the provider's address is not an http or https URL")
        tls = parts.scheme == "https"
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        if port is not None:
            host = f"{host}:{port}"
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: identity\r\nUser-Agent: find-token\r\n".encode()
        target = _Target(parts.hostname, port or (443 if tls else 80), tls, head)
        if len(self._targets) >= TARGETS_REMEMBERED:
            self._targets.clear()
        self._targets[method, url] = target
        return target


class _Answer:
    """An answer on a pooled connection."""

    __slots__ = ("_connection", "_decoder", "_pool", "_target", "_undecoded", "headers", "interrupted", "status")

    def __init__(self, pool: PooledTransport, target: _Target, connection: Connection, interrupted: bool) -> None:
        self.interrupted = interrupted
        parser = connection.answer()
        self.status = parser.status
        self.headers: Mapping[str, str] = parser.headers
        self._pool = pool
        self._target = target
        self._connection = connection
        self._decoder = _decoder(parser.headers.get("Content-Encoding", "identity"))
        self._undecoded = b""

    async def read(self, limit_bytes: int = ANSWER_LIMIT_BYTES) -> bytes:
        parts: list[bytes] = []
        try:
            if not self.interrupted:
                await self._gather(parts, limit_bytes)
        except asyncio.CancelledError:
            self.interrupted = True
        if self.interrupted:
            await _or_cancelled(self._gather(parts, limit_bytes))
        return b"".join(parts)

    async def _gather(self, parts: list[bytes], limit_bytes: int) -> None:
        """Read to the end, into ``parts``."""
        size = sum(map(len, parts))
        while part := await self.read_some():
            parts.append(part)
            size += len(part)
            if size > limit_bytes:
                raise AnswerUnreadable(f"the answer is larger than {limit_bytes} bytes")

    async def read_some(self) -> bytes:
        if self._decoder is None:
            return await self._connection.read_some()
        while True:
            raw = self._undecoded or await self._connection.read_some()
            if not raw:
                if not self._decoder.eof:
                    raise AnswerUnreadable("the compressed answer was cut off")
                return b""
            try:
                data = self._decoder.decompress(raw, GATHERED_LIMIT_BYTES)
            except zlib.error as error:
                raise AnswerUnreadable("the answer is compressed in a way that we cannot read") from error
            if self._decoder.unused_data:
                raise AnswerUnreadable("something follows the compressed answer")
            self._undecoded = self._decoder.unconsumed_tail
            if data:
                return data

    async def end(self) -> None:
        if self._connection.has_ended():
            return
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._connection.read_some()
        except (TimeoutError, UpstreamError):
            return

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.release(self._target, self._connection)


def was_late(until: float) -> bool:
    """Whether a wait that was to end at ``until``, on the loop's clock, has ended so late that this process is to blame: its
    loop had no time, so what a provider sent meanwhile was not heard."""
    return asyncio.get_running_loop().time() - until > LATE_SECONDS


async def _or_cancelled(waiting: Coroutine[Any, Any, None]) -> None:
    """For whoever has been cancelled: wait a last moment. Raises the CancelledError that was put off if that brings nothing."""
    try:
        async with asyncio.timeout(INTERRUPTED_SECONDS):
            await waiting
    except (TimeoutError, UpstreamError):
        raise asyncio.CancelledError from None


def _request(target: _Target, outgoing: Outgoing) -> bytes:
    """The whole request in one piece. Raises ValueError for a header that would end before its line does."""
    headers = outgoing.headers
    lines = "".join([f"{name}: {text}\r\n" for name, text in headers.items()])
    if not lines.count("\r") == lines.count("\n") == len(headers) or "\0" in lines:
        raise ValueError("a header for the provider holds a line end")
    length = b"\r\n" if outgoing.method == "GET" else b"Content-Length: %d\r\n\r\n" % len(outgoing.body)
    return target.request_head + lines.encode("latin-1", "replace") + length + outgoing.body


def _decoder(encoding: str) -> zlib._Decompress | None:
    """For providers that compress although they were asked not to. Raises AnswerUnreadable for what we cannot read."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding in ("gzip", "x-gzip", "deflate"):
        return zlib.decompressobj(zlib.MAX_WBITS | 32)
    raise AnswerUnreadable("the answer is compressed in a way that we cannot read")
