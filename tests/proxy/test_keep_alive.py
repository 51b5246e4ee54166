"""A caller whose provider is silent is told that somebody is still there, and is told the truth however it ends."""

from __future__ import annotations

import asyncio
import json
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
    chunk,
    completion,
    failure,
    http,
    piece,
    said,
    stream,
)
from tests.gateway import Gateway

KEEP_ALIVE = b": keep-alive\n\n"
OFTEN = {"keep_alive_comment_seconds": 0.1}
PATIENT = {**OFTEN, "backoff_seconds": [0.02]}


@pytest.fixture
async def talkative(start_gateway: Any) -> Gateway:
    """A gateway that waits for a tenth of a second only."""
    started: Gateway = await start_gateway(routing=OFTEN)
    return started


@pytest.mark.parametrize("begins", [[], [STREAM_HEAD]], ids=["no status line", "a status line"])
async def test_a_silent_provider_is_covered_by_comments(
    begins: list[bytes], talkative: Gateway, alpha: RawUpstream
) -> None:
    """They come while it thinks, again and again, and not once content has come; the answer is what it is without them."""
    rest: Answer = [*stream(["Hello"])[1:-1], 0.4, STREAM_END]
    alpha.next([*begins, 0.55, *([] if begins else [STREAM_HEAD]), *rest])
    reply = await talkative.chat(stream=True)

    assert reply.body.count(KEEP_ALIVE) >= 3
    assert reply.body.startswith(KEEP_ALIVE)
    assert KEEP_ALIVE not in reply.body[reply.body.index(b"data: ") :]
    assert ("Hello", "0.0002954", "[DONE]") == (reply.text, reply.bill["cost"], reply.events[-1])
    assert "no" == reply.headers["X-Accel-Buffering"]
    talkative.prove()


