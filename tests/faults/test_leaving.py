"""What callers pay, and what goes on upstream, when somebody breaks off: a caller or a provider.

The public scenarios of the catalogue's group C, over real sockets. Whatever is random prints its seed; three seeds each.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.relay import DRAINS_AT_ONCE
from tests.fakes.raw_upstream import (
    DONE,
    FIN,
    HANG,
    RST,
    STREAM_END,
    STREAM_HEAD,
    Answer,
    RawUpstream,
    chunk,
    completion,
    event,
    http,
    piece,
    said,
    streamed,
)
from tests.faults.alone import alone
from tests.faults.crowd import Crowd
from tests.faults.processes import PATIENT
from tests.faults.test_stream_campaigns import EXAM, settled
from tests.gateway import Gateway
from tests.journeys.charges import costs, ended, left, told, usage

StartGateway = Callable[..., Awaitable[Gateway]]
SEEDS = (1, 2, 3)
PAUSE_SECONDS = 0.05
DRAINED = 500 if EXAM else DRAINS_AT_ONCE + 20


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_client_that_drops_in_the_middle_of_a_stream(seed: int, gateway: Gateway, alpha: RawUpstream) -> None:
    """S-031: a reset after some of 200 deltas: the provider is left within two seconds, and one line charges more than the
    prompt and no more than what was sent until a second later."""
    dice = random.Random(seed)
    after, prompt, by_reset = dice.randint(2, 8), "p" * dice.randint(40, 4000), dice.random() < 0.7
    print(f"seed {seed}: {after} deltas, {len(prompt)} bytes of prompt, by reset {by_reset}")
    alpha.next([STREAM_HEAD, *[piece(said("word" * 10)), PAUSE_SECONDS] * 200])
    caller = await gateway.dial(prompt, stream=True)
    for _ in range(after):
        await caller.read_until(b"\n\n")
    caller.hang_up(by_reset=by_reset)
    await left(alpha.requests[0])

    row = await ended(gateway)
    assert "client_left" == row.billing_outcome
    deltas_at_most = after + 1 + 1 / PAUSE_SECONDS
    assert costs(row.prompt_tokens, 0) < row.cost <= costs(row.prompt_tokens, int(deltas_at_most * 10) + 1)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_client_that_drops_before_the_first_byte(
    seed: int, streaming: bool, gateway: Gateway, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """S-033: while the provider thinks: left within two seconds, nothing held, nothing paid, and nobody else is asked."""
    dice = random.Random(seed)
    thinks = dice.uniform(0.05, 0.4)
    print(f"seed {seed}: leaves after {thinks:.2f} s")
    alpha.next([8.0, *([STREAM_HEAD, piece(said("late"))] if streaming else [http(completion("late"))])])
    caller = await gateway.dial(stream=streaming)
    request = await alpha.received(1)
    await asyncio.sleep(thinks)
    caller.hang_up(by_reset=dice.random() < 0.5)
    await left(request)

    row = await ended(gateway)
    assert ("client_left_before_first_byte", 0) == (row.billing_outcome, row.cost)
    assert (1, 0) == (len(alpha.requests), len(beta.requests))


async def test_a_cap_on_reading_on_for_nobody(tmp_path: Path) -> None:
    """S-037: of a provider that bills cancelled calls, so many streams are read to their end as are allowed; the others are
    left and estimated, and the health page answers in half a second meanwhile."""
    crowd = await Crowd().start()
    try:
        async with alone(
            tmp_path,
            crowd.url,
            provider="bills_cancelled = true",
            routing={**PATIENT, "disconnect_drain_seconds": 3},
        ) as gateway:
            requests = [gateway.request(f"stream {number}", stream=True) for number in range(DRAINED)]
            listeners = await crowd.listen(gateway.address, requests)
            async with asyncio.timeout(60):
                while len(crowd.speakers) < DRAINED:
                    await asyncio.sleep(0.01)
                await crowd.speak(1, 0.1)
                while not all(listener.heard for listener in listeners):
                    await asyncio.sleep(0.01)
            for listener in listeners:
                listener.vanish()
            async with asyncio.timeout(2):
                while sum(one.transport is not None for one in crowd.speakers.values()) > DRAINS_AT_ONCE:
                    await asyncio.sleep(0.01)
            async with asyncio.timeout(0.5):
                assert b" 200 " in await health(gateway.running.told["admin_url"])
            assert DRAINS_AT_ONCE == sum(one.transport is not None for one in crowd.speakers.values())
            crowd.finish()
            await settled(gateway, DRAINED)

            rows = gateway.rows()
            assert {"client_left": DRAINED} == Counter(row.billing_outcome for row in rows)
            assert all(row.cost > 0 for row in rows)
            gateway.prove()
    finally:
        await crowd.close()


async def health(url: str) -> bytes:
    """The head of the health page."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return head


