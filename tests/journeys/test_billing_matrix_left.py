"""The billing matrix of docs/billing.md over a real wire, for callers who leave: what they pay, and what goes on upstream.

One test for each row, called `test_row_` and its name; on SQLite and PostgreSQL. Every one ends with books that agree, in
five seconds, and with nothing held; an upstream that nobody needs any more is left within two.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from proxy.relay import DRAINS_AT_ONCE
from tests.fakes.raw_upstream import (
    DONE,
    HANG,
    STREAM_END,
    STREAM_HEAD,
    Answer,
    RawUpstream,
    chunk,
    completion,
    http,
    piece,
    said,
    stream,
)
from tests.gateway import Gateway
from tests.journeys.charges import (
    LEAVE_SECONDS,
    SETTLE_SECONDS,
    books_locked,
    borne,
    costs,
    ended,
    free,
    left,
    paid,
    provider_costs,
    told,
    usage,
)

StartGateway = Callable[..., Awaitable[Gateway]]
BILLS_CANCELLED = {"alpha": {"bills_cancelled": True}}
LEAVERS = 500 if os.environ.get("FIND_TOKEN_EXAM") == "1" else DRAINS_AT_ONCE + 16
"""Callers who leave at once."""


@pytest.mark.parametrize("by_reset", [False, True])
async def test_row_client_left(
    by_reset: bool, database_url: str, start_gateway: StartGateway, alpha: RawUpstream
) -> None:
    """After five of 200 deltas: prompt and what was produced until then, and the upstream is left."""
    gateway = await start_gateway(database_url=database_url)
    alpha.next([STREAM_HEAD, *[piece(said("word" * 10)), 0.05] * 200])
    caller = await gateway.dial("p" * 396, stream=True)
    for _ in range(5):
        await caller.read_until(b"\n\n")
    caller.hang_up(by_reset=by_reset)
    await left(alpha.requests[0])

    row = await ended(gateway)
    assert ("client_left", "estimated", True, False) == told(row)[:4]
    assert row.cost == costs(100, row.completion_tokens)
    assert (499, 100) == (row.status, row.prompt_tokens)
    # Ten tokens a delta, and no more deltas than came in the second after the caller had left.
    assert costs(100, 0) < costs(100, 50) <= row.cost <= costs(100, 50 + 200)
    assert [("alpha", provider_costs(100, row.completion_tokens), "account")] == borne(row)


@pytest.mark.parametrize("comes", [True, False])
async def test_after_a_finish_reason_usage_is_waited_for(
    comes: bool, database_url: str, start_gateway: StartGateway, alpha: RawUpstream
) -> None:
    """Two seconds at most, whatever the provider's habit; then the upstream is left and an estimate paid."""
    gateway = await start_gateway(database_url=database_url)
    last = piece(chunk(None, usage=usage(1000, 500)) + DONE)
    alpha.next([STREAM_HEAD, piece(said("Hello") + chunk({}, finish="stop")), *([0.3, last] if comes else [HANG])])
    caller = await gateway.dial(stream=True)
    await caller.read_until(b'"finish_reason":"stop"')
    caller.hang_up(by_reset=True)

    row = await ended(gateway)
    assert (paid(29_540, "client_left") if comes else paid(costs(3, 2), "client_left", "estimated")) == told(row)
    if not comes:
        await left(alpha.requests[0])


async def test_row_client_left_bills_cancelled(
    database_url: str, start_gateway: StartGateway, alpha: RawUpstream
) -> None:
    """Leaving saves nothing there, so the stream is read on: the usage of the whole answer if it comes in time, else an
    estimate, and the upstream is left."""
    gateway = await start_gateway(
        database_url=database_url, providers=BILLS_CANCELLED, routing={"disconnect_drain_seconds": 0.6}
    )
    slow: Answer = [STREAM_HEAD, piece(said("Hello")), 0.3, *stream([" there"])[1:]]
    endless: Answer = [STREAM_HEAD, *[piece(said("Hello")), 0.1] * 100]
    for count, answer in enumerate((slow, endless), 1):
        alpha.next(answer)
        caller = await gateway.dial(stream=True)
        await caller.read_until(b"Hello")
        caller.hang_up(by_reset=True)
        row = await ended(gateway, count)
        if count == 1:
            assert paid(29_540, "client_left") == told(row)
            assert [("alpha", 28_000, "account")] == borne(row)
    await left(alpha.requests[1])

    assert ("client_left", "estimated") == (row.billing_outcome, row.usage_source)
    # Five bytes every 0.1 seconds for 0.6 seconds, and a little more on a busy machine.
    assert costs(3, 2) < row.cost < costs(3, 50)


