"""Many streams at once, as lean as can be: an upstream that speaks to all of them in turn, and callers who check every word.

Both are plain protocols without a task for each stream, so that what is measured is the gateway between them. Every word
carries the number of its stream, its place and the moment it was sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import struct
import time
from collections.abc import Sequence

from tests.fakes.raw_upstream import DONE, STREAM_END, STREAM_HEAD, chunk, piece, said

LAST_WORDS = piece(chunk({}, finish="stop")) + piece(DONE) + STREAM_END
_WORD = re.compile(rb'"content":"(\d+):(\d+):(\d+) "')
_NUMBER = re.compile(rb"stream (\d+)")
AT_ONCE = 100
"""Callers who connect at the same moment."""
SLICES = 20
"""Into how many parts a round of words is cut, so that not all streams speak at the same moment."""


class Speaker(asyncio.Protocol):
    """The upstream's end of one stream."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._received = b""
        self.transport: asyncio.Transport | None = None
        self.number = -1
        self.spoken = 0
        self.digest = hashlib.sha256()
        self.closed_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._crowd.connections.append(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if not blank or length is None or len(body) < int(length[1]):
            return
        found = _NUMBER.search(body)
        assert found is not None
        assert self.transport is not None
        self._received = b""
        self.number = int(found[1])
        self._crowd.speakers[self.number] = self
        self.transport.write(STREAM_HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.closed_at = time.monotonic()

    def say(self) -> None:
        """The next word."""
        if self.transport is not None:
            word = f"{self.number}:{self.spoken}:{time.monotonic_ns()} "
            self.digest.update(word.encode())
            self.spoken += 1
            self.transport.write(piece(said(word)))


class Crowd:
    """The upstream, and its callers."""

    def __init__(self) -> None:
        self.speakers: dict[int, Speaker] = {}
        self.connections: list[Speaker | Listener] = []
        self.url = ""
        self._server: asyncio.Server | None = None

    async def start(self) -> Crowd:
        """Listen on a port of the system's choice."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Speaker(self), "127.0.0.1", 0, backlog=2048)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def close(self) -> None:
        """Stop listening, and end whatever is open on either side."""
        assert self._server is not None
        self._server.close()
        for one in self.connections:
            if one.transport is not None:
                one.transport.abort()
        await asyncio.sleep(0.01)

    async def listen(self, address: tuple[str, int], requests: Sequence[bytes]) -> list[Listener]:
        """Callers for these requests, some at a time."""
        loop = asyncio.get_running_loop()
        listeners = []
        for start in range(0, len(requests), AT_ONCE):
            some = requests[start : start + AT_ONCE]
            made = [loop.create_connection(lambda one=one: Listener(one), *address) for one in some]
            listeners += [listener for _, listener in await asyncio.gather(*made)]
        self.connections += listeners
        return listeners

    async def speak(self, rounds: int, pause_seconds: float) -> None:
        """Every stream a word in each round; a round lasts as long as the pause, and its words are spread over it."""
        speakers = list(self.speakers.values())
        begun = time.monotonic()
        for number in range(rounds * SLICES):
            for speaker in speakers[number % SLICES :: SLICES]:
                speaker.say()
            await asyncio.sleep(max(0.0, begun + (number + 1) * pause_seconds / SLICES - time.monotonic()))

    def finish(self) -> None:
        """The proper end of every stream."""
        for speaker in self.speakers.values():
            if speaker.transport is not None:
                speaker.transport.write(LAST_WORDS)


class Listener(asyncio.Protocol):
    """A caller."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._rest = b""
        self.transport: asyncio.Transport | None = None
        self.head = b""
        """The answer's status and headers, and what came with them."""
        self.heard: list[int] = []
        self.digest = hashlib.sha256()
        self.late: list[float] = []
        """How long each word was on its way."""
        self.added_gaps: list[float] = []
        """How much longer than at the upstream the pause before each word was."""
        self.is_done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self.head = self.head or data
        data = self._rest + data
        end = 0
        for word in _WORD.finditer(data):
            end = word.end()
            self.digest.update(b"%b:%b:%b " % word.groups())
            self.heard.append(int(word[2]))
            self.late.append((now - int(word[3])) / 1e9)
            if len(self.late) > 1:
                self.added_gaps.append(max(0.0, self.late[-1] - self.late[-2]))
        self._rest = data[end:]
        self.is_done = self.is_done or b"data: [DONE]" in self._rest

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None

    def vanish(self) -> None:
        """Leave with a reset."""
        assert self.transport is not None
        wire: socket.socket = self.transport.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of them lies."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
