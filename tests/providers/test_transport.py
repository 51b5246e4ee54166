"""Promises of the transport: what is sent, what comes back, what every break is called, and which connections are kept."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gc
import gzip
import ipaddress
import socket
import ssl
import time
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from providers import transport as module
from providers.errors import AnswerUnreadable, ConnectionLost, UpstreamError, UpstreamUnreachable
from providers.transport import Outgoing, PooledTransport, UpstreamAnswer
from tests.fakes.raw_upstream import FIN, HANG, RST, STREAM_END, STREAM_HEAD, RawUpstream, Step, http, piece

HEAD = b"HTTP/1.1 200 OK\r\n"
CUT_LENGTH = HEAD + b"Content-Length: 10\r\n\r\n12345"
CUT_CHUNK = STREAM_HEAD + b"a\r\n12345"


def to(upstream: RawUpstream, path: str = "/v1/chat/completions", body: bytes = b"{}") -> Outgoing:
    return Outgoing(upstream.url + path, {"Content-Type": "application/json", "Authorization": "Bearer key"}, body)


async def ask(transport: PooledTransport, upstream: RawUpstream) -> tuple[int, bytes]:
    """Status and body of one whole exchange."""
    async with await transport.open(to(upstream)) as answer:
        return answer.status, await answer.read()


async def test_what_is_sent(transport: PooledTransport, upstream: RawUpstream) -> None:
    """A POST with our headers, a length and the body byte for byte; no cookie, nothing compressed, no surprise."""
    body = bytes(range(256)) * 500
    upstream.next([http(b"", Set_Cookie="a=b")])
    async with await transport.open(to(upstream, "/v1/chat?x=1", body)) as answer:
        await answer.read()
    await ask(transport, upstream)
    first, second = upstream.requests

    assert b"POST /v1/chat?x=1 HTTP/1.1" == first.head.split(b"\r\n")[0]
    assert body == first.body
    assert {
        "host": upstream.url.removeprefix("http://"),
        "accept-encoding": "identity",
        "user-agent": "find-token",
        "content-type": "application/json",
        "authorization": "Bearer key",
        "content-length": str(len(body)),
    } == first.headers
    assert first.headers.keys() == second.headers.keys()


async def test_a_header_cannot_smuggle_another(transport: PooledTransport, upstream: RawUpstream) -> None:
    """A key with a line end in it is refused, and the connection it was meant for is not left behind."""
    for value in ("a\r\nX-Evil: 1", "a\nb", "a\0b"):
        with pytest.raises(ValueError, match="holds a line end"):
            await transport.open(Outgoing(upstream.url, {"Authorization": value}, b""))
    await ask(transport, upstream)

    assert 1 == len(upstream.requests)


async def test_what_comes_back(transport: PooledTransport, upstream: RawUpstream) -> None:
    """Status, headers whatever their case, and the body as it was sent."""
    upstream.next([http(b'{"a":1}', status=429, Retry_After="3")])
    async with await transport.open(to(upstream)) as answer:
        assert 429 == answer.status
        assert ("3", "3", "application/json") == (
            answer.headers["Retry-After"],
            answer.headers["retry-after"],
            answer.headers.get("content-type"),
        )
        assert b'{"a":1}' == await answer.read()
        assert b"" == await answer.read()


async def test_events_arrive_one_by_one(transport: PooledTransport, upstream: RawUpstream) -> None:
    """Each piece can be read as soon as it has come, while the answer goes on."""
    steps = [asyncio.Event() for _ in range(3)]
    upstream.next(
        [STREAM_HEAD, piece(b"one"), steps[0], piece(b"two"), steps[1], piece(b"three"), steps[2], STREAM_END]
    )
    async with await transport.open(to(upstream)) as answer:
        for expected, step in zip((b"one", b"two", b"three"), steps, strict=True):
            assert expected == await answer.read_some()
            step.set()
        assert b"" == await answer.read_some()


_BODY = b"x" * 20 + b"\r\n" + b"y" * 20
_FRAMINGS: dict[str, list[Step]] = {
    "with its length": [HEAD + b"Content-Length: 42\r\n\r\n" + _BODY],
    "in pieces": [STREAM_HEAD, piece(_BODY[:5]), piece(_BODY[5:]), STREAM_END],
    "in pieces with extensions and trailers": [STREAM_HEAD, b"2A;x=y\r\n" + _BODY + b"\r\n0\r\nX: y\r\n\r\n"],
    "until the connection closes": [HEAD + b"\r\n", _BODY, FIN],
    "in HTTP/1.0": [b"HTTP/1.0 200 OK\r\n\r\n" + _BODY, FIN],
    "after an interim answer": [
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\nA: b\r\n\r\n",
        HEAD + b"Content-Length: 42\r\n\r\n" + _BODY,
    ],
    "byte by byte": [bytes([byte]) for byte in STREAM_HEAD + piece(_BODY[:9]) + piece(_BODY[9:]) + STREAM_END],
}


@pytest.mark.parametrize("steps", _FRAMINGS.values(), ids=_FRAMINGS.keys())
async def test_every_way_to_frame_a_body(transport: PooledTransport, upstream: RawUpstream, steps: list[Step]) -> None:
    """The body comes out whole and without its framing, and the next request is answered."""
    upstream.next(steps, [http(b"next")])

    assert (200, _BODY) == await ask(transport, upstream)
    assert (200, b"next") == await ask(transport, upstream)


async def read_into(got: list[bytes], answer: UpstreamAnswer) -> None:
    while part := await answer.read_some():
        got.append(part)


# What every break is called.


async def test_a_refused_connection(transport: PooledTransport) -> None:
    """Nobody listens: the request surely did not arrive."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        with pytest.raises(UpstreamUnreachable, match="no connection"):
            await transport.open(Outgoing(url, {}, b""))


