"""Event streams in every spelling, size and number: what the provider sent is what the caller gets.

The public scenarios of the catalogue's group E, over real sockets. What is random prints its seed; three seeds each. Memory
and processor time are those of a gateway in a process of its own. FIND_TOKEN_EXAM=1 looks at the clock as well.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.raw_upstream import (
    DONE,
    FIN,
    HANG,
    STREAM_END,
    STREAM_HEAD,
    USAGE,
    RawUpstream,
    chunk,
    event,
    http,
    piece,
    said,
    streamed,
)
from tests.faults.alone import Alone, alone
from tests.faults.crowd import Crowd, percentile
from tests.faults.processes import PATIENT
from tests.faults.test_stream_campaigns import EXAM, settled
from tests.gateway import Caller, Gateway
from tests.journeys.charges import left

StartGateway = Callable[..., Awaitable[Gateway]]
SEEDS = (1, 2, 3)
SPLITS = 50 if EXAM else 8
MEGABYTE = 1024 * 1024
WORDS = ("海よ、", "👩‍👩‍👧‍👦 ", "e\u0301te\u0301 ", "🏳️‍🌈", "नमस्ते ", "\\u00e9 ", "\n", '"', "한국어 ", "a")
LAST = chunk({}, finish="stop"), chunk(None, usage=USAGE), DONE


def text_of(body: bytes) -> str:
    """What the events of a stream say together."""
    parts = []
    for block in body.decode().split("\n\n"):
        if block.startswith("data:") and "[DONE]" not in block:
            parts += [choice["delta"].get("content") or "" for choice in json.loads(block[5:])["choices"]]
    return "".join(parts)


def in_parts(data: bytes, dice: random.Random) -> Iterator[bytes]:
    """``data`` cut anywhere: into many small parts, or few, or mixed."""
    longest = dice.choice((1, 2, 5, 40, 400, 4000))
    position = 0
    while position < len(data):
        step = dice.randint(1, longest)
        yield data[position : position + step]
        position += step


async def test_every_byte_in_a_packet_of_its_own(gateway: Gateway, alpha: RawUpstream) -> None:
    """S-061: CJK, emoji with joiners and combining marks, a byte at a time: the same text by its SHA-256, and charged."""
    words = [WORDS[number % len(WORDS)] for number in range(60 if EXAM else 10)]
    whole = b"".join([*map(said, words), *LAST])
    steps = [step for at in range(len(whole)) for step in (piece(whole[at : at + 1]), 0.001)]
    alpha.next([STREAM_HEAD, *steps, STREAM_END])
    reply = await gateway.chat(stream=True)

    assert digest("".join(words)) == digest(reply.text)
    assert "0.0002954" == reply.bill["cost"]


@pytest.mark.parametrize("seed", SEEDS)
async def test_any_split_is_the_same_stream(seed: int, gateway: Gateway, alpha: RawUpstream) -> None:
    """S-061: random splits; chunks of the transfer end where events do, or anywhere else."""
    dice = random.Random(seed)
    print(f"seed {seed}")
    for _ in range(SPLITS):
        words = dice.choices(WORDS, k=60)
        whole = b"".join([*map(said, words), *LAST])
        framed = [piece(part) for part in in_parts(whole, dice)] + [STREAM_END]
        alpha.next([STREAM_HEAD, *(framed if dice.random() < 0.5 else in_parts(b"".join(framed), dice))])
        reply = await gateway.chat(stream=True)

        assert digest("".join(words)) == digest(reply.text)
        assert "0.0002954" == reply.bill["cost"]
    gateway.prove()


def digest(text: str) -> str:
    """Its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("space", [b"", b" ", b"  "])
async def test_data_with_and_without_a_space(space: bytes, gateway: Gateway, alpha: RawUpstream) -> None:
    """S-063: none, one or two spaces behind `data:`, at `[DONE]` too: delivered as it came, and charged."""
    events = [one.replace(b"data: ", b"data:" + space) for one in (said("Hello"), said(" there"), *LAST)]
    alpha.next(streamed(*events))
    reply = await gateway.chat(stream=True)

    expected = b"".join(one.replace(b"upstream-name", b"standard") for one in events[:3])
    assert expected == reply.body.partition(b": findtoken")[0]
    assert ("0.0002954", 1) == (reply.bill["cost"], reply.body.count(b"[DONE]"))
    assert "complete" == gateway.row().billing_outcome


