"""The only door to the network on the way to a provider: one method, behind which the means may change.

`Transport.open` sends one request and returns once the status and headers of the answer are there. Whoever opens an
answer closes it. What goes wrong on the way is raised in the words of providers/errors.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

import aiohttp

from providers.errors import AnswerUnreadable, ConnectionLost, UpstreamError, UpstreamTimedOut, UpstreamUnreachable

ANSWER_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""The largest plain answer that is read into memory."""
ERROR_LIMIT_BYTES: Final = 64 * 1024
"""Of an error body no more than this is read."""
CONNECT_SECONDS: Final = 8.0
"""How long a connection may take to be made, TLS included."""
END_SECONDS: Final = 0.05
"""How long a provider that has said its last word may take to end its answer, so that its connection can be used again."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One request to an upstream."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class UpstreamAnswer(Protocol):
    """An answer whose head has arrived. Closing it before its end aborts it upstream."""

    status: int
    headers: Mapping[str, str]

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


class AiohttpTransport:
    """One pooled aiohttp ClientSession. It follows no redirect, keeps no cookie and sets no limit of time but on connecting:
    the time an attempt may take is the caller's to limit."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Make the session; needs the running loop."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60, ttl_dns_cache=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            read_bufsize=2**18,
            max_line_size=16_384,
            max_field_size=65_536,
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def open(self, outgoing: Outgoing) -> UpstreamAnswer:
        """Send, and wait for the head of the answer."""
        assert self._session is not None, "start() comes first"
        try:
            response = await self._session.post(
                outgoing.url, data=outgoing.body, headers=outgoing.headers, allow_redirects=False
            )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _translated(error) from error
        return _AiohttpAnswer(response)


class _AiohttpAnswer:
    """An aiohttp response as an UpstreamAnswer."""

    __slots__ = ("_content", "_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._content = response.content
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self, limit_bytes: int = ANSWER_LIMIT_BYTES) -> bytes:
        parts: list[bytes] = []
        size = 0
        while part := await self.read_some():
            parts.append(part)
            size += len(part)
            if size > limit_bytes:
                raise AnswerUnreadable(f"the answer is larger than {limit_bytes} bytes")
        return b"".join(parts)

    async def read_some(self) -> bytes:
        try:
            return await self._content.readany()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise AnswerUnreadable("the answer was cut off") from error

    async def end(self) -> None:
        if self._content.at_eof():
            return
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._content.readany()
        except (TimeoutError, aiohttp.ClientError, OSError):
            return

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Releases the connection for the next request if the answer was read to its end, and closes it if not.
        if self._content.at_eof():
            self._response.release()
        else:
            self._response.close()


def _translated(error: Exception) -> UpstreamError:
    """What an error of the client library means for the request: did it arrive or not?"""
    if isinstance(
        error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL, ValueError)
    ):
        return UpstreamUnreachable("no connection to the provider could be made")
    if isinstance(error, TimeoutError):
        return UpstreamTimedOut("the provider did not answer in time")
    if isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        return ConnectionLost("the connection to the provider was lost before it answered")
    return AnswerUnreadable("the provider's answer is not HTTP that we can read")