async def test_no_tls_where_tls_was_expected(transport: PooledTransport) -> None:
    """A failed handshake sends no request, and no key."""
    received = []

    async def answer_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read(100_000))
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer_plainly, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(UpstreamUnreachable, match="no connection"):
            await transport.open(Outgoing(f"https://127.0.0.1:{port}/", {"Authorization": "Bearer key"}, b""))

    assert 1 == len(received)
    assert b"Bearer" not in received[0]


async def test_a_connection_that_is_not_made_in_time(
    transport: PooledTransport, upstream: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handshake that is never answered is given up, and nothing was sent."""
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.5)
    with pytest.raises(UpstreamUnreachable, match="no connection"):
        await transport.open(Outgoing(upstream.url.replace("http:", "https:"), {}, b""))

    assert [] == upstream.requests


async def test_a_connection_that_this_process_had_no_time_to_make(
    transport: PooledTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told apart: the time was over long ago when anybody looked."""
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.3)
    with contextlib.ExitStack() as sockets:
        full = sockets.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # Whoever comes after these is neither taken nor refused.
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        outgoing = Outgoing(f"http://127.0.0.1:{full.getsockname()[1]}/", {}, b"")
        in_time = asyncio.create_task(transport.open(outgoing))
        with pytest.raises(UpstreamUnreachable):
            await in_time
        late = asyncio.create_task(transport.open(outgoing))
        await asyncio.sleep(0.05)
        time.sleep(0.8)  # The loop stands still.
        with pytest.raises(UpstreamUnreachable) as told:
            await late

    assert told.value.heard_late


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "ftp://x/",
        "http:///x",
        "http://a b/",
        "http://x:99999/",
        "http://x:y/",
        "http://[::1/",
        "http://x/\r\nA: b",
        "http://x/\x7f",
        "http://x/ü",
        "http://ü/",
    ],
)
async def test_an_address_that_is_none(transport: PooledTransport, url: str) -> None:
    """A mistake in the catalogue is a provider that cannot be reached, so that another may serve."""
    with pytest.raises(UpstreamUnreachable, match="not an http or https URL"):
        await transport.open(Outgoing(url, {}, b""))