ODD = (
    b"\xef\xbb\xbfdata: ",
    b": ping\n\n",
    b'event: message\nid: 17\nretry: 3000\ndata: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n',
    b"data:\n\n",
    b'data: {"choices":[{"index":0,\ndata: "delta":{"content":"b"}}]}\n\n',
    b":\n\n\n\n",
    (
        b'data: {"never seen":[1e999,{"x":null}],"big":9223372036854775808,"twice":1,"twice":2,"choices":[{"index":0,'
        b'"delta":{"content":"\\ud83d\\ude00\\u0000\\/"}}]}\n\n'
    ),
    b'unknown: field\ndata: {"choices":[{"index":0,"delta":{"content":"c"}}]}\n: comment inside\n\n',
)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
async def test_comments_fields_and_a_byte_order_mark(line_end: bytes, gateway: Gateway, alpha: RawUpstream) -> None:
    """S-065: no error, every byte as it came, one charge; in all three line ends, byte by byte and at once."""
    first = ODD[0] + b'{"choices":[{"index":0,"delta":{"content":"first"}}]}\n\n'
    content = b"".join((first, *ODD[1:], chunk({}, finish="stop"))).replace(b"\n", line_end)
    whole = content + chunk(None, usage=USAGE) + DONE
    for count, parts in enumerate(([piece(whole)], [piece(whole[at : at + 1]) for at in range(len(whole))]), 1):
        alpha.next([STREAM_HEAD, *parts, STREAM_END])
        reply = await gateway.chat(stream=True)

        before_the_bill, _, _ = reply.body.partition(b": findtoken cost=0.0002954 ")
        assert content.replace(b"upstream-name", b"standard") == before_the_bill
        assert count == len(gateway.rows())
    gateway.prove()


