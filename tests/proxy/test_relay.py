"""Upstream bytes to client bytes: as they come, all of them, with the bill at the end, and an honest end when they break."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import timedelta
from typing import Any

import pytest
from aiohttp_sse_client.client import EventSource

from proxy import relay
from tests.fakes.raw_upstream import (
    DONE,
    FIN,
    HANG,
    RST,
    STREAM_END,
    STREAM_HEAD,
    USAGE,
    Answer,
    RawUpstream,
    Received,
    as_asked,
    chunk,
    event,
    piece,
    said,
    stream,
    streamed,
)
from tests.gateway import PATH, Gateway, book, chat_body, http_request

# Everything a provider may put into a stream, in strange spellings; `MODEL` is where the model's name stands.
FRAMES = (
    b": OPENROUTER PROCESSING\n\n",
    b'data: {"id":"1","model":MODEL,"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n',
    b'data: {"id":"1","model":MODEL,"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}\n\n',
    b'data: {"id":"1","model":MODEL,"choices":[{"index":0,"delta":{"content":" \\ud83d\\ude00 \\"model\\""}}]}\n\n',
    'data: {"id":"1","model":MODEL,"choices":[{"index":0,"delta":{"content":"你好 👩‍👩‍👧"}}]}\n\n'.encode(),
    b'data:{"model" : MODEL ,"big":9223372036854775808,"dup":1,"dup":2,"choices":[{"delta":{"content":"no space"}}]}\n\n',
    b': ping\nevent: message\nid: 7\nretry: 10\ndata: {"choices":[{"delta":{"content":"x"}}],"model":MODEL}\n\n',
    b'data: {"choices":[{"delta":\ndata: {"content":"two lines"}}],"model":MODEL}\n\n',
    b"data:\n\n",
    b"data: not JSON at all\n\n",
    b'data: {"usage":null,"choices":[{"delta":{"reasoning_content":"thought"}}],"model":MODEL,"x":{"model":"inner"}}\n\n',
    b'data: {"choices":[{"delta":{"content":"windows"}}],"model":MODEL}\r\n\r\n',
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"model":MODEL}\n\n',
)
UPSTREAM = b"".join(FRAMES).replace(b"MODEL", b'"upstream-name"')
EXPECTED = b"".join(FRAMES).replace(b"MODEL", b'"standard"')


def without_bill(body: bytes) -> bytes:
    """A stream without the bill and the `[DONE]` that end it."""
    content, _, end = body.rpartition(b": findtoken ")
    assert end.endswith(b"\n\ndata: [DONE]\n\n")
    return content


async def test_a_stream_is_relayed_byte_for_byte_however_it_is_cut(gateway: Gateway, alpha: RawUpstream) -> None:
    """Comments, other fields, strange spaces, duplicates, CR LF and what is no JSON: only the outer `model` changes."""
    whole = UPSTREAM + chunk(None, usage=USAGE) + DONE
    source = random.Random(7)
    for attempt in range(25):
        size = (1, 3, 17, 100, 100_000)[attempt % 5]
        parts, position = [], 0
        while position < len(whole):
            step = source.randint(1, size)
            parts.append(piece(whole[position : position + step]))
            position += step
        together = b"".join(parts) if attempt % 2 else None
        alpha.next([STREAM_HEAD, *([together] if together else parts), STREAM_END])
        reply = await gateway.chat(stream=True)

        assert EXPECTED == without_bill(reply.body), size
        assert "0.0002954" == reply.bill["cost"]
    gateway.prove()


async def test_every_event_leaves_when_it_has_come(gateway: Gateway, alpha: RawUpstream) -> None:
    """The caller has each delta before the provider makes the next one."""
    gates = [asyncio.Event() for _ in range(5)]
    steps: list[Any] = [STREAM_HEAD]
    for number, gate in enumerate(gates):
        steps += [piece(said(f"word{number}")), gate]
    alpha.next([*steps, piece(chunk({}, finish="stop") + DONE), STREAM_END])
    caller = await gateway.dial(stream=True)
    for number, gate in enumerate(gates):
        await caller.read_until(b"word%d" % number)
        gate.set()

    assert (await caller.read_until(b"[DONE]\n\n")).startswith(b'"},')
    caller.hang_up(by_reset=False)


async def test_usage_is_hidden_from_those_who_did_not_ask(gateway: Gateway, alpha: RawUpstream) -> None:
    """It is always asked of the upstream; no chunk without choices reaches a client that reads `choices[0]`."""
    for options in ({}, {"stream_options": {"include_usage": False}}, {"stream_options": None}):
        reply = await gateway.chat(stream=True, **options)
        assert all(chunk["choices"] for chunk in reply.chunks)
        assert "usage" not in reply.body.decode()
        assert "0.0002954" == reply.bill["cost"]
    assert all(request.json["stream_options"]["include_usage"] is True for request in alpha.requests)


async def test_usage_with_its_cost_for_those_who_asked(gateway: Gateway, alpha: RawUpstream) -> None:
    """Once, with cost, cost_details and is_byok as numbers; every other byte of it as the provider wrote it."""
    alpha.next(
        streamed(
            said("Hi"),
            chunk({}, finish="stop"),
            b'data: {"model":"m","choices":[],"usage":{ "x":1E2,"prompt_tokens":1000 ,'
            b'"completion_tokens":500 } , "y":0.10}\n\n',
            DONE,
        )
    )
    reply = await gateway.chat(stream=True, stream_options={"include_usage": True})

    assert (
        'data: {"model":"standard","choices":[],"usage":{ "x":1E2,"prompt_tokens":1000 ,"completion_tokens":500 ,'
        '"cost":0.0002954,"cost_details":{"provider_cost":0.00028,"fee":0.0000154},"is_byok":false} , "y":0.10}\n\n'
    ) in reply.body.decode()
    assert 1 == reply.body.count(b'"usage"')
    assert reply.bill["cost"] == "0.0002954"
    own = await gateway.chat(
        stream=True, stream_options={"include_usage": True}, provider_key={"provider": "alpha", "api_key": "own-key-1"}
    )
    assert {"cost": 0, "cost_details": {"provider_cost": 0, "fee": 0}, "is_byok": True} == {
        name: value for name, value in own.chunks[-1]["usage"].items() if "tokens" not in name
    }


@pytest.mark.parametrize("place", ["finish chunk", "trailing choice", "inside a choice"])
async def test_usage_in_other_places(place: str, gateway: Gateway, alpha: RawUpstream) -> None:
    """On the finish chunk, on a last chunk that still has a choice, inside a choice: found, and the chunk is passed on."""
    alpha.next(
        {
            "finish chunk": streamed(said("Hi"), chunk({}, finish="stop", usage=USAGE), DONE),
            "trailing choice": streamed(said("Hi"), chunk({}, finish="stop"), chunk({}, usage=USAGE), DONE),
            "inside a choice": streamed(
                said("Hi"), event({"choices": [{"delta": {}, "finish_reason": "stop", "usage": USAGE}]}), DONE
            ),
        }[place]
    )
    reply = await gateway.chat(stream=True)

    assert ("0.0002954", "provider") == (reply.bill["cost"], gateway.row().usage_source)
    assert all(chunk["choices"] for chunk in reply.chunks)


async def test_the_bill_stands_right_before_the_end(gateway: Gateway) -> None:
    """A comment, because every client ignores those; true, because it is written when the charge is durable."""
    reply = await gateway.chat(stream=True)

    row = gateway.row()
    bill = f": findtoken cost=0.0002954 balance=9.9997046 request_id={row.request_id}\n\ndata: [DONE]\n\n"
    assert reply.body.decode().endswith(f"\n\n{bill}")
    assert (29_540, row.balance_after) == (row.cost, 999_970_460)
    assert reply.header("Request-Id") == row.request_id


@pytest.mark.parametrize(
    "end",
    [
        [chunk({}, finish="stop"), DONE],
        [chunk({}, finish="stop")],
        [DONE],
        [chunk({}, finish="length"), DONE, said("after the end"), b"garbage"],
    ],
    ids=["finish and done", "finish alone", "done alone", "something behind"],
)
async def test_what_counts_as_complete(end: list[bytes], gateway: Gateway, alpha: RawUpstream) -> None:
    """A finish reason or `[DONE]`; nothing behind `[DONE]` is read."""
    alpha.next(streamed(said("Hello"), *end))
    reply = await gateway.chat(stream=True)

    assert ("Hello", "[DONE]") == (reply.text, reply.events[-1])
    assert ("complete", True) == (gateway.row().billing_outcome, gateway.row().estimated)


BROKEN: dict[str, tuple[Answer, str, str]] = {
    "reset": ([STREAM_HEAD, piece(said("Hello")), RST], "bad_upstream_response", "could not be read"),
    "closed": ([STREAM_HEAD, piece(said("Hello")), FIN], "bad_upstream_response", "could not be read"),
    "no finish": (streamed(said("Hello")), "bad_upstream_response", "could not be read"),
    "silence": ([STREAM_HEAD, piece(said("Hello")), HANG], "deadline_exceeded", "in time"),
    "comments": (
        [STREAM_HEAD, piece(said("Hello")), *[piece(b": still here\n\n"), 0.05] * 100],
        "deadline_exceeded",
        "in time",
    ),
    "overloaded": (
        streamed(said("Hello"), event({"error": {"message": "secret page", "code": 503}}), said("never shown")),
        "all_providers_unavailable",
        "no provider could serve",
    ),
    "filter": (
        streamed(said("Hello"), event({"error": {"message": "unsafe words", "code": "content_filter"}}), DONE),
        "content_filter",
        "unsafe words",
    ),
    "gave up": (
        streamed(said("Hello"), chunk({}, finish="insufficient_system_resource"), DONE),
        "all_providers_unavailable",
        "no provider could serve",
    ),
    "bad chunk": (
        [STREAM_HEAD, piece(said("Hello")), 0.1, b"zz\r\nnot a chunk\r\n", HANG],
        "bad_upstream_response",
        "could not be read",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_stream_that_breaks_ends_with_an_error_chunk(name: str, start_gateway: Any, alpha: RawUpstream) -> None:
    """Exactly the contract's chunk, no `[DONE]`, no bill, connection closed; free, and the log says what broke it."""
    gateway: Gateway = await start_gateway(routing={"silence_timeout_seconds": 0.3})
    answer, code, words = BROKEN[name]
    alpha.next(answer)
    caller = await gateway.dial(stream=True)
    whole = (await caller.read_all()).decode()
    caller.hang_up(by_reset=False)

    assert "Hello" in whole
    assert "never shown" not in whole
    assert "[DONE]" not in whole
    assert "findtoken " not in whole
    [row] = await gateway.settled(1)
    frame = whole[whole.rindex("data: ") :].partition("\n\n")[0].removeprefix("data: ")
    last = json.loads(frame)
    message = last["error"]["message"]
    assert words in message
    assert "secret" not in message
    assert {
        "id": row.request_id,
        "object": "chat.completion.chunk",
        "model": "standard",
        "error": {"message": message, "type": "upstream_error", "code": code},
        "choices": [{"index": 0, "delta": {}, "finish_reason": "error"}],
    } == last
    assert whole.endswith("\r\n0\r\n\r\n"), "it is said in full before the connection closes"
    assert (0, "cut_by_provider", 200) == (row.cost, row.billing_outcome, row.status)
    assert 1 == len(row.attempts)
    assert row.attempts[0].outcome != "served"
    await asyncio.wait_for(alpha.requests[0].caller_left.wait() if answer[-1] is HANG else asyncio.sleep(0), 2)
    gateway.prove()