@pytest.mark.parametrize("end", [RST, FIN])
async def test_a_connection_that_ends_before_the_answer(
    transport: PooledTransport, upstream: RawUpstream, end: Step
) -> None:
    """Reset or closed without a byte."""
    upstream.next([end])
    with pytest.raises(ConnectionLost):
        await transport.open(to(upstream))


@pytest.mark.parametrize(
    "steps",
    [
        [b"SSH-2.0-OpenSSH\r\n\r\n"],
        [b"HTTP/2 200\r\n\r\n"],
        [b"HTTP/1.1 abc\r\n\r\n"],
        [HEAD + b"no colon\r\n\r\n"],
        [HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"],
        [HEAD + b"Content-Length: -1\r\n\r\n"],
        [HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"],
        [HEAD + b"Content-Encoding: br\r\nContent-Length: 1\r\n\r\nx"],
        [b"HTTP/1.1 101 Switching Protocols\r\n\r\n"],
        [HEAD + b"X: " + b"y" * 200_000],
        [HEAD[:9], FIN],
        [HEAD, RST],
    ],
)
async def test_an_answer_that_is_none(transport: PooledTransport, upstream: RawUpstream, steps: list[Step]) -> None:
    """No HTTP, an ambiguous length, an encoding we cannot read, a head too large or cut: it came, and cannot be used."""
    upstream.next(steps)
    with pytest.raises(AnswerUnreadable):
        await ask(transport, upstream)
    await ask(transport, upstream)

    assert 2 == upstream.connections


@pytest.mark.parametrize("head", [CUT_LENGTH, CUT_CHUNK, CUT_CHUNK[:-5], STREAM_HEAD + piece(b"12345")], ids=range(4))
@pytest.mark.parametrize("end", [FIN, RST])
async def test_a_body_that_is_cut(transport: PooledTransport, upstream: RawUpstream, head: bytes, end: Step) -> None:
    """What had come by then can be read; that it was not all is never overlooked."""
    upstream.next([head, end], [head, end])
    async with await transport.open(to(upstream)) as answer:
        with pytest.raises(AnswerUnreadable, match="cut"):
            await answer.read()
    got: list[bytes] = []
    async with await transport.open(to(upstream)) as answer:
        with pytest.raises(AnswerUnreadable, match="cut"):
            await read_into(got, answer)
    assert b"12345".startswith(b"".join(got))


@pytest.mark.parametrize(
    "broken", [b"xyz\r\n", b"3\r\nabcdef\r\n", b"-3\r\nabc\r\n", b"\r\n", b"f" * 20 + b"\r\n", b"1" * 10_000]
)
async def test_pieces_that_are_none(transport: PooledTransport, upstream: RawUpstream, broken: bytes) -> None:
    """Sizes that are no sizes, pieces longer than their size."""
    upstream.next([STREAM_HEAD, piece(b"good"), broken, HANG])
    async with await transport.open(to(upstream)) as answer:
        with pytest.raises(AnswerUnreadable):
            await answer.read()


async def test_a_body_beyond_its_limit(transport: PooledTransport, upstream: RawUpstream) -> None:
    """Up to the limit it is read; one byte more and it is refused, and aborted upstream."""
    upstream.next([http(b"x" * 1000)], [STREAM_HEAD, *[piece(b"x" * 1000)] * 50, HANG])
    async with await transport.open(to(upstream)) as answer:
        assert 1000 == len(await answer.read(1000))
    async with await transport.open(to(upstream)) as answer:
        with pytest.raises(AnswerUnreadable, match="larger than 999 bytes"):
            await answer.read(999)

    await asyncio.wait_for(upstream.requests[1].caller_left.wait(), 10)


async def test_a_redirect_is_not_followed(transport: PooledTransport, upstream: RawUpstream) -> None:
    """The caller's prompt and the key go where the catalogue says and nowhere else."""
    for status in (301, 302, 303, 307, 308):
        upstream.next([http(b"", status=status, Location=f"{upstream.url}/elsewhere")])
        assert (status, b"") == await ask(transport, upstream)

    assert 5 == len(upstream.requests)


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "head"),
    [
        ("http://a.example", "a.example", 80, False, b"POST / HTTP/1.1\r\nHost: a.example\r\n"),
        ("https://A.example/v1", "a.example", 443, True, b"POST /v1 HTTP/1.1\r\nHost: a.example\r\n"),
        ("https://a.example:443/?x=/y", "a.example", 443, True, b"POST /?x=/y HTTP/1.1\r\nHost: a.example:443\r\n"),
        ("http://[::1]/v1", "::1", 80, False, b"POST /v1 HTTP/1.1\r\nHost: [::1]\r\n"),
        ("http://[::1]:8080/v1#x", "::1", 8080, False, b"POST /v1 HTTP/1.1\r\nHost: [::1]:8080\r\n"),
    ],
)
async def test_where_an_address_leads(
    transport: PooledTransport, url: str, host: str, port: int, tls: bool, head: bytes
) -> None:
    """Host, port and the first lines of the request. Not on the wire, because not every machine has IPv6."""
    target = transport._learn("POST", url)

    assert (host, port, tls) == (target.host, target.port, target.tls)
    assert target.request_head.startswith(head)


