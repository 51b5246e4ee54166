"""Spans reach a collector, or are counted; whatever the collector does, nobody waits for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from metrics.otlp import SERVER, Span, traces_url
from metrics.span_sender import BATCH_LIMIT, SpanSender
from tests.fakes.collector import Collector, running_collector
from tests.fakes.raw_upstream import FIN, HANG, RST, RawUpstream, http


def spans(count: int, name: str = "a") -> list[Span]:
    """So many."""
    return [Span("1" * 32, f"{number + 1:016x}", "", False, name, SERVER, 1, 2, {}) for number in range(count)]


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """A collector that takes everything unless told otherwise."""
    async with running_collector() as one:
        yield one


@asynccontextmanager
async def sending(url: str, **changed: Any) -> AsyncIterator[tuple[SpanSender, list[int]]]:
    """A sender with short waits, and what it says it lost; in the end it sends what it can."""
    lost: list[int] = []
    waits = {"gather_seconds": 0.01, "timeout_seconds": 5.0, "again_seconds": (0.01, 0.01, 0.01), **changed}
    sender = SpanSender(traces_url(url), {"service.name": "find-token"}, "1.0", lost.append, **waits)
    try:
        yield sender, lost
    finally:
        await asyncio.to_thread(sender.close, 10)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_spans_arrive_in_order(collector: Collector) -> None:
    """All of them, in requests of bounded size, as JSON at OTLP's path."""
    async with sending(collector.url) as (sender, lost):
        sender.put(spans(2 * BATCH_LIMIT + 1))
        told = await collector.arrived(2 * BATCH_LIMIT + 1)
        sender.put(spans(1))
        await collector.arrived(2 * BATCH_LIMIT + 2)

    assert [*range(1, 2 * BATCH_LIMIT + 2), 1] == [int(one.span.span_id.hex(), 16) for one in told]
    assert {("/v1/traces", "application/json")} == set(collector.heads)
    assert (4, []) == (len(collector.bodies), lost)


async def test_a_busy_collector_is_asked_again(collector: Collector) -> None:
    """The same request, until it is taken."""
    collector.answers.extend([web.Response(status=503), web.Response(status=429), web.Response(status=502)])
    async with sending(collector.url) as (sender, lost):
        sender.put(spans(3))
        await collector.arrived(3)

    assert 4 == len(collector.bodies)
    assert 1 == len(set(collector.bodies))
    assert [] == lost


@pytest.mark.parametrize(
    ("answer", "requests"),
    [
        (web.Response(status=400), 1),
        (web.Response(status=307, headers={"Location": "http://127.0.0.1:1/"}), 1),
        (web.json_response({"partialSuccess": {"rejectedSpans": "7"}}), 1),
    ],
    ids=["refused", "sent elsewhere", "refused in part"],
)
async def test_what_is_refused_is_counted(collector: Collector, answer: web.Response, requests: int) -> None:
    """Asking again would not help, and nobody is followed elsewhere; what comes later is sent."""
    collector.answers.append(answer)
    async with sending(collector.url) as (sender, lost):
        sender.put(spans(2))
        await until(lambda: bool(lost))
        sender.put(spans(1))
        await collector.arrived(1)

    assert [2] == lost
    assert requests + 1 == len(collector.bodies)


@pytest.mark.parametrize(
    "answer",
    [
        [b"nonsense\r\n\r\n", FIN],
        [RST],
        [FIN],
        [http(b"", status=504)],
    ],
    ids=["no http", "reset", "closed", "busy"],
)
async def test_a_collector_that_is_none_costs_spans_and_nothing_else(answer: list[Any]) -> None:
    """They are sent a few times and then dropped; the next ones are sent again."""
    upstream = await RawUpstream().start()
    upstream.otherwise = lambda _: answer
    try:
        async with sending(upstream.url) as (sender, lost):
            sender.put(spans(2))
            await until(lambda: lost == [2])
            assert 4 == len(upstream.requests)
            upstream.otherwise = lambda _: [http(b"thank you")]
            sender.put(spans(1))
            await upstream.received(5)
    finally:
        await upstream.close()
    assert 2 == sum(lost)


async def test_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    """Counted each time, told once, with nothing of the spans in the line."""
    upstream = await RawUpstream().start()
    await upstream.close()
    caplog.set_level(logging.INFO)
    async with sending(upstream.url) as (sender, lost):
        for count in (1, 2):
            sender.put(spans(count, name="canary"))
            await until(lambda expected=count: len(lost) == expected)

    assert [1, 2] == lost
    (line,) = [record.getMessage() for record in caplog.records if record.name == "find-token.tracing"]
    where = upstream.url.removeprefix("http://")
    assert f"1 spans for {where} were dropped: the collector cannot be reached: ConnectionRefusedError" == line


async def test_a_full_queue_drops_what_comes(collector: Collector) -> None:
    """Whoever hands spans over does not wait, and what waited before is sent when the collector is back."""
    collector.free.clear()
    async with sending(collector.url, queue_limit=10) as (sender, lost):
        sender.put(spans(1))
        await collector.asked(1)
        sender.put(spans(6))
        began = time.thread_time()
        for _ in range(100):
            sender.put(spans(5, name="too many"))
        spent = time.thread_time() - began
        sender.put(spans(4))
        collector.free.set()
        told = await collector.arrived(11)

    assert [5] * 100 == lost
    assert {"a"} == {one.span.name for one in told}
    assert spent < 1


async def test_what_waits_is_sent_before_the_end(collector: Collector) -> None:
    """Closing does not wait for more to gather, nor for the next try."""
    collector.answers.append(web.Response(status=503))
    async with sending(collector.url, gather_seconds=60, again_seconds=(60,)) as (sender, lost):
        sender.put(spans(3))
        await asyncio.to_thread(sender.close, 10)

    assert (3, []) == (len(collector.told), lost)


@pytest.mark.parametrize(
    "steps", [[HANG], [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", HANG]], ids=["silent", "half"]
)
async def test_a_collector_that_hangs_does_not_keep_the_process(steps: list[Any]) -> None:
    """Closing takes as long as it may; what was not taken by then is counted, once."""
    upstream = await RawUpstream().start()
    upstream.otherwise = lambda _: steps
    try:
        async with sending(upstream.url) as (sender, lost):
            sender.put(spans(BATCH_LIMIT + 2))
            await upstream.received(1)
            began = time.monotonic()
            await asyncio.to_thread(sender.close, 0.1)
            took = time.monotonic() - began
            sender.put(spans(1))
    finally:
        await upstream.close()

    assert 0.09 < took < 3
    assert [BATCH_LIMIT + 2, 1] == lost
