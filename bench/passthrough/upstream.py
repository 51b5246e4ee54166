"""A fixed upstream for benches: raw asyncio, one prepared answer per kind, as cheap as Python can make it.

A request whose body asks to stream gets 100 content chunks, a finish chunk, usage and `[DONE]`, each its own HTTP chunk:
all at once, or one every few milliseconds when the server was started with a pause. Everything else gets one JSON answer.
"""

from __future__ import annotations

import asyncio
import json
import sys

CHUNKS = 100
TEXT = "word "


def chunk(delta: dict[str, str], finish: str | None) -> bytes:
    """One SSE event as its own HTTP chunk."""
    body = {
        "id": "chatcmpl-0123456789abcdef",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": "bench-upstream",
        "system_fingerprint": "fp_bench",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
    }
    return framed(json.dumps(body, separators=(",", ":")))


def framed(data: str) -> bytes:
    """``data`` as an SSE event in an HTTP chunk."""
    event = f"data: {data}\n\n".encode()
    return f"{len(event):x}\r\n".encode() + event + b"\r\n"


USAGE = {"prompt_tokens": 200, "completion_tokens": CHUNKS, "total_tokens": 200 + CHUNKS}
EVENTS = [
    *(chunk({"content": TEXT}, None) for _ in range(CHUNKS)),
    chunk({}, "stop"),
    framed(json.dumps({"id": "chatcmpl-0", "object": "chat.completion.chunk", "choices": [], "usage": USAGE})),
    framed("[DONE]") + b"0\r\n\r\n",
]
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_BODY = json.dumps(
    {
        "id": "chatcmpl-0123456789abcdef",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "bench-upstream",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT * 40}, "finish_reason": "stop"}],
        "usage": USAGE,
    }
).encode()
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)


class Upstream(asyncio.Protocol):
    """Answers requests on one kept connection, one after another."""

    def __init__(self, pause_seconds: float) -> None:
        self._pause_seconds = pause_seconds
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if not blank:
            return
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line[15:])
        if len(body) < length:
            return
        self._received = body[length:]
        if b'"stream":true' not in body and b'"stream": true' not in body:
            self._transport.write(PLAIN)
        elif not self._pause_seconds:
            self._transport.write(STREAM_HEAD + b"".join(EVENTS))
        else:
            self._transport.write(STREAM_HEAD)
            self._next_event(0)

    def _next_event(self, number: int) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(EVENTS[number])
        if number + 1 < len(EVENTS):
            asyncio.get_running_loop().call_later(self._pause_seconds, self._next_event, number + 1)


async def main(pause_seconds: float) -> None:
    """Serve until killed; the port is printed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Upstream(pause_seconds), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
