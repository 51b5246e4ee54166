"""The end of the chain: what is sent upstream, how a plain answer is judged, and what of it reaches the caller."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from providers.catalogue import build, load_shipped
from tests.fakes.raw_upstream import (
    FIN,
    HANG,
    STREAM_END,
    STREAM_HEAD,
    RawUpstream,
    completion,
    failure,
    http,
    piece,
    stream,
)
from tests.gateway import ALPHA_KEY, CREDIT, Gateway, book, model, price


async def test_what_a_provider_is_sent(gateway: Gateway, alpha: RawUpstream) -> None:
    """The caller's body with the upstream's model name, streaming told, usage asked for, the limit said out loud."""
    await gateway.chat("Grüße 你好", temperature=0.5)
    await gateway.chat(stream=True, max_completion_tokens=7, stream_options={"include_usage": False, "other": 1})

    plain, streaming = (request.json for request in alpha.requests)
    assert {
        "model": "standard-upstream",
        "messages": [{"role": "user", "content": "Grüße 你好"}],
        "temperature": 0.5,
        "stream": False,
        "max_tokens": 8192,
    } == plain
    assert (True, 7, {"include_usage": True, "other": 1}) == (
        streaming["stream"],
        streaming["max_completion_tokens"],
        streaming["stream_options"],
    )
    head = alpha.requests[0].head.decode()
    assert head.startswith("POST /chat/completions HTTP/1.1\r\n")
    assert ("application/json", f"Bearer {ALPHA_KEY}") == (
        alpha.requests[0].headers["content-type"],
        alpha.requests[0].headers["authorization"],
    )
    assert "Grüße 你好".encode() in alpha.requests[0].body, "text travels as text"


@pytest.mark.parametrize(
    "document",
    [
        b'{"id":"x","model":"upstream-name","choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}',
        (
            b' \r\n{ "choices" : [ {"message": {"content": "\\ud83d\\ude00 \\u0000", "model": "inner"}, "finish_reason": "x"}],\n'
            b'\t"model" : "upstream-name" , "big": 123456789012345678901234567890, "e": 1E400, "dup": 1, "dup": 2 }\n'
        ),
        '{"model":"upstream-name","choices":[{"message":{"content":"你好 \\"model\\":\\"upstream-name\\""}}]}'.encode(),
        b'{"choices":[{"message":{"content":"no model named"}}]}',
    ],
)
async def test_a_plain_answer_is_passed_on_byte_for_byte(document: bytes, gateway: Gateway, alpha: RawUpstream) -> None:
    """But for the value of the outer `model`: numbers, escapes, spaces, duplicates, order stay as they were."""
    alpha.next([http(document, x_upstream="not ours to pass on", set_cookie="a=b")])
    reply = await gateway.chat()

    expected = document
    if b'"upstream-name"' in document:
        position = (
            document.rindex(b'"upstream-name"') if document.startswith(b" ") else document.index(b'"upstream-name"')
        )
        expected = document[:position] + b'"standard"' + document[position + len(b'"upstream-name"') :]
    assert expected == reply.body
    assert not {"x-upstream", "set-cookie"} & {name.lower() for name in reply.headers}


async def test_an_answer_in_pieces_is_one_answer(gateway: Gateway, alpha: RawUpstream) -> None:
    """Chunked, a byte at a time, with blank lines that some providers send to keep a line alive; or until the close."""
    document = json.dumps(completion()).encode()
    head = STREAM_HEAD.replace(b"text/event-stream", b"application/json")
    alpha.next(
        [head, *[piece(b"\n")] * 3, *[piece(document[at : at + 1]) for at in range(len(document))], STREAM_END],
        [b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n", document, FIN],
    )
    for _ in range(2):
        reply = await gateway.chat()
        assert (200, "Hello there", "0.0002954") == (reply.status, reply.text, reply.header("Cost"))


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_key_of_ours_that_is_echoed_is_redacted(streaming: bool, gateway: Gateway, alpha: RawUpstream) -> None:
    """In plain answers and in streams; a caller's own key, too."""

    def echo(request: Any) -> Any:
        key = request.headers["authorization"].removeprefix("Bearer ")
        if not request.json["stream"]:
            return [http(completion(f"your key is {key}, really {key}"))]
        return [STREAM_HEAD, piece(b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % key.encode() * 2), FIN]

    alpha.next(echo, echo)
    for fields in ({}, {"provider_key": {"provider": "alpha", "api_key": "canary-of-the-caller"}}):
        reply = await gateway.chat(stream=streaming, **fields)
        assert 200 == reply.status
        assert b"canary" not in reply.body
        assert 2 == reply.body.count(b"[redacted]")


