"""Closed-loop load over kept connections: so many callers, each asking again when its answer is complete."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

END_OF_CHUNKS = b"0\r\n\r\n"


@dataclass(slots=True)
class Result:
    """What one run saw."""

    requests: int = 0
    failures: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """A latency in seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def request_bytes(key: str, *, streamed: bool) -> bytes:
    """A chat request of about one kilobyte with the headers of the official Python client."""
    stream = "true" if streamed else "false"
    body = (
        '{"model":"bench-model","messages":[{"role":"system","content":"You are a helpful assistant."},'
        '{"role":"user","content":"' + "Tell me about the sea. " * 34 + '"}],"temperature":0.7,"max_tokens":500,'
        f'"stream":{stream}}}'
    ).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
        "User-Agent: OpenAI/Python 3.54.0\r\nX-Stainless-Lang: python\r\nX-Stainless-Async: false\r\n"
        f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    return head + body


async def run(port: int, request: bytes, *, callers: int, requests: int) -> Result:
    """``requests`` answers in all, fetched by ``callers`` at a time."""
    result = Result()
    left = iter(range(requests))
    started = time.perf_counter()
    await asyncio.gather(*(_caller(port, request, left, result) for _ in range(callers)))
    result.seconds = time.perf_counter() - started
    return result


async def _caller(port: int, request: bytes, left: Iterator[int], result: Result) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    for _ in left:
        started = time.perf_counter()
        writer.write(request)
        if not await _answer(reader):
            result.failures += 1
        result.requests += 1
        result.latencies.append(time.perf_counter() - started)
    writer.close()


async def _answer(reader: asyncio.StreamReader) -> bool:
    """Read one whole answer; whether it was a complete 200."""
    head = await reader.readuntil(b"\r\n\r\n")
    ok = head.startswith(b"HTTP/1.1 200")
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        body = b""
        while not body.endswith(END_OF_CHUNKS):
            body += await reader.read(1 << 18)
        return ok and b"data: [DONE]" in body
    position = lower.index(b"content-length:") + 15
    await reader.readexactly(int(lower[position : lower.index(b"\r\n", position)]))
    return ok