async def test_a_live_stream_is_not_cut_at_any_total(start_gateway: Any, alpha: RawUpstream) -> None:
    """The limits are for the first content and for silence: a word every now and then goes on for as long as it takes."""
    limits = {"timeout_seconds": 0.6, "first_content_timeout_seconds": 0.6, "silence_timeout_seconds": 0.6}
    gateway: Gateway = await start_gateway(routing=limits)
    alpha.next([STREAM_HEAD, *[piece(said("word")), 0.1] * 12, piece(chunk({}, finish="stop") + DONE), STREAM_END])
    reply = await gateway.chat(stream=True)

    assert ("word" * 12, "[DONE]") == (reply.text, reply.events[-1])


@pytest.mark.parametrize("by_reset", [False, True])
async def test_a_caller_who_leaves_pays_for_what_was_made(by_reset: bool, gateway: Gateway, alpha: RawUpstream) -> None:
    """Prompt and output so far, estimated; the upstream is dropped within two seconds."""
    alpha.next([STREAM_HEAD, *[piece(said("word" * 10))] * 5, HANG])
    caller = await gateway.dial("p" * 396, stream=True)
    for _ in range(5):
        await caller.read_until(b"wordword")
    await caller.read_until(b"\n\n")
    caller.hang_up(by_reset=by_reset)
    await asyncio.wait_for(alpha.requests[0].caller_left.wait(), 2)

    [row] = await gateway.settled(1)
    assert ("client_left", 499, True) == (row.billing_outcome, row.status, row.estimated)
    # 100 tokens of prompt, 200 bytes of answer: (100 x 0.14 + 50 x 0.28) / 1e6 x 1.055.
    assert (100, 50, 2954) == (row.prompt_tokens, row.completion_tokens, row.cost)
    assert [("client_left", "account")] == [(attempt.outcome, attempt.borne_by) for attempt in row.attempts]
    assert 1 == await gateway.metric("client_disconnects_total")
    assert 0 == await gateway.metric("streams_open")
    gateway.prove()


