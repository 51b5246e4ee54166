"""What is tried, how often and for how long: the public scenarios of retries, failover and timeouts, over real sockets.

The times are a twentieth or so of the true ones; FIND_TOKEN_EXAM=1 runs the true ones.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from tests.fakes.raw_upstream import (
    DONE,
    FIN,
    HANG,
    RST,
    STREAM_END,
    STREAM_HEAD,
    Answer,
    RawUpstream,
    as_asked,
    chunk,
    failure,
    http,
    piece,
    said,
    streamed,
)
from tests.faults.pace import EXAM
from tests.gateway import Gateway

pytestmark = pytest.mark.timeout(600 if EXAM else 120)
SCALE = 1.0 if EXAM else 0.05
LATE_SECONDS = 0.5 if EXAM else 1.0
"""By how much a machine that is busy with other tests may be late with what is due."""
TIMES = {
    "backoff_seconds": [1 * SCALE, 2 * SCALE, 4 * SCALE],
    "timeout_seconds": 30 * SCALE,
    "first_content_timeout_seconds": 120 * SCALE if EXAM else 30 * SCALE,
    "silence_timeout_seconds": 120 * SCALE,
    "candidate_first_content_seconds": 30 if EXAM else 15 * SCALE,
    "candidate_plain_seconds": 15 * SCALE,
}
SLACK = 2.0
"""Seconds that a busy machine may add."""


@pytest.mark.parametrize("streaming", [False, True])
async def test_the_schedule(streaming: bool, start_gateway: Any, alpha: RawUpstream) -> None:
    """S-073: 503 three times, then an answer: calls at 0, 1, 3 and 7 s (± 20 %), one 200, one charge; when all fail exactly
    four calls and a 503 with Retry-After. Again and again: a lone caller's own failures open no circuit."""
    gateway: Gateway = await start_gateway(routing=TIMES)
    for _ in range(3 if EXAM else 2):
        del alpha.requests[:]
        alpha.next(*[failure(503)] * 3)
        reply = await gateway.chat(model="lonely", stream=streaming)
        arrivals = [request.arrived_at - alpha.requests[0].arrived_at for request in alpha.requests]
        assert (200, 4) == (reply.status, len(arrivals))
        for gap, wait in zip((b - a for a, b in itertools.pairwise(arrivals)), (1, 2, 4), strict=True):
            assert 0.8 * wait * SCALE <= gap <= 1.2 * wait * SCALE + LATE_SECONDS
        alpha.next(*[failure(503)] * 4)
        reply = await gateway.chat(model="lonely", stream=streaming)
        assert (503, 8) == (reply.status, len(alpha.requests))
        assert int(reply.headers["Retry-After"]) >= 1
    assert {29_540, 0} == {row.cost for row in gateway.rows()}
    gateway.prove()


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
async def test_what_is_never_retried(status: int, streaming: bool, gateway: Gateway, alpha: RawUpstream) -> None:
    """S-074: one call each, the class of the status kept, no secret in the words, no charge; the platform's own key is not the
    caller's trouble."""
    alpha.otherwise = lambda request: failure(status, f"see {request.headers['authorization']}")
    reply = await gateway.chat(model="lonely", stream=streaming)

    assert 1 == len(alpha.requests)
    assert (503 if status in (401, 403) else 400 <= reply.status < 500 and reply.status) == reply.status
    assert b"canary" not in reply.body
    assert 0 == gateway.row().cost
    gateway.prove()


BROKEN: dict[str, Answer] = {
    "reset": [RST],
    "error event": [piece(b'data: {"error":{"message":"busy","code":503}}\n\n'), STREAM_END],
    "silence": [HANG],
}