# Compression that nobody asked for.

_PLAIN = b'{"text":"' + b"hello " * 10_000 + b'"}'


@pytest.mark.parametrize(
    ("encoding", "compressed"),
    [
        ("gzip", gzip.compress(_PLAIN)),
        ("x-gzip", gzip.compress(_PLAIN)),
        ("Deflate", zlib.compress(_PLAIN)),
        ("identity", _PLAIN),
    ],
)
async def test_a_compressed_answer_is_read(
    transport: PooledTransport, upstream: RawUpstream, encoding: str, compressed: bytes
) -> None:
    """Some gateways compress whatever they were asked."""
    upstream.next([http(compressed, Content_Encoding=encoding)])

    assert (200, _PLAIN) == await ask(transport, upstream)


async def test_compressed_events_arrive_one_by_one(transport: PooledTransport, upstream: RawUpstream) -> None:
    """What the provider has flushed can be read, while the answer goes on."""
    go, compressor = asyncio.Event(), zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    first = compressor.compress(b"one") + compressor.flush(zlib.Z_SYNC_FLUSH)
    rest = compressor.compress(b"two") + compressor.flush()
    head = STREAM_HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    upstream.next([head, piece(first[:10]), 0.01, piece(first[10:]), go, piece(rest), STREAM_END])
    async with await transport.open(to(upstream)) as answer:
        assert b"one" == await answer.read_some()
        go.set()
        assert b"two" == await answer.read()


async def test_a_large_compressed_answer(transport: PooledTransport, upstream: RawUpstream) -> None:
    """Larger than what is decompressed at once; the connection is kept after it."""
    plain = b"".join(b"%d," % number for number in range(400_000))
    upstream.next([http(gzip.compress(plain, 1), Content_Encoding="gzip")])
    assert (200, plain) == await ask(transport, upstream)
    await ask(transport, upstream)

    assert 1 == upstream.connections


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(_PLAIN)[:-20],
        b"no gzip at all",
        gzip.compress(_PLAIN)[:100] + b"x" * 50,
        b"",
        gzip.compress(_PLAIN) + b"more",
        gzip.compress(_PLAIN[:9]) + gzip.compress(_PLAIN[9:]),
    ],
)
async def test_a_broken_compression(transport: PooledTransport, upstream: RawUpstream, body: bytes) -> None:
    """Cut or wrong, or only the first of several parts: not to be used, although its length was right."""
    upstream.next([http(body, Content_Encoding="gzip")])
    with pytest.raises(AnswerUnreadable, match="compress"):
        await ask(transport, upstream)


