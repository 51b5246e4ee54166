"""The strict front of the public port: one connection of a stranger, who may be slow, broken or hostile.

aiohttp's parser is the first line; it refuses whatever two readers could understand in two ways (two lengths, a length
beside chunks, bare line feeds, folded lines). What it lets pass and we do not is judged here, message by message. Whoever is
refused gets JSON as everybody does, and the connection ends: nothing that stands behind a refused message is ever looked at.

Deadlines are ours as well: a head has to be there in time, and a body that breaks is not waited for.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from aiohttp.http import HttpVersion10, HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError, _ErrInfo
from aiohttp.web_server import Server

from middlewares.correlate import new_call
from middlewares.errors import CODES, Problem, error_response
from middlewares.headers import HeadersOf, tell

logger = logging.getLogger("find-token.front")

LINE_LIMIT_BYTES: Final = 16_384
"""The longest request line, and the longest header."""
HEAD_LIMIT_BYTES: Final = 65_536
"""All of a head together."""
HEADERS_LIMIT: Final = 100
BUSY_SECONDS: Final = 1.0
"""What a caller is told to wait for whom there was no connection left."""

_HEAD_TOO_LARGE: Final = (
    f"a request may have {HEADERS_LIMIT} headers, no line above {LINE_LIMIT_BYTES} bytes, "
    f"and a head of {HEAD_LIMIT_BYTES} bytes in all"
)
_REFUSED_METHODS: Final = frozenset({"TRACE", "CONNECT"})
_HOST: Final = re.compile(r"[A-Za-z0-9._~%!$&'()*+,;=-]*(:\d{0,5})?|\[[0-9A-Fa-f:.]+\](:\d{0,5})?")
LATELY_SECONDS: Final = 1.0
"""For so long after a connection came, the next one may be on its way."""
LINGER_SECONDS: Final = 1.0
"""How long what a refused caller still sends is read and dropped: closing at once would reset the connection, and the answer
with it."""


@dataclass(slots=True)
class Front:
    """What all connections of the public port share."""

    header_timeout_seconds: float
    most_connections: int
    headers_of: HeadersOf
    on_refused: Callable[[str], None]
    """Told why, for every connection or message that is refused here."""
    connections: int = 0
    last_came_at: float = float("-inf")
    """When a connection was last made, on the loop's clock."""

    def expects_calls(self, now: float) -> bool:
        """Whether somebody may be on the way here: connections are open, or one came a moment ago."""
        return self.connections > 0 or now - self.last_came_at < LATELY_SECONDS