@pytest.mark.parametrize("how", BROKEN)
async def test_after_the_first_byte_nobody_else_is_asked(
    how: str, start_gateway: Any, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """S-075: three deltas, then the stream breaks: the caller has them once, an error event and no end that looks complete."""
    gateway: Gateway = await start_gateway(routing={"silence_timeout_seconds": 120 if EXAM else 0.3})
    gateway.session._timeout = type(gateway.session.timeout)(total=200)
    words = ("one ", "two ", "three")
    alpha.next([STREAM_HEAD, *(piece(said(word)) for word in words), *BROKEN[how]])
    reply = await gateway.chat(stream=True)

    assert (200, "one two three") == (reply.status, reply.text)
    assert "error" == reply.chunks[-1]["choices"][0]["finish_reason"]
    assert "[DONE]" not in reply.events
    assert (1, 0) == (len(alpha.requests), len(beta.requests))
    gateway.prove()


@pytest.mark.parametrize("how", ["refused", "503", "headers then FIN", "comments alone"])
async def test_before_the_first_byte_another_serves(
    how: str, start_gateway: Any, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """S-076, S-023: an answer from the other, 200, one charge at its price; when both fail a real status and no stream."""
    gateway: Gateway = await start_gateway(routing=TIMES)
    comments = [STREAM_HEAD, *itertools.chain(*((piece(b": wait\n\n"), 0.1 if not EXAM else 1.0) for _ in range(40)))]
    ways: dict[str, Answer] = {"503": failure(503), "headers then FIN": [STREAM_HEAD, FIN], "comments alone": comments}
    if how == "refused":
        await alpha.close()
    else:
        alpha.otherwise = lambda _request: ways[how]
    beta.otherwise = as_asked(usage={"prompt_tokens": 1000, "completion_tokens": 1000})
    reply = await gateway.chat(stream=True)
    assert (200, "beta", "alternative", 316_500) == (
        reply.status,
        reply.header("Provider"),
        reply.header("Model"),
        gateway.row().cost,
    )
    row = gateway.row()
    assert ("standard", "alternative") == (row.requested_model, row.model)
    assert {0} == {one.upstream_cost for one in row.attempts if one.provider == "alpha"}
    beta.otherwise = lambda _request: failure(503)
    reply = await gateway.chat(stream=True)
    assert reply.status in (502, 503, 504)
    assert "application/json" in reply.headers["Content-Type"]
    assert ("standard", 0) == (gateway.rows()[1].requested_model, gateway.rows()[1].cost)
    gateway.prove()


SILENT: dict[str, Answer] = {"nothing at all": [HANG], "headers alone": [STREAM_HEAD, HANG]}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("how", SILENT)
async def test_an_upstream_that_never_answers(
    how: str, streaming: bool, start_gateway: Any, alpha: RawUpstream
) -> None:
    """S-077: twenty at once are told within the one deadline, retries included; sockets are closed, holds released."""
    gateway: Gateway = await start_gateway(routing=TIMES)
    gateway.session._timeout = type(gateway.session.timeout)(total=200)
    alpha.otherwise = lambda _request: SILENT[how]
    loop = asyncio.get_running_loop()
    began = loop.time()
    replies = await asyncio.gather(*(gateway.chat(model="lonely", stream=streaming) for _ in range(20)))
    seconds = loop.time() - began

    limit = TIMES["first_content_timeout_seconds"] if streaming else TIMES["timeout_seconds"]
    assert {True} == {reply.status in (502, 503, 504) for reply in replies}
    assert seconds <= limit + SLACK  # type: ignore[operator]
    async with asyncio.timeout(5):
        for request in alpha.requests:
            await request.caller_left.wait()
    assert 0 == gateway.balance().held
    gateway.prove()


async def test_slow_failures_use_up_one_deadline(start_gateway: Any, alpha: RawUpstream) -> None:
    """S-077: twelve seconds of silence, then 503, each time: thirty seconds in all and not thirty for each."""
    gateway: Gateway = await start_gateway(routing=TIMES)
    gateway.session._timeout = type(gateway.session.timeout)(total=200)
    alpha.otherwise = lambda _request: [12 * SCALE, *failure(503)]
    loop = asyncio.get_running_loop()
    began = loop.time()
    reply = await gateway.chat(model="lonely")

    assert reply.status in (503, 504)
    assert loop.time() - began <= 30 * SCALE + SLACK
    assert len(alpha.requests) <= 3


async def test_a_live_stream_is_not_cut_at_any_total(start_gateway: Any, alpha: RawUpstream) -> None:
    """S-079: a delta now and then, for longer than every limit: the limit is silence and not length."""
    silence = 120 if EXAM else 0.5
    gap, count = (5.0, 30) if EXAM else (0.15, 14)
    limits = {"silence_timeout_seconds": silence, "first_content_timeout_seconds": silence, "timeout_seconds": 1}
    gateway: Gateway = await start_gateway(routing=limits)
    gateway.session._timeout = type(gateway.session.timeout)(total=400)
    deltas = [step for number in range(count) for step in (piece(said(f"{number} ")), gap)]
    alpha.next([STREAM_HEAD, *deltas, piece(chunk({}, finish="stop")), piece(DONE), STREAM_END])
    reply = await gateway.chat(stream=True)

    assert "".join(f"{number} " for number in range(count)) == reply.text
    assert "[DONE]" == reply.events[-1]
    gateway.prove()


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(("code", "statuses", "calls"), [(400, (400,), 1), (429, (429,), 4), (503, (503,), 4)])
async def test_an_error_inside_a_200(
    code: int, statuses: tuple[int, ...], calls: int, streaming: bool, start_gateway: Any, alpha: RawUpstream
) -> None:
    """S-068: a real status, tried again only where that can help, no charge."""
    gateway: Gateway = await start_gateway(routing=TIMES)
    hidden = {"error": {"message": "no", "type": "", "code": code}}
    event = b'data: {"error":{"message":"no","type":"","code":%d}}\n\n' % code
    alpha.otherwise = lambda _request: streamed(event) if streaming else [http(hidden)]
    reply = await gateway.chat(model="lonely", stream=streaming)

    assert (True, calls) == (reply.status in statuses, len(alpha.requests))
    assert "application/json" in reply.headers["Content-Type"]
    assert 0 == gateway.row().cost
    gateway.prove()


async def test_a_thin_balance_is_not_overdrawn_by_a_dearer_stand_in(
    start_gateway: Any, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """S-024: several times what the model asked for can cost, less than the stand-in can: it is never called."""
    gateway: Gateway = await start_gateway(credit=30_000)
    alpha.otherwise = lambda _request: failure(503)
    reply = await gateway.chat(max_tokens=300)

    assert reply.status in (402, 503)
    assert [] == beta.requests
    gateway.prove(credit=30_000)