@pytest.mark.parametrize("by_reset", [False, True])
async def test_a_caller_who_leaves_before_the_first_content(
    by_reset: bool, gateway: Gateway, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """Silence, or only comments so far: free, the upstream dropped, nobody else asked."""
    for steps in ([HANG], [STREAM_HEAD, piece(b": wait\n\n"), HANG]):
        count = len(alpha.requests) + 1
        alpha.next(steps)
        caller = await gateway.dial(stream=True)
        request = await alpha.received(count)
        caller.hang_up(by_reset=by_reset)
        await asyncio.wait_for(request.caller_left.wait(), 2)
        row = (await gateway.settled(count))[-1]
        assert ("client_left_before_first_byte", 0, 499) == (row.billing_outcome, row.cost, row.status)
    assert [] == beta.requests
    gateway.prove()


async def test_usage_that_had_come_is_what_is_paid(gateway: Gateway, alpha: RawUpstream) -> None:
    """A provider that reports with every chunk is believed, also when the caller left."""
    report = {"prompt_tokens": 10, "completion_tokens": 3}
    alpha.next([STREAM_HEAD, piece(chunk({"content": "Hello"}, usage=report)), HANG])
    caller = await gateway.dial(stream=True)
    await caller.read_until(b"Hello")
    caller.hang_up(by_reset=True)

    [row] = await gateway.settled(1)
    assert (10, 3, "provider", "client_left") == (
        row.prompt_tokens,
        row.completion_tokens,
        row.usage_source,
        row.billing_outcome,
    )


@pytest.mark.parametrize("comes", [True, False])
async def test_after_the_finish_reason_usage_is_waited_for(
    comes: bool, gateway: Gateway, alpha: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a moment, whatever the provider's habit; then it is estimated."""
    monkeypatch.setattr(relay, "USAGE_WAIT_SECONDS", 5.0 if comes else 0.1)
    gate = asyncio.Event()
    last = piece(chunk(None, usage=USAGE) + DONE)
    alpha.next([STREAM_HEAD, piece(said("Hello") + chunk({}, finish="stop")), gate, last, STREAM_END])
    caller = await gateway.dial(stream=True)
    await caller.read_until(b'"finish_reason":"stop"')
    caller.hang_up(by_reset=True)
    if comes:
        await asyncio.sleep(0.05)
        gate.set()

    [row] = await gateway.settled(1)
    assert ("provider" if comes else "estimated") == row.usage_source
    assert (29_540 if comes else 108) >= row.cost > 0
    assert "client_left" == row.billing_outcome


def cancelled_but_billed(gate: asyncio.Event) -> Answer:
    """A stream that goes on when ``gate`` is set."""
    return [STREAM_HEAD, piece(said("Hello")), gate, *stream()[1:]]


async def test_a_provider_that_bills_cancelled_calls_is_read_to_the_end(start_gateway: Any, alpha: RawUpstream) -> None:
    """Cancelling would save nothing, so the real usage is learnt; only as many at once as are allowed, only for so long."""
    gateway: Gateway = await start_gateway(
        providers={"alpha": {"bills_cancelled": True}}, routing={"disconnect_drain_seconds": 0.6}
    )
    gate = asyncio.Event()
    alpha.otherwise = lambda _request: cancelled_but_billed(gate)

    async def leave(count: int) -> Received:
        caller = await gateway.dial(stream=True)
        await caller.read_until(b"Hello")
        caller.hang_up(by_reset=True)
        return await alpha.received(count)

    first = await leave(1)
    await asyncio.sleep(0.05)
    gate.set()
    assert [29_540] == [row.cost for row in await gateway.settled(1)]
    assert not first.caller_left.is_set()
    gate.clear()
    await leave(2)
    rows = await gateway.settled(2)
    assert ("estimated", "client_left") == (rows[1].usage_source, rows[1].billing_outcome)
    assert 0 < rows[1].cost < 29_540
    gateway.prove()


async def test_drains_are_limited_in_number(
    start_gateway: Any, alpha: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever leaves when enough streams are being read for nobody is estimated, and its upstream dropped."""
    monkeypatch.setattr(relay.Drains.__init__, "__defaults__", (1, 0))
    gateway: Gateway = await start_gateway(providers={"alpha": {"bills_cancelled": True}})
    gate = asyncio.Event()
    alpha.otherwise = lambda _request: cancelled_but_billed(gate)
    for count in (1, 2, 3):
        caller = await gateway.dial(stream=True)
        await caller.read_until(b"Hello")
        await alpha.received(count)
        caller.hang_up(by_reset=True)
        await asyncio.sleep(0.02)
    for dropped in alpha.requests[1:]:
        await asyncio.wait_for(dropped.caller_left.wait(), 2)
    gate.set()

    rows = await gateway.settled(3)
    assert {"provider": 1, "estimated": 2} == {
        source: sum(row.usage_source == source for row in rows) for source in ("provider", "estimated")
    }
    gateway.prove()


async def test_a_drain_that_breaks_is_estimated(start_gateway: Any, alpha: RawUpstream) -> None:
    """Reset, or an error event, while nobody listens."""
    gateway: Gateway = await start_gateway(providers={"alpha": {"bills_cancelled": True}})
    for number, end in enumerate(([RST], [piece(event({"error": {"message": "no"}})), HANG], [FIN])):
        alpha.next([STREAM_HEAD, piece(said("Hello")), 0.1, *end])
        caller = await gateway.dial(stream=True)
        await caller.read_until(b"Hello")
        caller.hang_up(by_reset=True)
        row = (await gateway.settled(number + 1))[-1]
        assert ("client_left", "estimated") == (row.billing_outcome, row.usage_source)


async def test_a_caller_who_stops_reading_is_dropped(start_gateway: Any, alpha: RawUpstream) -> None:
    """After the operator's patience, and pays like one who left; the upstream is dropped."""
    gateway: Gateway = await start_gateway(server={"client_stall_seconds": 0.2})
    big = piece(said("x" * 1_000_000))
    alpha.next([STREAM_HEAD, *[big] * 60, HANG])
    caller = await gateway.dial(stream=True)
    await caller.read_until(b"\r\n\r\n")
    caller.writer.transport.pause_reading()
    await asyncio.wait_for(alpha.requests[0].caller_left.wait(), 10)

    [row] = await gateway.settled(1)
    assert ("client_left", 499, True) == (row.billing_outcome, row.status, row.cost > 0)
    assert 1 == await gateway.metric("client_disconnects_total")
    caller.hang_up(by_reset=True)
    gateway.prove()


async def test_huge_events_pass_and_endless_ones_do_not(gateway: Gateway, alpha: RawUpstream) -> None:
    """A line of 8 MiB arrives whole; one that never ends is an error and not our memory."""
    huge = "𝄞" * (2 * 1024 * 1024)
    endless = [STREAM_HEAD, piece(said("Hello")), piece(b'data: {"choices":'), *[piece(b"x" * 1_000_000)] * 20, HANG]
    alpha.next(streamed(said(huge), chunk({}, finish="stop"), DONE), endless)
    assert huge == (await gateway.chat(stream=True)).text
    caller = await gateway.dial(stream=True)
    whole = await caller.read_all()
    caller.hang_up(by_reset=False)

    assert b'"finish_reason": "error"' in whole
    await asyncio.wait_for(alpha.requests[1].caller_left.wait(), 5)


async def test_what_comes_before_the_content_is_bounded(gateway: Gateway, alpha: RawUpstream) -> None:
    """Comments are kept until there is content, but not without end: 64 KiB, and what came with the last of them."""
    alpha.next([STREAM_HEAD, *[piece(b": %s\n\n" % (b"x" * 1000))] * 3000, *stream()[1:]])
    reply = await gateway.chat(stream=True)

    assert "Hello there" == reply.text
    assert 60 <= sum(comment.startswith("xxx") for comment in reply.comments) <= 600


async def test_the_connection_goes_on_after_a_complete_stream(gateway: Gateway, alpha: RawUpstream) -> None:
    """On both sides: the caller can ask again, and the provider's connection is used again."""
    body = json.dumps({"model": "standard", "stream": True, "messages": [{"role": "user", "content": "a"}]}).encode()
    caller = await gateway.dial_raw(http_request(body, gateway.key))
    await caller.read_until(b"[DONE]\n\n\r\n0\r\n\r\n")
    caller.writer.write(http_request(body, gateway.key))
    await caller.read_until(b"[DONE]\n\n\r\n0\r\n\r\n")
    caller.hang_up(by_reset=False)

    assert [1, 1] == [request.connection for request in alpha.requests]


async def test_many_streams_at_once(start_gateway: Any, alpha: RawUpstream, beta: RawUpstream) -> None:
    """Each gets its own words, its own bill and its own place in the log; the gauge comes back to nothing."""
    gateway: Gateway = await start_gateway(book(alpha.url, beta.url))
    alpha.otherwise = lambda request: (
        stream([request.json["messages"][0]["content"]] * 20) if request.json["stream"] else as_asked()(request)
    )
    replies = await asyncio.gather(*(gateway.chat(f"<{number}>", stream=True) for number in range(60)))

    assert [f"<{number}>" * 20 for number in range(60)] == [reply.text for reply in replies]
    assert 60 == len({reply.bill["request_id"] for reply in replies}) == len(gateway.rows())
    assert 0 == await gateway.metric("streams_open")
    gateway.prove()


class OneShot(EventSource):  # type: ignore[misc]
    """aiohttp-sse-client as a reader of one POST's stream: it never asks twice, and takes no orders about when to."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, option={"method": "POST"}, reconnection_time=timedelta(0), max_connect_retry=0, **options)
        self._was_used = False

    async def connect(self, retry: int = 0) -> None:
        assert not self._was_used, "the stream ended without [DONE]"
        self._was_used = True
        await super().connect(0)


async def test_a_reader_that_is_not_ours_understands_a_stream(gateway: Gateway, alpha: RawUpstream) -> None:
    """A library that follows the specification sees the chunks and `[DONE]`, and nothing of our comment."""
    alpha.next(stream(("Hel", "lo")))
    headers = {"Authorization": f"Bearer {gateway.key}", "Content-Type": "application/json"}
    body = json.dumps(chat_body("Hello", stream=True))
    seen = []
    async with OneShot(gateway.url + PATH, session=gateway.session, headers=headers, data=body) as events:
        async for event in events:
            seen.append(event.data)
            if event.data == "[DONE]":
                break

    assert "[DONE]" == seen[-1]
    assert "Hello" == "".join(
        choice["delta"].get("content") or "" for data in seen[:-1] for choice in json.loads(data)["choices"]
    )
    assert not any("findtoken" in data for data in seen)
