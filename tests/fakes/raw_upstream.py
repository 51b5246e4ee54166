"""An upstream of raw sockets: it sends exactly the bytes it is told, when it is told, and ends as it is told.

For exact usage, exact bytes and exact breaks, which the simulator does not offer. Every request it receives is kept, head
and body, with whether the caller left before the answer was over. Questions that cost nothing (GET) are kept apart, in
`listings`, and answered by `listing`.

An answer is a sequence of steps: bytes are sent, a number is a pause in seconds, an `asyncio.Event` is waited for, FIN, RST
and HANG end the connection or leave it hanging. An answer without an ending leaves the connection open for the next request.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Self

USAGE: Mapping[str, int] = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
"""What `as_asked` reports unless told otherwise; at 0.14/0.28 with 5.5 % fee it costs 0.00029540 USD."""


class End(Enum):
    """How an answer ends where it does not simply stop sending."""

    FIN = "the connection is closed"
    RST = "the connection is reset"
    HANG = "nothing more comes, and the connection stays open"


FIN, RST, HANG = End.FIN, End.RST, End.HANG

Step = bytes | float | asyncio.Event | End
Answer = Sequence[Step]


@dataclass(slots=True)
class Received:
    """One request as it came over the wire."""

    head: bytes
    body: bytes
    connection: int
    """Which of the upstream's connections brought it, counted from 1."""
    arrived_at: float
    """On the event loop's clock."""
    caller_left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the caller closed the connection before the answer was over."""
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when every step of the answer was carried out."""

    @property
    def headers(self) -> dict[str, str]:
        """The headers, names in lower case."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}

    @property
    def json(self) -> dict[str, Any]:
        """The body, parsed."""
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


class RawUpstream:
    """The upstream: give it answers with `next`, look at what it received in `requests`."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self.otherwise: Callable[[Received], Answer] = as_asked()
        """The answer to every request for which none was given."""
        self.listings: list[Received] = []
        self.listing: Answer = [http({"object": "list", "data": []})]
        """The answer to whoever asks for the list of models."""
        self.url = ""
        self._answers: deque[Answer | Callable[[Received], Answer]] = deque()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def next(self, *answers: Answer | Callable[[Received], Answer]) -> None:
        """Give the answers to the next requests, in order."""
        self._answers.extend(answers)

    async def start(self) -> Self:
        """Listen on a port of the system's choice."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=2**26)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def close(self) -> None:
        """Stop listening and break off what is under way; the port refuses connections from then on."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def received(self, count: int) -> Received:
        """Wait until so many requests have come, and return the last of them."""
        async with asyncio.timeout(10):
            while len(self.requests) < count:
                await asyncio.sleep(0.005)
        return self.requests[count - 1]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number, early = self.connections, b""
        try:
            while True:
                head = early + await reader.readuntil(b"\r\n\r\n")
                request = Received(head[:-4], b"", number, asyncio.get_running_loop().time())
                request.body = await reader.readexactly(int(request.headers.get("content-length", "0")))
                answer = self._choose(request)
                early = await self._answer(answer, request, reader, writer)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # The caller has no more to ask.
        finally:
            writer.close()

    def _choose(self, request: Received) -> Answer:
        """Keep the request, and pick its answer."""
        if request.head.startswith(b"GET "):
            self.listings.append(request)
            return self.listing
        self.requests.append(request)
        given = self._answers.popleft() if self._answers else self.otherwise
        return given(request) if callable(given) else given

    async def _answer(
        self, answer: Answer, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes:
        """Carry out the steps while watching the caller; the first bytes of its next request, if it is that quick."""
        loop = asyncio.get_running_loop()
        watch = loop.create_task(reader.read(1))
        play = loop.create_task(_play(answer, writer))
        try:
            await asyncio.wait({watch, play}, return_when=asyncio.FIRST_COMPLETED)
            if play.done():
                request.answered.set()
                await play
                if writer.is_closing():
                    return b""
            early = await watch
            if not early or not play.done():
                request.caller_left.set()
                raise ConnectionResetError
            return early
        except ConnectionError:
            if not play.done() or play.exception() is not None:
                request.caller_left.set()
            raise
        finally:
            for task in (watch, play):
                task.cancel()
            await asyncio.gather(watch, play, return_exceptions=True)


async def _play(answer: Answer, writer: asyncio.StreamWriter) -> None:
    for step in answer:
        if isinstance(step, bytes):
            writer.write(step)
            await writer.drain()
        elif isinstance(step, asyncio.Event):
            await step.wait()
        elif isinstance(step, End):
            await _end(step, writer)
            return
        else:
            await asyncio.sleep(step)


async def _end(end: End, writer: asyncio.StreamWriter) -> None:
    if end is HANG:
        await asyncio.Event().wait()
    if end is RST:
        # A reset makes the peer throw away what it has not read yet, so what was sent gets a moment to be read.
        await asyncio.sleep(0.02)
        reset(writer)
    else:
        writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with a reset instead of a proper end."""
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def http(
    body: bytes | Mapping[str, Any], *, status: int = 200, kind: str = "application/json", **headers: str
) -> bytes:
    """A whole HTTP answer; further headers by name, underscores for hyphens."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return (
        f"HTTP/1.1 {status} Status\r\nContent-Type: {kind}\r\n{named}Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


def failure(status: int, message: str = "no", code: str = "", **headers: str) -> Answer:
    """A provider's refusal in OpenAI's shape."""
    return [http({"error": {"message": message, "type": "", "code": code}}, status=status, **headers)]


def completion(
    text: str | None = "Hello there",
    *,
    usage: object = USAGE,
    model: str = "upstream-name",
    finish: str | None = "stop",
) -> dict[str, Any]:
    """A plain answer; without ``usage`` if it is None."""
    said = {"role": "assistant", "content": text}
    document: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": said, "finish_reason": finish}],
    }
    return document if usage is None else {**document, "usage": usage}


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAM_END = b"0\r\n\r\n"
"""The end of a chunked body: without it the body was cut."""


def piece(data: bytes) -> bytes:
    """``data`` as one piece of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(document: object) -> bytes:
    """One SSE event with JSON in it, as compact as vendors send it."""
    return b"data: " + json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def chunk(
    delta: Mapping[str, Any] | None, *, finish: str | None = None, usage: object = None, model: str = "upstream-name"
) -> bytes:
    """One event of a stream; no choices at all where ``delta`` is None."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    document: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": model,
        "choices": choices,
    }
    return event(document if usage is None else {**document, "usage": usage})


def said(text: str) -> bytes:
    """An event with a piece of text."""
    return chunk({"content": text})


DONE = b"data: [DONE]\n\n"


def streamed(*events: bytes) -> Answer:
    """Events as a whole, properly ended stream."""
    return [STREAM_HEAD, *(piece(one) for one in events), STREAM_END]


def stream(words: Sequence[str] = ("Hello", " there"), *, usage: object = USAGE, finish: str | None = "stop") -> Answer:
    """A whole stream: words, finish, a usage chunk without choices (unless None), `[DONE]`."""
    events = [chunk({"role": "assistant", "content": ""}), *map(said, words), chunk({}, finish=finish)]
    if usage is not None:
        events.append(chunk(None, usage=usage))
    return streamed(*events, DONE)


def as_asked(*, usage: object = USAGE) -> Callable[[Received], Answer]:
    """Whatever the request asks for: a stream or a plain answer."""

    def answer(request: Received) -> Answer:
        if request.json.get("stream") is True:
            return stream(usage=usage)
        return [http(completion(usage=usage))]

    return answer
