"""Answers that write themselves, and those that are left to aiohttp: the same to whoever reads them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

import pytest
from multidict import CIMultiDict, istr

from proxy.delivery import _head
from tests.fakes.raw_upstream import STREAM_HEAD, RawUpstream, completion, http, piece, said, stream
from tests.gateway import Gateway, chat_body, http_request

OF_THE_CONNECTION = {"connection", "date", "transfer-encoding", "content-length"}
"""Fields that speak of the connection, the moment or the length, and not of the call."""


def request(gateway: Gateway, *, head: str = "", streamed: bool = False, version: bytes = b"1.1") -> bytes:
    body = json.dumps(chat_body("Hello", stream=streamed)).encode()
    return http_request(body, gateway.key, head=head).replace(b"HTTP/1.1", b"HTTP/" + version, 1)


def read_answer(data: bytes) -> tuple[int, CIMultiDict[str], bytes, bytes]:
    """Status, fields, body and what follows, by the rules of RFC 9112 and nobody's library."""
    head, _, rest = data.partition(b"\r\n\r\n")
    status_line, *lines = head.decode().split("\r\n")
    fields = CIMultiDict([tuple(line.split(": ", 1)) for line in lines])  # type: ignore[misc]
    status = int(status_line.split()[1])
    if fields.get("Transfer-Encoding") != "chunked":
        length = int(fields.get("Content-Length", len(rest)))
        return status, fields, rest[:length], rest[length:]
    body = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        piece, rest = rest[: int(size, 16)], rest[int(size, 16) :]
        assert rest.startswith(b"\r\n")
        body, rest = body + piece, rest[2:]
        if not piece:
            return status, fields, body, rest


async def exchange(gateway: Gateway, *requests: bytes) -> bytes:
    """All that comes back on one connection for requests one behind the other; the last of them ends it."""
    caller = await gateway.dial_raw(b"".join(requests))
    received = await caller.read_all()
    caller.hang_up(by_reset=False)
    return received


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("version", "head"), [(b"1.1", "Connection: close\r\n"), (b"1.0", "")])
async def test_kept_and_ending_connections_are_told_the_same(
    gateway: Gateway, alpha: RawUpstream, streamed: bool, version: bytes, head: str
) -> None:
    """Our own writing on a connection that is kept, aiohttp's on one that ends: the same fields of the call, the same text."""
    for _ in range(2):
        alpha.next(stream(["The", " sea"]) if streamed else [http(completion("The sea"))])

    received = await exchange(
        gateway, request(gateway, streamed=streamed), request(gateway, streamed=streamed, version=version, head=head)
    )

    kept_status, kept, kept_body, rest = read_answer(received)
    status, fields, body, end = read_answer(rest)
    assert (200, 200, b"") == (kept_status, status, end)
    assert {name.lower() for name in kept} - OF_THE_CONNECTION == {name.lower() for name in fields} - OF_THE_CONNECTION
    for name in ("Content-Type", "Server", "X-FindToken-Mode", "X-FindToken-Provider", "X-FindToken-Attempts"):
        assert kept[name].partition(";")[0] == fields[name].partition(";")[0]
    assert len(kept["Date"]) == len("Fri, 27 Nov 2026 00:00:00 GMT")
    for told in (kept_body, body):
        assert (b"data: [DONE]\n\n" if streamed else b"}") == told[-14 if streamed else -1 :]
        assert b"sea" in told


async def test_calls_on_one_connection_follow_each_other(gateway: Gateway, alpha: RawUpstream) -> None:
    """Ten requests sent at once, plain and streamed in turn: ten answers in order, whole, each for its own call."""
    kinds = [bool(number % 2) for number in range(10)]
    for number, streamed in enumerate(kinds):
        alpha.next(stream([f"word{number}"]) if streamed else [http(completion(f"word{number}"))])
    last = request(gateway, streamed=kinds[-1], head="Connection: close\r\n")

    rest = await exchange(gateway, *[request(gateway, streamed=streamed) for streamed in kinds[:-1]], last)

    ids = []
    for number in range(10):
        status, fields, body, rest = read_answer(rest)
        assert (200, True) == (status, f"word{number}".encode() in body)
        ids.append(fields["X-FindToken-Request-Id"])
    assert b"" == rest
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("text", ["a\r\nX-More: 1", "a\nb", "a\rb", "a\0b"])
def test_no_field_ends_before_its_line_does(text: str) -> None:
    """A text that would become a field of its own is a mistake of ours, and nothing leaves."""
    with pytest.raises(ValueError, match="line end"):
        _head([(istr("Server"), "find-token"), (istr("X-Text"), text)])


BIG = 20_000_000
"""More than fits into all the buffers between two sockets."""


@pytest.mark.parametrize("head", ["", "Connection: close\r\n"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_whoever_stops_reading_is_dropped(
    streamed: bool, head: str, start_gateway: Any, alpha: RawUpstream
) -> None:
    """A plain answer and a stream that had been made in full: the connection ends, and nothing is kept for it."""
    gateway: Gateway = await start_gateway(
        server={"client_stall_seconds": 0.3}, providers={"alpha": {"stream_mode": "simulated"}}
    )
    alpha.next([http(completion("x" * BIG))])
    caller = await gateway.dial_raw(request(gateway, streamed=streamed, head=head))
    await caller.read_until(b"\r\n\r\n")
    caller.writer.transport.pause_reading()
    [row] = await gateway.settled(1)
    await asyncio.sleep(1.5)
    caller.writer.transport.resume_reading()
    with suppress(ConnectionError):
        assert len(await caller.read_all()) < BIG

    assert ("client_left" if streamed else "complete", 29_540) == (row.billing_outcome, row.cost)
    gateway.prove()


async def read_slowly(gateway: Gateway, sent: bytes) -> AsyncIterator[bytes]:
    """What comes back for ``sent``, a megabyte at most every tenth of a second; what is not read stays with the sender."""
    loop = asyncio.get_running_loop()
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    with socket.socket() as wire:
        wire.setblocking(False)
        await loop.sock_connect(wire, (host, int(port)))
        await loop.sock_sendall(wire, sent)
        while part := await loop.sock_recv(wire, 1_000_000):
            yield part
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("head", ["", "Connection: close\r\n"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_whoever_reads_slowly_gets_everything(
    streamed: bool, head: str, start_gateway: Any, alpha: RawUpstream
) -> None:
    """However long it takes in all, and however short the patience with providers: only standing still counts."""
    gateway: Gateway = await start_gateway(
        server={"client_stall_seconds": 1}, routing={"silence_timeout_seconds": 0.3, "timeout_seconds": 20}
    )
    parts = [piece(said("x" * 1_000_000))] * (BIG // 1_000_000)
    alpha.next([STREAM_HEAD, *parts, *stream(["y"])[1:]] if streamed else [http(completion("x" * BIG + "y"))])
    received = 0
    last = b""
    async with aclosing(read_slowly(gateway, request(gateway, streamed=streamed, head=head))) as parts_read:
        async for part in parts_read:
            received += len(part)
            last = (last + part)[-10:]
            if last.endswith(b"0\r\n\r\n" if streamed else b"}"):
                break

    assert received > BIG
    [row] = await gateway.settled(1)
    assert ("complete", 29_540) == (row.billing_outcome, row.cost)