class Malformed(Exception):
    """A message that is no HTTP/1.1 as we take it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def fault_in(message: RawRequestMessage) -> Malformed | None:
    """What is wrong with a message that the parser has let pass; None in nearly every case."""
    headers = message.headers
    if not message.path.startswith("/") or "#" in message.path:
        return Malformed("invalid_value", "the request line must name a path that begins with /")
    if message.method in _REFUSED_METHODS:
        return Malformed("method_not_allowed", f"{message.method} is not taken here")
    if message.version is not HttpVersion11 and message.version is not HttpVersion10:
        return Malformed("invalid_value", "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if message.chunked and (
        message.version is not HttpVersion11 or headers.getall("Transfer-Encoding", [])[0].lower() != "chunked"
    ):
        return Malformed("invalid_value", "Transfer-Encoding may only be chunked, in HTTP/1.1")
    if not message.chunked and "Transfer-Encoding" in headers:
        return Malformed("invalid_value", "Transfer-Encoding may only be chunked")
    if not _HOST.fullmatch(headers.get("Host", "")):
        return Malformed("invalid_value", "the Host header is no host")
    if "Expect" in headers and headers["Expect"].lower() != "100-continue":
        return Malformed("invalid_value", "Expect may only be 100-continue")
    return None


def _size_fault(message: RawRequestMessage) -> Malformed | None:
    size = sum(len(name) + len(value) + 4 for name, value in message.raw_headers)
    return Malformed("head_too_large", _HEAD_TOO_LARGE) if size > HEAD_LIMIT_BYTES else None


class FrontHandler(RequestHandler):
    """One connection."""

    __slots__ = ("_head_bytes", "_head_timer", "_last_body", "_refused", "front")

    def __init__(self, front: Front, manager: Server, **settings: Any) -> None:
        super().__init__(manager, **settings)
        self.front = front
        self._head_timer: asyncio.TimerHandle | None = None
        """Runs while a head is awaited that has begun, or the first of all."""
        self._head_bytes = 0
        self._last_body: StreamReader = EMPTY_PAYLOAD
        """The body of the message that came last; until it is whole, what comes belongs to it."""
        self._refused = False
        """Whether nothing is read any more."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, unless there are too many."""
        self.front.connections += 1
        self.front.last_came_at = self._loop.time()
        super().connection_made(transport)
        if self.front.connections > self.front.most_connections:
            self._refuse("overloaded", "too many connections are open; try again")
        else:
            self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nothing is awaited any more."""
        self.front.connections -= 1
        self._stop_timer()
        super().connection_lost(exc)

    def give_up(self) -> None:
        """Cut off the call that is being served."""
        if self._task_handler is not None:
            self._task_handler.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse, then judge what the parser found."""
        if self._refused:
            return
        count = self._request_count
        between = self._last_body.is_eof()
        super().data_received(data)
        if self._request_count != count:
            self._judge(self._request_count - count, len(data))
        elif between and data:
            self._head_goes_on(len(data))

    def _judge(self, new: int, size: int) -> None:
        """Look at the messages that have just come; the first that is wrong is the last that is looked at."""
        if self._head_timer is not None:
            self._stop_timer()
        large = self._head_bytes + size > HEAD_LIMIT_BYTES
        self._head_bytes = 0
        messages = self._messages
        for place in range(len(messages) - new, len(messages)):
            message, body = messages[place]
            if isinstance(message, RawRequestMessage):
                fault = fault_in(message) or (_size_fault(message) if large else None)
                if fault is None:
                    self._last_body = body
                    if message.upgrade:
                        # Clients that offer HTTP/2 are served in HTTP/1.1; the parser cannot go on behind an offer.
                        messages[place] = (message._replace(should_close=True), body)
                    continue
                messages[place] = (_ErrInfo(CODES[fault.code][0], fault, fault.message), EMPTY_PAYLOAD)
            elif not self._last_body.is_eof():
                messages.pop()
                self._break_body()
            self._refused = True
            while len(messages) > place + 1:
                messages.pop()
            return

    def _break_body(self) -> None:
        """What came last is no body of the message before: whoever reads it is told, his answer is the last one."""
        if self._request_in_progress or self._messages:
            self._last_body.set_exception(RequestPayloadError("the body is malformed"))
        self._last_body.feed_eof()
        self._close = True

    def _head_goes_on(self, size: int) -> None:
        """A head has begun and is not whole: it has a deadline and a limit."""
        self._head_bytes += size
        if self._head_bytes > HEAD_LIMIT_BYTES:
            self._refuse("head_too_large", _HEAD_TOO_LARGE)
        elif self._head_timer is None:
            self._await_head()

    def _await_head(self) -> None:
        self._head_timer = self._loop.call_later(self.front.header_timeout_seconds, self._head_is_late)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._request_in_progress or self._messages:
            # An answer is on its way to a caller who has begun another request: it is the last one.
            self._refused = True
            self.close()
        elif self._head_bytes:
            seconds = self.front.header_timeout_seconds
            self._refuse("request_timeout", f"the head of the request did not arrive within {seconds:g} seconds")
        else:
            self.force_close()

    def _refuse(self, code: str, message: str) -> None:
        """Answer without a request, and end the connection."""
        self._refused = True
        self._stop_timer()
        self._messages.clear()
        self._request_count += 1
        self._messages.append((_ErrInfo(CODES[code][0], Malformed(code, message), message), EMPTY_PAYLOAD))
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The contract's JSON instead of aiohttp's text, a line in the log instead of a trace of ours."""
        if isinstance(exc, Malformed):
            code, sentence = exc.code, exc.message
        elif isinstance(exc, LineTooLong) or (message or "").startswith("Too many headers"):
            code, sentence = "head_too_large", _HEAD_TOO_LARGE
        elif status < 500:
            code, sentence = "invalid_value", "this is not HTTP/1.1 as it is written"
        else:
            logger.error("a request could not be answered", exc_info=exc)
            code, sentence = "server_error", "something went wrong on our side; it was logged"
        self.front.on_refused(code)
        logger.debug("refused a message of %s: %s", request.remote, sentence)
        return LastAnswer(self, code, sentence)


class LastAnswer(web.Response):
    """The answer to a message that is refused, behind which the connection ends."""

    def __init__(self, connection: FrontHandler, code: str, sentence: str) -> None:
        status, kind = CODES[code]
        call = new_call()
        retry_after = BUSY_SECONDS if status == 503 else None
        told = error_response(Problem(status, kind, code, sentence, retry_after_seconds=retry_after), call)
        super().__init__(status=status, body=told.body, headers=told.headers)
        tell(self.headers, connection.front.headers_of(call))
        self.force_close()
        # aiohttp takes a message that it cannot read for one of HTTP/1.0, and would say nothing of the end.
        self.headers["Connection"] = "close"
        self._connection = connection

    async def write_eof(self, data: bytes = b"") -> None:
        """Say that nothing follows, and hear the caller out for a moment, until he hangs up."""
        await super().write_eof(data)
        transport = self._connection.transport
        if transport is not None and not transport.is_closing():
            if transport.can_write_eof():
                transport.write_eof()
            await asyncio.sleep(LINGER_SECONDS)


class FrontServer(Server):
    """Makes a `FrontHandler` for every connection."""

    def __init__(self, front: Front, made: Server, loop: asyncio.AbstractEventLoop) -> None:
        """``made`` is what aiohttp's application made for itself: the same answers, behind another front."""
        super().__init__(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=loop,
            **made._kwargs,
        )
        self._front = front

    def __call__(self) -> FrontHandler:
        """A new connection."""
        return FrontHandler(self._front, self, loop=self._loop, **self._kwargs)


class FrontRunner(web.AppRunner):
    """An application behind the strict front."""

    __slots__ = ("_front",)

    def __init__(self, application: web.Application, front: Front, **settings: Any) -> None:
        super().__init__(application, **settings)
        self._front = front

    async def _make_server(self) -> Server:
        return FrontServer(self._front, await super()._make_server(), asyncio.get_running_loop())