async def test_a_very_short_key_is_a_word(start_gateway: Any, alpha: RawUpstream, beta: RawUpstream) -> None:
    """It is not looked for, or answers would have holes."""
    gateway: Gateway = await start_gateway(book(alpha.url, beta.url, alpha={"keys": ["there"]}))

    assert "Hello there" == (await gateway.chat()).text


@pytest.mark.parametrize("wants_usage", [False, True])
async def test_plain_json_to_a_stream_request_becomes_a_stream(
    wants_usage: bool, gateway: Gateway, alpha: RawUpstream
) -> None:
    """One content chunk, a finish chunk, usage if asked, the bill, `[DONE]`; billed as reported."""
    alpha.next([http(completion())])
    reply = await gateway.chat(stream=True, stream_options={"include_usage": wants_usage})

    content, finish, *usage = reply.chunks
    assert ("Hello there", "stop") == (reply.text, finish["choices"][0]["finish_reason"])
    assert {"standard"} == {chunk["model"] for chunk in reply.chunks}
    assert {"chat.completion.chunk"} == {chunk["object"] for chunk in reply.chunks}
    assert "assistant" == content["choices"][0]["delta"]["role"]
    assert ([0.0002954] if wants_usage else []) == [chunk["usage"]["cost"] for chunk in usage]
    assert ("0.0002954", "[DONE]") == (reply.bill["cost"], reply.events[-1])
    gateway.prove()