async def test_a_small_answer_cannot_fill_our_memory(transport: PooledTransport, upstream: RawUpstream) -> None:
    """The limit is for what comes out of a compression."""
    upstream.next([http(gzip.compress(b"0" * 50_000_000), Content_Encoding="gzip")])
    async with await transport.open(to(upstream)) as answer:
        with pytest.raises(AnswerUnreadable, match="larger than 1000000 bytes"):
            await answer.read(1_000_000)


# Which connections are kept.


async def test_a_connection_is_used_again(transport: PooledTransport, upstream: RawUpstream) -> None:
    """After whole answers, read to the end, whatever their framing and status."""
    upstream.next(
        [http(b"1")], [STREAM_HEAD, piece(b"2"), STREAM_END], [http(b"3", status=500)], [b"HTTP/1.1 204 No\r\n\r\n"]
    )
    statuses = [(await ask(transport, upstream))[0] for _ in range(5)]

    assert [200, 200, 500, 204, 200] == statuses
    assert 1 == upstream.connections


async def test_calls_at_the_same_time_do_not_wait_for_each_other(
    transport: PooledTransport, upstream: RawUpstream
) -> None:
    """Each has a connection of its own, and all of them are kept."""
    go = asyncio.Event()
    upstream.next(*[[go, http(b"x")]] * 5)
    asked = [asyncio.create_task(ask(transport, upstream)) for _ in range(5)]
    await upstream.received(5)
    go.set()

    assert [(200, b"x")] * 5 == await asyncio.gather(*asked)
    await asyncio.gather(*(ask(transport, upstream) for _ in range(5)))
    assert 5 == upstream.connections


async def read_events(answer: UpstreamAnswer, until: bytes) -> None:
    got = b""
    while until not in got:
        got += await answer.read_some()