FORTY = [piece(said(f"word{number} ")) for number in range(40)]
BREAKS: dict[str, Answer] = {
    "reset": [STREAM_HEAD, *FORTY, RST],
    "closed without a finish": [STREAM_HEAD, *FORTY, FIN],
    "ended without a finish": [STREAM_HEAD, *FORTY, STREAM_END],
    "error event": [STREAM_HEAD, *FORTY, piece(event({"error": {"message": "broken", "code": 500}})), HANG],
    "silence": [STREAM_HEAD, *FORTY, HANG],
    "only comments": [STREAM_HEAD, *FORTY, *[piece(b": ping\n\n"), 0.05] * 40, HANG],
}


@pytest.mark.parametrize("name", BREAKS)
async def test_an_upstream_that_breaks_after_partial_output(
    name: str, start_gateway: StartGateway, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """S-038: all 40 deltas, then an error event and no `[DONE]`; free, marked, given back at once, and nobody else asked."""
    gateway = await start_gateway(routing={"silence_timeout_seconds": 0.5})
    alpha.next(BREAKS[name])
    caller = await gateway.dial(stream=True)
    whole = (await caller.read_all()).decode()

    assert [f"word{number} " in whole for number in range(40)] == [True] * 40
    assert 1 == whole.count('"error": {')
    assert '"finish_reason": "error"' in whole
    assert "[DONE]" not in whole
    row = await ended(gateway)
    assert ("cut_by_provider", 0) == (row.billing_outcome, row.cost)
    assert "served" != row.attempts[0].outcome
    assert [] == beta.requests
    if name in ("silence", "only comments", "error event"):
        await left(alpha.requests[0])


NOTHING: dict[str, Answer] = {
    "no finish reason": [http(completion("", usage=usage(5000, 0), finish=None))],
    "finish error": streamed(chunk({}, finish="insufficient_system_resource", usage=usage(5000, 0)), DONE),
    "an empty body": [http(b"")],
    "an empty stream": streamed(DONE),
    "a stream of usage alone": streamed(chunk(None, usage=usage(5000, 0)), DONE),
}


@pytest.mark.parametrize("name", NOTHING)
async def test_nothing_produced_is_nothing_paid(name: str, start_gateway: StartGateway, alpha: RawUpstream) -> None:
    """S-039: whatever the provider reports of the prompt, an answer without any output and without a proper finish is free."""
    gateway = await start_gateway(routing={"backoff_seconds": [0.01], "retries": 1})
    answer = NOTHING[name]
    alpha.otherwise = lambda _request: answer
    reply = await gateway.chat(model="lonely", stream=answer[0] == STREAM_HEAD)

    row = await ended(gateway)
    assert (0, 0) == (row.cost, row.absorbed)
    assert "complete" != row.billing_outcome
    assert b"[DONE]" not in reply.body


@pytest.mark.parametrize("streaming", [False, True])
async def test_an_empty_answer_with_a_proper_finish_is_paid(
    streaming: bool, gateway: Gateway, alpha: RawUpstream
) -> None:
    """S-039, its last line: 5000 tokens of prompt and `stop` follow the documented rule, as the provider reports."""
    report = usage(5000, 0)
    finish: Any = chunk({}, finish="stop", usage=report)
    alpha.next(streamed(finish, DONE) if streaming else [http(completion("", usage=report))])
    reply = await gateway.chat(stream=streaming)

    row = await ended(gateway)
    assert (200, costs(5000, 0)) == (reply.status, row.cost)
    assert ("complete", "provider") == told(row)[:2]