@pytest.mark.parametrize(
    "message",
    [
        "just a text",
        None,
        {"content": None, "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}, "nonsense"]},
        {"content": "half a character \ud83d"},
    ],
)
async def test_a_strange_plain_answer_to_a_stream_request(message: Any, gateway: Gateway, alpha: RawUpstream) -> None:
    """Whatever an upstream puts into its JSON is its caller's to read, and never an error of ours."""
    document = {"model": "m", "choices": [{"message": message, "finish_reason": "stop"}], "usage": {}}
    alpha.next([http(document)])
    reply = await gateway.chat(stream=True)

    assert (200, "[DONE]") == (reply.status, reply.events[-1])
    gateway.prove()


async def test_an_upstream_that_cannot_stream(start_gateway: Any, alpha: RawUpstream, beta: RawUpstream) -> None:
    """`stream_mode = "simulated"`: asked plainly, streamed to the caller."""
    gateway: Gateway = await start_gateway(book(alpha.url, beta.url, alpha={"stream_mode": "simulated"}))
    reply = await gateway.chat(stream=True)

    assert False is alpha.requests[0].json["stream"]
    assert ("Hello there", "0.0002954") == (reply.text, reply.bill["cost"])


async def test_a_stream_under_a_strange_type_is_a_stream(gateway: Gateway, alpha: RawUpstream) -> None:
    """Some edges mislabel theirs, or send no type at all."""
    body = b'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    for kind in ("text/plain", "application/octet-stream", "", "text/event-stream; charset=utf-8"):
        alpha.next([http(body, kind=kind)])
        reply = await gateway.chat(stream=True)
        assert ("hi", "[DONE]") == (reply.text, reply.events[-1]), kind


async def test_errors_under_status_200(gateway: Gateway, alpha: RawUpstream) -> None:
    """Judged by what they say: the caller's fault, a limit, a failure; none of them is charged."""
    told = {}
    for code, status in (("400", 400), ("429", 429), ("context_length_exceeded", 400)):
        alpha.otherwise = lambda _request, code=code: [
            http({"error": {"message": "words", "code": code}}, retry_after="9")
        ]
        told[code] = [(await gateway.chat(model="lonely", stream=streaming)).status for streaming in (False, True)]
        assert [status] * 2 == told[code]
    gateway.prove()
    assert {0} == {row.cost for row in gateway.rows()}


async def test_a_provider_without_any_key(start_gateway: Any, alpha: RawUpstream, beta: RawUpstream) -> None:
    """`keyless`: no authorization is sent. Switched off by an empty key: passed over, and where nobody else is, 503."""
    keyless: Gateway = await start_gateway(book(alpha.url, beta.url, alpha={"keys": [], "keyless": True}))
    assert 200 == (await keyless.chat()).status
    assert "authorization" not in alpha.requests[0].headers
    off: Gateway = await start_gateway(
        book(alpha.url, beta.url, alpha={"keys": [""]}), database_url=keyless.database_url + "2"
    )
    served, refused = await off.chat(), await off.chat(model="lonely")

    assert ("beta", "1") == (served.header("Provider"), served.header("Attempts"))
    assert (503, "all_providers_unavailable") == refused.code
    own = await off.chat(model="lonely", provider_key={"provider": "alpha", "api_key": "own-key-of-mine"})
    assert (200, "byok") == (own.status, own.header("Mode"))


async def test_forced_fields_win(start_gateway: Any, alpha: RawUpstream) -> None:
    """What the catalogue forces upon an upstream is not the caller's to change."""
    catalogue = build(
        {
            "providers": {"alpha": {"dialect": "openai", "base_url": f"{alpha.url}/v9/", "keys": ["k"]}},
            "models": {
                "standard": model("alpha", price("1", "1"), force={"thinking": {"type": "disabled"}}, capabilities=[])
            },
        }
    )
    gateway: Gateway = await start_gateway(catalogue)
    await gateway.chat(thinking={"type": "enabled"})

    assert {"type": "disabled"} == alpha.requests[0].json["thinking"]
    assert alpha.requests[0].head.startswith(b"POST /v9/chat/completions ")


async def test_what_a_dialect_cannot_do_is_refused_without_a_call(start_gateway: Any, alpha: RawUpstream) -> None:
    """A tool that is no function at a vendor who bills such tools apart: 400, and nobody is called."""
    raw = dict(load_shipped())
    raw["providers"] = {
        name: {**provider, "base_url": alpha.url, "keys": ["some-key"]} for name, provider in raw["providers"].items()
    }
    gateway: Gateway = await start_gateway(build(raw))
    reply = await gateway.chat(
        model="deepseek-chat", tools=[{"type": "web_search"}], provider={"allow_fallbacks": False}, max_tokens=100
    )

    assert ((400, "invalid_value"), "tools") == (reply.code, reply.error["param"])
    assert [] == alpha.requests
    gateway.prove()


async def test_the_field_that_a_provider_complains_of_is_named(gateway: Gateway, alpha: RawUpstream) -> None:
    """As it names it, shortened and masked as its words are; nothing where it names none, or something that is no name."""
    for said, told in (("temperature", "temperature"), (None, None), (7, None), (ALPHA_KEY, "[redacted]"), ("", None)):
        for status in (400, 422):
            complaint = {"message": "no", "type": "invalid_request_error", "code": None, "param": said}
            alpha.next([http({"error": complaint}, status=status)])
            reply = await gateway.chat()
            assert (status, told) == (reply.status, reply.error["param"]), said


async def test_a_caller_who_leaves_before_a_plain_answer(gateway: Gateway, alpha: RawUpstream) -> None:
    """The upstream is dropped at once; nothing is charged, and the log says how it ended."""
    for by_reset in (False, True):
        before = len(alpha.requests)
        alpha.next([5.0, *failure(500)])
        caller = await gateway.dial()
        request = await alpha.received(before + 1)
        caller.hang_up(by_reset=by_reset)
        await asyncio.wait_for(request.caller_left.wait(), 2)
        row = (await gateway.settled(before + 1))[-1]
        assert (499, "client_left_before_first_byte", 0) == (row.status, row.billing_outcome, row.cost)
        assert ["client_left"] == [attempt.outcome for attempt in row.attempts]
    gateway.prove()


@pytest.mark.parametrize("by_reset", [False, True])
@pytest.mark.parametrize("size", [10, 600_000])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_caller_who_leaves_the_instant_a_plain_answer_comes(
    streamed: bool, size: int, by_reset: bool, start_gateway: Any, alpha: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider had finished, so it is charged as reported, whichever of the two was noticed first; nobody else is asked."""
    # Upstream and caller share this machine with other tests: what has come may be slow to be read.
    monkeypatch.setattr("providers.transport.INTERRUPTED_SECONDS", 2.0)
    gateway: Gateway = await start_gateway(providers={"alpha": {"stream_mode": "simulated"}})
    answers = [
        [http(completion("x" * size))],
        [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n{" % size, b" " * (size - 2), b"}"],
        failure(503),
    ]
    for number, answer in enumerate(answers, 1):
        gate = asyncio.Event()
        alpha.next([gate, *answer])
        caller = await gateway.dial(stream=streamed)
        await alpha.received(number)
        caller.hang_up(by_reset=by_reset)
        gate.set()
        row = (await gateway.settled(number))[-1]
        if number > 1:
            assert ("client_left_before_first_byte", 0, 499) == (row.billing_outcome, row.cost, row.status)
        else:
            assert (29_540, "provider") == (row.cost, row.usage_source)
            assert ("client_left" if streamed else "complete") == row.billing_outcome
        assert number == len(alpha.requests)
    gateway.prove()


@pytest.mark.parametrize("by_reset", [False, True])
async def test_a_caller_who_leaves_in_the_middle_of_a_plain_answer(
    by_reset: bool, gateway: Gateway, alpha: RawUpstream
) -> None:
    """It came in parts and the last of them was on its way; where it is not, the provider is left and the call is free."""
    whole = http(completion("x" * 1000))
    for number, rest in enumerate(([whole[500:]], [HANG]), 1):
        gate = asyncio.Event()
        alpha.next([whole[:300], 0.02, whole[300:500], gate, *rest])
        caller = await gateway.dial()
        await alpha.received(number)
        await asyncio.sleep(0.1)
        caller.hang_up(by_reset=by_reset)
        gate.set()
        row = (await gateway.settled(number))[-1]
        assert ("complete" if number == 1 else "client_left_before_first_byte") == row.billing_outcome
        assert (29_540 if number == 1 else 0) == row.cost
    await asyncio.wait_for(alpha.requests[1].caller_left.wait(), 2)
    gateway.prove()


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_plain_answer_at_the_very_end_of_its_time(
    streamed: bool, start_gateway: Any, alpha: RawUpstream
) -> None:
    """What has come whole when the time is up is delivered and charged, or it is too late and free; never one of each."""
    limits = {"timeout_seconds": 0.6, "first_content_timeout_seconds": 0.6, "retries": 0}
    gateway: Gateway = await start_gateway(routing=limits, providers={"alpha": {"stream_mode": "simulated"}})
    whole = http(completion())
    for number, late in enumerate((0.58, 0.595, 0.6, 0.605, 0.9), 1):
        alpha.next([whole[:100], late, whole[100:]])
        reply = await gateway.chat(model="lonely", stream=streamed)
        row = (await gateway.settled(number))[-1]
        assert (reply.status, row.cost) in ((200, 29_540), (504, 0))
    gateway.prove()


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_is_wrong_in_a_report_is_counted_once(streamed: bool, gateway: Gateway, alpha: RawUpstream) -> None:
    """Also where a plain answer is made into a stream and so is read twice."""
    alpha.next([http(completion(usage={"prompt_tokens": -1, "completion_tokens": 3}))])
    reply = await gateway.chat(stream=streamed)

    assert 200 == reply.status
    assert 1 == await gateway.metric("usage_ignored_total")


async def test_what_no_dialect_can_say_leaves_no_line(start_gateway: Any, alpha: RawUpstream) -> None:
    """A request that is refused while it is shaped never reached an upstream: no attempt, no line, no hold."""
    gateway: Gateway = await start_gateway(providers={"alpha": {"dialect": "deepseek"}})
    reply = await gateway.chat(model="lonely", tools=[{"type": "custom", "custom": {"name": "free_form"}}])

    assert (400, "invalid_value") == reply.code
    assert ([], []) == (alpha.requests, gateway.rows())
    gateway.prove()


async def test_a_wrong_method_is_told_the_right_one(gateway: Gateway) -> None:
    """As HTTP wants it."""
    reply = await gateway.send(b"", method="GET")

    assert ((405, "method_not_allowed"), "POST") == (reply.code, reply.headers["Allow"])


async def test_an_error_page_of_any_size_keeps_its_status(gateway: Gateway, alpha: RawUpstream) -> None:
    """Only its beginning is read: a refusal stays a refusal, and is not taken for an answer that cannot be read."""
    page = json.dumps({"error": {"message": "too long", "type": "invalid_request_error"}, "padding": "x" * 200_000})
    alpha.next([http(page.encode(), status=422)])
    reply = await gateway.chat(model="lonely")

    assert (422, 1) == (reply.status, len(alpha.requests))


async def test_a_provider_that_refuses_stream_options_is_asked_without_them(
    gateway: Gateway, alpha: RawUpstream
) -> None:
    """S-020: once more at once, at the same provider, one charge by an estimate; the next call does not try it again."""
    refusal = failure(400, "Unrecognized request argument supplied: stream_options")
    alpha.next(refusal, stream(usage=None), stream(usage=None))

    replies = [await gateway.chat(stream=True) for _ in range(2)]

    assert [True, False, False] == ["stream_options" in request.json for request in alpha.requests]
    assert [200, 200] == [reply.status for reply in replies]
    first, second = gateway.rows()
    assert [("complete", "estimated")] * 2 == [(row.billing_outcome, row.usage_source) for row in (first, second)]
    assert ["stream_options_refused", "served"] == [attempt.outcome for attempt in first.attempts]
    assert (0, first.cost) == (first.attempts[0].upstream_cost, second.cost)
    assert CREDIT - gateway.balance().balance == first.cost + second.cost


async def test_a_refusal_that_only_quotes_the_field_is_not_remembered(gateway: Gateway, alpha: RawUpstream) -> None:
    """A caller's own fault is told after the second refusal, and nobody else loses the usage of their calls."""
    quoting = failure(400, "invalid prompt: tell me about stream_options")
    alpha.next(quoting, quoting)

    refused = await gateway.chat("tell me about stream_options", stream=True)
    served = await gateway.chat(stream=True)

    assert ((400, "invalid_value"), 200) == (refused.code, served.status)
    assert [True, False, True] == ["stream_options" in request.json for request in alpha.requests]
    assert ["provider"] == [row.usage_source for row in gateway.rows() if row.status == 200]