async def test_whoever_stops_reading_is_drained_as_well(
    database_url: str, start_gateway: StartGateway, alpha: RawUpstream
) -> None:
    """A caller who is dropped because nothing is read is settled like one who left: by the usage of the whole answer."""
    gateway = await start_gateway(
        database_url=database_url, providers=BILLS_CANCELLED, server={"client_stall_seconds": 0.2}
    )
    # More than fits into all the buffers on the way, so what follows can be read only by a drain.
    alpha.next([STREAM_HEAD, *[piece(said("x" * 1_000_000))] * 20, *stream([" there"])[1:]])
    caller = await gateway.dial(stream=True)
    await caller.read_until(b"\r\n\r\n")
    caller.writer.transport.pause_reading()
    await alpha.received(1)
    await asyncio.wait_for(alpha.requests[0].answered.wait(), 10)

    assert paid(29_540, "client_left") == told(await ended(gateway))
    assert not alpha.requests[0].caller_left.is_set()
    caller.hang_up(by_reset=True)


async def test_so_many_drains_and_no_more(start_gateway: StartGateway, alpha: RawUpstream) -> None:
    """All leave at once, of streams that would go on for a minute: as many upstreams stay open as may be read for nobody,
    the others are left and estimated, and the gateway still answers."""
    gateway = await start_gateway(providers=BILLS_CANCELLED, routing={"disconnect_drain_seconds": 3})
    gate = asyncio.Event()
    alpha.otherwise = lambda _request: [STREAM_HEAD, piece(said("Hello")), gate, *stream([" there"])[1:]]
    callers = [await gateway.dial(model="lonely", max_tokens=10, stream=True) for _ in range(LEAVERS)]
    await asyncio.gather(*(caller.read_until(b"Hello") for caller in callers))
    for caller in callers:
        caller.hang_up(by_reset=True)
    async with asyncio.timeout(LEAVE_SECONDS):
        while sum(request.caller_left.is_set() for request in alpha.requests) < LEAVERS - DRAINS_AT_ONCE:
            await asyncio.sleep(0.02)
    async with asyncio.timeout(0.5):
        assert 200 == (await gateway.get("/healthz", admin=True)).status
    gate.set()

    async with asyncio.timeout(SETTLE_SECONDS):
        while gateway.balance().held:
            await asyncio.sleep(0.05)
    rows = gateway.rows()
    assert LEAVERS == len(rows)
    assert {"provider": DRAINS_AT_ONCE, "estimated": LEAVERS - DRAINS_AT_ONCE} == Counter(
        row.usage_source for row in rows
    )
    gateway.prove()


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("by_reset", [False, True])
async def test_row_client_left_before_first_byte(
    by_reset: bool,
    streaming: bool,
    database_url: str,
    start_gateway: StartGateway,
    alpha: RawUpstream,
    beta: RawUpstream,
) -> None:
    """While the provider thinks: it is left, nobody else is asked, and at most the prompt is paid, which here is nothing.
    A plain answer that it had finished is paid as reported, although nobody hears it."""
    gateway = await start_gateway(database_url=database_url)
    alpha.next([8.0, *http_error()])
    caller = await gateway.dial("p" * 396, stream=streaming)
    request = await alpha.received(1)
    caller.hang_up(by_reset=by_reset)
    await left(request)

    row = await ended(gateway)
    assert free("client_left_before_first_byte") == told(row)
    assert (499, [("alpha", 0, "nobody")]) == (row.status, borne(row))
    assert (1, []) == (len(alpha.requests), beta.requests)

    gate = asyncio.Event()
    alpha.next([gate, http(completion(usage=usage(1000, 500)))])
    caller = await gateway.dial()
    request = await alpha.received(2)
    with books_locked(gateway):
        gate.set()
        await asyncio.wait_for(request.answered.wait(), 2)
        await asyncio.sleep(0.1)
        caller.hang_up(by_reset=by_reset)
        await asyncio.sleep(0.1)
    row = await ended(gateway, 2)
    assert paid(29_540) == told(row)
    assert [("alpha", 28_000, "account")] == borne(row)
    assert (2, []) == (len(alpha.requests), beta.requests)


async def test_a_stream_that_had_finished_is_paid_as_reported(
    database_url: str, start_gateway: StartGateway, alpha: RawUpstream
) -> None:
    """Its text was on the way when the caller left: a finish reason and usage had come, so that is what is paid."""
    gateway = await start_gateway(database_url=database_url)
    alpha.next([*stream()[:-2], piece(DONE), 0.1, STREAM_END])
    caller = await gateway.dial(stream=True)
    await caller.read_until(b"Hello")
    caller.hang_up(by_reset=True)

    row = await ended(gateway)
    assert (29_540, "provider") == (row.cost, row.usage_source)
    assert row.billing_outcome in ("client_left", "complete"), "whichever was noticed first"


def http_error() -> Answer:
    """An error that nobody waits for: whoever hears it would ask another candidate."""
    return [http({"error": {"message": "no"}}, status=500)]