async def test_the_head_that_leaves_early_says_only_what_is_known(
    talkative: Gateway, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """Who will serve is open until there is content, so nobody is named; what the call can cost is known."""
    alpha.next([0.3, *stream()])
    reply = await talkative.chat(stream=True)

    assert ("standard", None, None, None) == tuple(
        reply.header(name) for name in ("Mode", "Provider", "Model", "Attempts")
    )
    assert reply.money("Hold") > 0
    assert "standard" == reply.chunks[0]["model"]


async def test_a_provider_that_is_quick_enough_leaves_no_comment(gateway: Gateway, alpha: RawUpstream) -> None:
    """By default fifteen seconds have to pass, so usual answers are what they were."""
    alpha.next([0.3, *stream()])
    reply = await gateway.chat(stream=True)

    assert (0, "alpha") == (reply.body.count(KEEP_ALIVE), reply.header("Provider"))


async def test_comments_can_be_switched_off(start_gateway: Any, alpha: RawUpstream) -> None:
    """With 0 a call keeps its true status for as long as there is no content."""
    gateway: Gateway = await start_gateway(
        routing={"keep_alive_comment_seconds": 0, "first_content_timeout_seconds": 0.3}
    )
    alpha.otherwise = lambda _request: [HANG]

    assert (504, "deadline_exceeded") == (await gateway.chat(model="lonely", stream=True)).code


async def test_a_provider_that_shows_itself_is_not_silent(
    start_gateway: Any, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """Comments of its own are no content, and no silence: the answer has not begun, so failing is told by a real status."""
    gateway: Gateway = await start_gateway(routing={**OFTEN, "first_content_timeout_seconds": 0.6})
    waiting = piece(b": still here\n\n")
    alpha.otherwise = lambda _request: [STREAM_HEAD, *[waiting, 0.03] * 100]
    beta.otherwise = lambda _request: failure(503)
    reply = await gateway.chat(stream=True, models=["alternative"])

    assert 503 <= reply.status <= 504


@pytest.mark.parametrize(
    "ends", [failure(503), [RST], [STREAM_HEAD, FIN], [STREAM_HEAD, HANG]], ids=["503", "reset", "cut", "silent"]
)
async def test_another_provider_may_still_serve(
    ends: Answer, start_gateway: Any, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """No content has left, so whoever fails after a comment is followed by the next; one answer, one charge."""
    gateway: Gateway = await start_gateway(routing={**PATIENT, "candidate_first_content_seconds": 0.5})
    alpha.otherwise = lambda _request: [0.3, *ends]
    reply = await gateway.chat(stream=True)

    assert reply.body.startswith(KEEP_ALIVE)
    assert ("Hello there", {"alternative"}) == (reply.text, {one["model"] for one in reply.chunks})
    assert "0.00211" == reply.bill["cost"], "1000 tokens at 1 and 500 at 2, with the fee"
    assert ("complete", "beta") == (gateway.row().billing_outcome, gateway.row().provider)
    gateway.prove()


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        (failure(503), "all_providers_unavailable"),
        ([HANG], "deadline_exceeded"),
        (failure(400, "wrong words"), "invalid_value"),
        ([STREAM_HEAD, FIN], "bad_upstream_response"),
    ],
)
async def test_a_failure_after_a_comment_is_told_in_the_stream(
    ends: Answer, code: str, start_gateway: Any, alpha: RawUpstream
) -> None:
    """The status is gone, so it is the error chunk of a stream that breaks: no `[DONE]`, no bill, closed, and free."""
    gateway: Gateway = await start_gateway(routing={**PATIENT, "first_content_timeout_seconds": 1, "retries": 1})
    alpha.otherwise = lambda _request: [0.25, *ends]
    caller = await gateway.dial(model="lonely", stream=True)
    whole = await caller.read_all()

    assert whole.startswith(b"HTTP/1.1 200 ")
    assert KEEP_ALIVE in whole
    assert b"[DONE]" not in whole
    assert b"findtoken " not in whole
    assert whole.endswith(b"\r\n0\r\n\r\n"), "it is said in full before the connection closes"
    last = json.loads(whole[whole.rindex(b"data: ") + 6 :].partition(b"\n\n")[0])
    row = gateway.row()
    assert (row.request_id, "error", code) == (last["id"], last["choices"][0]["finish_reason"], last["error"]["code"])
    assert ("failed", 0) == (row.billing_outcome, row.cost)
    gateway.prove()


async def test_a_caller_who_leaves_after_a_comment(talkative: Gateway, alpha: RawUpstream) -> None:
    """Nothing had been produced: free, and the provider is left at once."""
    alpha.next([HANG])
    caller = await talkative.dial(stream=True)
    await caller.read_until(KEEP_ALIVE)
    caller.hang_up(by_reset=True)
    await asyncio.wait_for(alpha.requests[0].caller_left.wait(), 2)

    [row] = await talkative.settled(1)
    assert ("client_left_before_first_byte", 0) == (row.billing_outcome, row.cost)
    talkative.prove()


async def test_a_provider_that_cannot_stream_is_covered_as_well(start_gateway: Any, alpha: RawUpstream) -> None:
    """Its whole answer is waited for, which takes longest of all."""
    gateway: Gateway = await start_gateway(routing=OFTEN, providers={"alpha": {"stream_mode": "simulated"}})
    alpha.next([0.35, http(completion())])
    reply = await gateway.chat(stream=True)

    assert reply.body.count(KEEP_ALIVE) >= 2
    assert ("Hello there", "0.0002954") == (reply.text, reply.bill["cost"])


async def test_an_older_caller_is_told_as_well(talkative: Gateway, alpha: RawUpstream) -> None:
    """On a connection that ends with the answer aiohttp writes the head; the comments are the same."""
    alpha.next([0.25, STREAM_HEAD, piece(said("Hello") + chunk({}, finish="stop") + DONE), STREAM_END])
    body = json.dumps({"model": "standard", "stream": True, "messages": [{"role": "user", "content": "a"}]}).encode()
    caller = await talkative.dial_raw(
        f"POST /v1/chat/completions HTTP/1.0\r\nAuthorization: Bearer {talkative.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    whole = await caller.read_all()

    assert whole.index(KEEP_ALIVE) < whole.index(b"Hello") < whole.index(b"[DONE]")