@pytest.mark.parametrize("pause", [0.0, 0.01])
async def test_an_answer_that_said_its_last_word_is_ended(
    transport: PooledTransport, upstream: RawUpstream, monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    """`end` gives the end of the framing a moment to come, so that the connection can be used again."""
    monkeypatch.setattr(module, "END_SECONDS", 10.0)
    upstream.next([STREAM_HEAD, piece(b"[DONE]"), pause, STREAM_END])
    async with await transport.open(to(upstream)) as answer:
        await read_events(answer, b"[DONE]")
        await answer.end()
        await answer.end()
    await ask(transport, upstream)

    assert 1 == upstream.connections


@pytest.mark.parametrize(
    "rest",
    [[HANG], [FIN], [piece(b"more"), HANG], [b"no size\r\n", HANG]],
    ids=["hangs", "closes", "goes on", "breaks"],
)
async def test_an_answer_that_does_not_end_is_given_up(
    transport: PooledTransport, upstream: RawUpstream, rest: list[Step]
) -> None:
    """After that moment its connection is closed; nobody waits, and nothing is raised for it."""
    go = asyncio.Event()
    upstream.next([STREAM_HEAD, piece(b"[DONE]"), go, *rest])
    async with await transport.open(to(upstream)) as answer:
        await read_events(answer, b"[DONE]")
        go.set()
        await answer.end()
    await ask(transport, upstream)

    assert 2 == upstream.connections


@pytest.mark.parametrize(
    "steps", [[http(b"x", Connection="close")], [HEAD + b"\r\n", b"x", FIN], [http(b"x") + b"HTTP/1.1 200 OK"]]
)
async def test_some_connections_are_not_used_again(
    transport: PooledTransport, upstream: RawUpstream, steps: list[Step]
) -> None:
    """The provider said so, or the end of the answer was the end of the connection, or there was more than the answer."""
    upstream.next(steps)
    assert (200, b"x") == await ask(transport, upstream)
    await ask(transport, upstream)

    assert 2 == upstream.connections


async def test_leaving_early_aborts_the_answer(transport: PooledTransport, upstream: RawUpstream) -> None:
    """The provider sees at once that nobody listens any more, and can stop working and billing."""
    upstream.next([STREAM_HEAD, piece(b"one"), HANG], [http(b"x" * 1000)[:-10], HANG])
    async with await transport.open(to(upstream)) as answer:
        assert b"one" == await answer.read_some()
    await asyncio.wait_for(upstream.requests[0].caller_left.wait(), 10)
    async with await transport.open(to(upstream)):
        pass
    await asyncio.wait_for(upstream.requests[1].caller_left.wait(), 10)

    assert 2 == upstream.connections


async def test_giving_up_before_the_answer_aborts_it(transport: PooledTransport, upstream: RawUpstream) -> None:
    """A caller who does not wait for the head leaves no request behind."""
    upstream.next([HANG])
    waiting = asyncio.create_task(transport.open(to(upstream)))
    request = await upstream.received(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    await asyncio.wait_for(request.caller_left.wait(), 10)


def sockets_to(port: int) -> int:
    """How many connections this machine has to a port of its own, whoever has forgotten them."""
    return sum(f" 0100007F:{port:04X} 01 " in line for line in Path("/proc/net/tcp").read_text().splitlines())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_giving_up_while_connecting_leaves_no_socket(
    transport: PooledTransport, upstream: RawUpstream, host: str
) -> None:
    """Whenever that is: also in the very turn of the loop in which the connection was made."""
    port = int(upstream.url.rpartition(":")[2])
    gc.collect()
    gc.disable()  # It would tidy up behind us.
    try:
        for turns in range(30):
            upstream.next([HANG])
            waiting = asyncio.create_task(transport.open(Outgoing(f"http://{host}:{port}/", {}, b"")))
            for _ in range(turns):
                await asyncio.sleep(0)
            time.sleep(0.002)  # The system connects while the loop stands still.
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        async with asyncio.timeout(10):
            while sockets_to(port):
                await asyncio.sleep(0.05)
    finally:
        gc.enable()


async def test_a_kept_connection_that_died_is_noticed(transport: PooledTransport, upstream: RawUpstream) -> None:
    """The provider closed it in the meantime: the next request goes over a new one and does not fail."""
    upstream.next([http(b"x"), FIN])
    await ask(transport, upstream)
    await asyncio.wait_for(upstream.requests[0].answered.wait(), 10)
    await asyncio.sleep(0.05)

    assert 200 == (await ask(transport, upstream))[0]
    assert 2 == upstream.connections


async def test_bytes_nobody_asked_for_end_a_kept_connection(transport: PooledTransport, upstream: RawUpstream) -> None:
    """They are not taken for the answer to the next request."""
    upstream.next([http(b"x"), 0.02, http(b"poison"), HANG], [http(b"good")])
    await ask(transport, upstream)
    await asyncio.wait_for(upstream.requests[0].caller_left.wait(), 10)

    assert (200, b"good") == await ask(transport, upstream)


async def test_an_answer_nobody_reads_stops_the_provider(transport: PooledTransport, upstream: RawUpstream) -> None:
    """What waits for a slow reader is bounded; once it reads on, it gets everything."""
    part, count = b"x" * 1_000_000, 64
    upstream.next([STREAM_HEAD, *[piece(part)] * count, STREAM_END])
    async with await transport.open(to(upstream)) as answer:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(upstream.requests[0].answered.wait(), 0.3)
        assert count * len(part) == len(await answer.read(100_000_000))
    await ask(transport, upstream)

    assert 1 == upstream.connections


async def test_only_so_many_connections_are_kept(
    transport: PooledTransport, upstream: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the number idle ones are closed, beyond their time they are not used; what is known of addresses is bounded too."""
    monkeypatch.setattr(module, "IDLE_LIMIT", 2)
    monkeypatch.setattr(module, "TARGETS_REMEMBERED", 1)
    go = asyncio.Event()
    upstream.next(*[[go, http(b"x")]] * 4)
    asked = [asyncio.create_task(ask(transport, upstream)) for _ in range(4)]
    await upstream.received(4)
    go.set()
    await asyncio.gather(*asked)
    await asyncio.gather(*(ask(transport, upstream) for _ in range(2)))
    assert 4 == upstream.connections
    await asyncio.gather(*(ask(transport, upstream) for _ in range(3)))
    assert 5 == upstream.connections

    monkeypatch.setattr(module, "IDLE_SECONDS", 0.0)
    for path in ("/a", "/b"):
        async with await transport.open(to(upstream, path)) as answer:
            await answer.read()
    assert 7 == upstream.connections


async def test_what_nobody_uses_any_more_is_closed(
    transport: PooledTransport, upstream: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections that a burst left go by themselves, each at its time; the one that is used again stays for its own."""
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.3)
    go = asyncio.Event()
    upstream.next(*[[go, http(b"x")]] * 4)
    asked = [asyncio.create_task(ask(transport, upstream)) for _ in range(4)]
    await upstream.received(4)
    go.set()
    await asyncio.gather(*asked)
    loop = asyncio.get_running_loop()
    idle_since = loop.time()
    assert 4 == len(transport._open)
    async with asyncio.timeout(10):
        while transport._open:
            await asyncio.sleep(0.01)
    assert loop.time() - idle_since >= 0.25
    assert transport._clearing is None, "nothing is left to look at"

    assert (200, b"x") == await _once(transport, upstream)
    assert 5 == upstream.connections
    async with asyncio.timeout(10):
        while transport._open:
            await asyncio.sleep(0.01)


async def _once(transport: PooledTransport, upstream: RawUpstream) -> tuple[int, bytes]:
    upstream.next([http(b"x")])
    return await ask(transport, upstream)


# Begin and end.


async def test_before_the_start_and_after_the_end(upstream: RawUpstream) -> None:
    """Nothing goes out; what was under way is broken off, and is not taken for whole."""
    pool = PooledTransport()
    with pytest.raises(UpstreamUnreachable, match="stopping"):
        await pool.open(to(upstream))
    await pool.start()
    upstream.next([http(b"kept")], [STREAM_HEAD, piece(b"one"), HANG])
    await ask(pool, upstream)
    answer = await pool.open(to(upstream))
    assert b"one" == await answer.read_some()
    await pool.close()
    with pytest.raises(UpstreamError):
        await answer.read()
    await answer.__aexit__(None, None, None)

    await asyncio.wait_for(upstream.requests[1].caller_left.wait(), 10)
    with pytest.raises(UpstreamUnreachable, match="stopping"):
        await pool.open(to(upstream))


async def test_the_end_while_an_answer_lasts_until_the_connections_end(upstream: RawUpstream) -> None:
    """We ended it, not the provider: it is not taken for whole."""
    pool = PooledTransport()
    await pool.start()
    upstream.next([HEAD + b"\r\n", b"one", HANG])
    async with await pool.open(to(upstream)) as answer:
        assert b"one" == await answer.read_some()
        await pool.close()
        with pytest.raises(AnswerUnreadable, match="cut"):
            await answer.read()


async def test_the_end_while_a_connection_is_being_made(upstream: RawUpstream) -> None:
    """Nothing is sent over it any more."""
    pool = PooledTransport()
    await pool.start()
    opening = asyncio.create_task(pool.open(to(upstream)))
    await asyncio.sleep(0)
    await pool.close()
    with pytest.raises(UpstreamUnreachable, match="stopping"):
        await opening

    assert [] == upstream.requests


# TLS.


class TlsUpstream(RawUpstream):
    """The same upstream behind TLS, with a certificate for 127.0.0.1 that it has signed itself."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.certificate = folder / "certificate.pem"
        self._key = folder / "key.pem"
        _write_certificate(self.certificate, self._key)

    async def start_tls(self) -> None:
        """Listen on a port of the system's choice."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self._key)
        context.set_alpn_protocols(["h2", "http/1.1"])
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=context)
        self.url = f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"


def _write_certificate(certificate_file: Path, key_file: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "find-token test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@pytest.fixture
async def tls_upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TlsUpstream]:
    """A server behind TLS whose certificate is trusted, by the variable with which operators name theirs."""
    server = TlsUpstream(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
    await server.start_tls()
    yield server
    await server.close()


async def test_answers_over_tls(transport: PooledTransport, tls_upstream: TlsUpstream) -> None:
    """Whole and in pieces, on one connection, which speaks HTTP/1.1 also with those who would speak HTTP/2."""
    tls_upstream.next([http(b"whole")], [STREAM_HEAD, piece(b"in "), 0.01, piece(b"pieces"), STREAM_END])

    assert [(200, b"whole"), (200, b"in pieces")] == [await ask(transport, tls_upstream) for _ in range(2)]
    assert 1 == tls_upstream.connections


async def test_a_certificate_nobody_vouches_for(
    transport: PooledTransport, tls_upstream: TlsUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No request is sent, and no key."""
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(UpstreamUnreachable, match="no connection"):
        await transport.open(to(tls_upstream))

    assert [] == tls_upstream.requests


async def test_a_certificate_of_somebody_else(transport: PooledTransport, tls_upstream: TlsUpstream) -> None:
    """It is trusted, but was made out for another name."""
    tls_upstream.url = tls_upstream.url.replace("127.0.0.1", "localhost")
    with pytest.raises(UpstreamUnreachable, match="no connection"):
        await transport.open(to(tls_upstream))

    assert [] == tls_upstream.requests


async def test_an_answer_nobody_reads_over_tls(transport: PooledTransport, tls_upstream: TlsUpstream) -> None:
    """It stops the provider here too, and comes whole once it is read."""
    part, count = b"x" * 1_000_000, 32
    tls_upstream.next([STREAM_HEAD, *[piece(part)] * count, STREAM_END])
    async with await transport.open(to(tls_upstream)) as answer:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(tls_upstream.requests[0].answered.wait(), 0.3)
        assert count * len(part) == len(await answer.read(100_000_000))
    await ask(transport, tls_upstream)

    assert 1 == tls_upstream.connections


@pytest.mark.parametrize("end", [FIN, RST])
async def test_a_body_that_is_cut_over_tls(transport: PooledTransport, tls_upstream: TlsUpstream, end: Step) -> None:
    """Closed properly or reset: that it was not all is not overlooked, and the next request is answered."""
    tls_upstream.next([CUT_CHUNK, end])
    with pytest.raises(AnswerUnreadable, match="cut"):
        await ask(transport, tls_upstream)

    assert 200 == (await ask(transport, tls_upstream))[0]


async def test_leaving_early_over_tls(transport: PooledTransport, tls_upstream: TlsUpstream) -> None:
    """The provider sees it at once."""
    tls_upstream.next([STREAM_HEAD, piece(b"one"), HANG])
    async with await transport.open(to(tls_upstream)) as answer:
        assert b"one" == await answer.read_some()

    await asyncio.wait_for(tls_upstream.requests[0].caller_left.wait(), 10)


async def test_a_kept_connection_that_was_closed_over_tls(
    transport: PooledTransport, tls_upstream: TlsUpstream
) -> None:
    """It is noticed, and the next request goes over a new one."""
    tls_upstream.next([http(b"x"), FIN])
    await ask(transport, tls_upstream)
    await asyncio.wait_for(tls_upstream.requests[0].answered.wait(), 10)
    async with asyncio.timeout(10):
        while transport._open:
            await asyncio.sleep(0.005)

    assert 200 == (await ask(transport, tls_upstream))[0]
    assert 2 == tls_upstream.connections