@pytest.mark.parametrize("size", [70_000, MEGABYTE, 8 * MEGABYTE])
async def test_huge_lines_are_delivered_whole(size: int, gateway: Gateway, alpha: RawUpstream) -> None:
    """S-066: one data line of that size, however the wire cuts it."""
    text = "é" * (size // 2)
    line = said(text)
    for parts in ([piece(line)], [piece(line[at : at + 50_000]) for at in range(0, len(line), 50_000)]):
        alpha.next([STREAM_HEAD, piece(said("before")), *parts, *[piece(one) for one in LAST], STREAM_END])
        reply = await gateway.chat(stream=True)
        assert digest("before" + text) == digest(reply.text)
        assert "0.0002954" == reply.bill["cost"]


@pytest.fixture
async def upstream(tmp_path: Path) -> Any:
    """An upstream for a gateway in a process of its own."""
    started = await RawUpstream().start()
    yield started
    await started.close()


async def test_a_line_that_never_ends(tmp_path: Path, upstream: RawUpstream) -> None:
    """S-066: 256 MiB without a line end, in one chunk, in many, or until the close: an error event, the provider left, and
    less than 64 MB of memory. As the first event it is no answer at all: 502."""
    blocks = [b"x" * MEGABYTE] * 256
    hello = said("Hello")
    answers: list[tuple[bytes, bytes, list[bytes]]] = [
        (STREAM_HEAD, piece(hello), [b"%x\r\n" % (256 * MEGABYTE), *blocks]),
        (STREAM_HEAD, piece(hello), [piece(block) for block in blocks[:2]] * 128),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", hello, blocks),
    ]
    async with alone(tmp_path, upstream.url, routing=PATIENT) as gateway:
        for head, first, endless in answers:
            await read_all(await gateway.dial(stream=True))  # So that the provider is not taken for broken.
            gateway.forget_the_most()
            before = gateway.memory()
            upstream.next([head, first, *endless, FIN])
            whole = await read_all(await gateway.dial(stream=True))
            await left(upstream.requests[-1])
            assert b"Hello" in whole
            assert b'"finish_reason": "error"' in whole
            assert b"[DONE]" not in whole
            upstream.next(*[[head, *endless, FIN]] * 2)
            assert (await read_all(await gateway.dial(stream=True))).startswith(b"HTTP/1.1 502 ")
            await left(upstream.requests[-1])
            print(f"{(gateway.memory('VmHWM') - before) / 1e6:.1f} MB more, {gateway.cpu_seconds():.2f} s so far")
            assert gateway.memory("VmHWM") - before <= 64_000_000
        gateway.prove()


async def read_all(caller: Caller) -> bytes:
    """A whole answer: until the gateway closes, or the end of what it says."""
    async with asyncio.timeout(60):
        head = await caller.reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 200 "):
            head += await caller.reader.readuntil(b"\r\n0\r\n\r\n")
    caller.writer.close()
    return head


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(("code", "status", "calls"), [(400, 400, 1), (429, 429, 2), (503, 503, 2)])
async def test_an_error_inside_a_200(
    code: int,
    status: int,
    calls: int,
    streaming: bool,
    start_gateway: StartGateway,
    alpha: RawUpstream,
    beta: RawUpstream,
) -> None:
    """S-068: the status line is not believed: a real error, retried or failed over only where that can help, and free."""
    gateway = await start_gateway(routing={"backoff_seconds": [0.01], "retries": 1})
    error = {"error": {"code": code, "message": "told inside", "type": ""}}
    alpha.otherwise = lambda _request: streamed(event(error), DONE) if streaming else [http(error)]
    reply = await gateway.chat(model="lonely", stream=streaming)

    assert (status, calls) == (reply.status, len(alpha.requests))
    assert [0] == [row.cost for row in gateway.rows()]
    other = await gateway.chat(stream=streaming)
    assert (400 if code == 400 else 200) == other.status
    assert (0 if code == 400 else 1) == len(beta.requests)
    gateway.prove()


async def test_nothing_is_kept_back(tmp_path: Path) -> None:
    """S-070: each delta is there before the provider makes the next, uncompressed and marked for proxies; in the exam 99 of
    100 within 50 ms."""
    crowd = await Crowd().start()
    try:
        async with alone(tmp_path, crowd.url, routing=PATIENT) as gateway:
            [listener] = await crowd.listen(gateway.address, [gateway.request("stream 0", stream=True)])
            async with asyncio.timeout(60):
                while not crowd.speakers:
                    await asyncio.sleep(0.001)
                for number in range(100):
                    crowd.speakers[0].say()
                    await asyncio.sleep(0.1 if EXAM else 0)
                    while len(listener.heard) <= number:
                        await asyncio.sleep(0.0005)
                crowd.finish()
                while not listener.is_done:
                    await asyncio.sleep(0.001)
            print(
                f"on their way: p50 {percentile(listener.late, 0.5) * 1e3:.2f} ms, "
                f"p99 {percentile(listener.late, 0.99) * 1e3:.2f} ms"
            )
            assert list(range(100)) == listener.heard
            assert b"\r\nX-Accel-Buffering: no\r\n" in listener.head
            assert b"content-encoding" not in listener.head.lower()
            if EXAM:
                assert percentile(listener.late, 0.99) <= 0.05
    finally:
        await crowd.close()


async def test_a_hundred_thousand_tiny_deltas(tmp_path: Path, upstream: RawUpstream) -> None:
    """S-071: ten times as many take at most 13 times as long, hardly any more memory, and are charged right."""
    few = 10_000 if EXAM else 2_000
    async with alone(tmp_path, upstream.url, routing=PATIENT) as gateway:
        await deltas(gateway, upstream, few)
        gateway.forget_the_most()
        before = gateway.memory()
        # The slowest of three, since a busy machine disturbs the short ones most; what grows with the square grows by 100.
        short = max([await deltas(gateway, upstream, few) for _ in range(3)])
        long = await deltas(gateway, upstream, 10 * few)
        more = gateway.memory("VmHWM") - before
        print(f"{few} deltas {short:.3f} s of CPU, ten times as many {long:.3f} s; {more / 1e6:.1f} MB more")

        assert long <= 13 * short
        assert more <= 20_000_000
        await settled(gateway, 5)
        assert {29_540} == {row.cost for row in gateway.rows()}
        gateway.prove()


async def deltas(gateway: Alone, upstream: RawUpstream, count: int) -> float:
    """One stream of so many characters, as fast as it goes: the gateway's processor time."""
    block = piece(said("a")) * 500
    upstream.next([STREAM_HEAD, *[block] * (count // 500), *[piece(one) for one in LAST], STREAM_END])
    before = gateway.cpu_seconds()
    whole = await read_all(await gateway.dial(stream=True))

    assert count == whole.count(b'"content":"a"')
    return gateway.cpu_seconds() - before


@pytest.mark.parametrize("text", ["word " * 100, "x" * 60_000], ids=["small deltas", "large deltas"])
async def test_a_reader_who_stops_costs_little(text: str, tmp_path: Path, upstream: RawUpstream) -> None:
    """Whoever reads nothing is no reason to take more from the provider: a mebibyte for each at most, and it is dropped."""
    readers = 100 if EXAM else 10
    block = piece(said(text)) * max(1, 60_000 // len(said(text)))
    upstream.otherwise = lambda _request: [STREAM_HEAD, *[block] * 500, HANG]
    async with alone(
        tmp_path,
        upstream.url,
        routing=PATIENT,
        server={"client_stall_seconds": 2, "listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0"},
    ) as gateway:
        warm = await gateway.dial(stream=True)
        await warm.read_until(b"\r\n\r\n")
        warm.hang_up(by_reset=True)
        await left(await upstream.received(1))
        before = gateway.memory()
        gateway.forget_the_most()
        callers = [await gateway.dial(stream=True) for _ in range(readers)]
        for caller in callers:
            await caller.read_until(b"\r\n\r\n")
            caller.writer.transport.pause_reading()
        async with asyncio.timeout(60):
            for request in upstream.requests[1:]:
                await request.caller_left.wait()
        more = (gateway.memory("VmHWM") - before) / readers
        print(f"{more / 1024:.0f} KiB for each of {readers} readers who stopped")

        assert more <= MEGABYTE
        await settled(gateway, readers + 1)
        assert {"client_left"} == {row.billing_outcome for row in gateway.rows()}
        gateway.prove()
        for caller in callers:
            caller.hang_up(by_reset=True)
