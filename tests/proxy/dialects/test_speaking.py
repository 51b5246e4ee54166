"""The routes of other APIs on a real wire: the same chain, the same money, other words at its edges."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.fakes.raw_upstream import FIN, HANG, STREAM_HEAD, RawUpstream, failure, http, piece, said, stream
from tests.gateway import Gateway, Reply, http_request
from tests.reading_messages import message_of, typed_events
from tests.reading_responses import response_of

StartGateway = Callable[..., Awaitable[Gateway]]
MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"


async def ask(gateway: Gateway, *, headers: dict[str, str] | None = None, path: str = MESSAGES, **fields: Any) -> Reply:
    """A call of Messages."""
    body = {"model": "standard", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}], **fields}
    return await gateway.send(json.dumps(body).encode(), headers=headers, path=path)


async def test_a_plain_call_is_held_metered_and_settled_as_a_chat_completion(
    gateway: Gateway, alpha: RawUpstream
) -> None:
    """The provider sees a chat completion; headers, bill and billing log are those of one, and the path names the route."""
    chat = await gateway.chat(max_tokens=100)
    reply = await ask(gateway)

    assert alpha.requests[0].json == alpha.requests[1].json
    assert [{"type": "text", "text": "Hello there"}] == reply.json["content"]
    assert (200, "standard", reply.header("Request-Id")) == (
        reply.status,
        reply.json["model"],
        "req_" + reply.json["id"].removeprefix("msg_"),
    )
    first, second = gateway.rows()
    assert ("/v1/chat/completions", MESSAGES) == (first.path, second.path)
    assert chat.money("Cost") == reply.money("Cost") == second.cost
    usage = reply.json["usage"]
    assert second.prompt_tokens == usage["input_tokens"] + usage["cache_read_input_tokens"]
    assert second.completion_tokens == usage["output_tokens"]
    own = {name for name in chat.headers if name.startswith("X-")}
    assert own == {name for name in reply.headers if name.startswith("X-")}
    gateway.prove()


async def test_a_stream_tells_what_the_plain_answer_tells(gateway: Gateway) -> None:
    """The message put together from its events, and the bill in a comment before the end."""
    plain = (await ask(gateway)).json
    reply = await ask(gateway, stream=True, path="/api/v1/messages")

    message = message_of(reply.body)
    assert plain | {"id": message["id"]} == message
    assert "text/event-stream" == reply.headers["Content-Type"]
    assert reply.header("Hold") is not None
    assert reply.body.endswith(b'\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n')
    assert gateway.rows()[1].cost == gateway.rows()[0].cost
    assert reply.bill["request_id"] == "req_" + message["id"].removeprefix("msg_")
    gateway.prove()


async def test_usage_that_nobody_reported_is_what_is_charged(gateway: Gateway, alpha: RawUpstream) -> None:
    """An estimate, the same in the answer and in the billing log."""
    alpha.next(stream(usage=None))
    message = message_of((await ask(gateway, stream=True)).body)

    row = gateway.row()
    assert (row.prompt_tokens, row.completion_tokens, True) == (
        message["usage"]["input_tokens"],
        message["usage"]["output_tokens"],
        row.estimated,
    )
    assert 0 < row.completion_tokens


async def test_our_own_fields_mean_the_same(gateway: Gateway, beta: RawUpstream) -> None:
    """A stand-in serves, and the answer says so; the explanation stands in it."""
    reply = await ask(gateway, provider={"only": ["beta"]}, headers={"X-FindToken-Explain": "1"})

    assert ("alternative", "beta", 1) == (reply.json["model"], reply.header("Provider"), len(beta.requests))
    assert "provider" not in beta.requests[0].json
    assert reply.json["findtoken"]["candidates"]


async def test_a_key_comes_in_either_header(gateway: Gateway) -> None:
    """`x-api-key`, as Anthropic's clients send it, or a bearer's."""
    statuses = []
    for headers in ({"Authorization": "", "x-api-key": gateway.key}, {}, {"Authorization": ""}):
        reply = await ask(gateway, headers=headers)
        statuses.append(reply.status)

    assert [200, 200, 401] == statuses
    assert ("error", "authentication_error", "invalid_api_key", reply.header("Request-Id")) == (
        reply.json["type"],
        reply.json["error"]["type"],
        reply.json["error"]["code"],
        reply.json["request_id"],
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_tokens": None}, (400, "invalid_request_error", "invalid_value", "max_tokens")),
        ({"max_tokens": 0}, (400, "invalid_request_error", "invalid_value", "max_tokens")),
        ({"messages": []}, (400, "invalid_request_error", "invalid_value", "messages")),
        ({"model": "standart"}, (404, "not_found_error", "model_not_found", "model")),
        (
            {"model": "dear", "max_tokens": 100_000, "n": 1},
            (402, "billing_error", "insufficient_credits", "max_tokens"),
        ),
    ],
)
async def test_refusals(
    fields: dict[str, Any], expected: tuple[int, str, str, str], start_gateway: StartGateway
) -> None:
    """In Anthropic's shape, with our code and the field at fault; nothing is called."""
    gateway = await start_gateway(credit=10**6)
    reply = await ask(gateway, **fields)

    error = reply.json["error"]
    assert expected == (reply.status, error["type"], error["code"], error["param"])
    assert [] == gateway.rows()


async def test_a_provider_that_fails(gateway: Gateway, alpha: RawUpstream) -> None:
    """Before anything came: an error with its status. In the middle: an event, then the end of the connection, for nothing."""
    alpha.next(*[failure(503)] * 4, [STREAM_HEAD, piece(said("Hel")), FIN])
    refused = await ask(gateway, model="lonely", stream=True)
    broken = await ask(gateway, model="lonely", stream=True)

    assert (503, "overloaded_error") == (refused.status, refused.json["error"]["type"])
    assert "Retry-After" in refused.headers
    *_, delta, error = typed_events(broken.body)
    assert ("content_block_delta", "error") == (delta["type"], error["type"])
    assert broken.header("Request-Id") == error["request_id"]
    assert ("bad_upstream_response", "api_error") == (error["error"]["code"], error["error"]["type"])
    assert [0, 0] == [row.cost for row in gateway.rows()]
    gateway.prove()


async def test_an_answer_that_cannot_be_read_is_tried_again(gateway: Gateway, alpha: RawUpstream) -> None:
    """As on the chat route: twice at most, then 502."""
    alpha.next([http(b'{"choices": [7]}')], [http(b"{")])
    reply = await ask(gateway, model="lonely")

    assert (502, "bad_upstream_response") == (reply.status, reply.json["error"]["code"])


async def test_a_silent_provider_is_told_by_pings(start_gateway: StartGateway, alpha: RawUpstream) -> None:
    """And its failure by an error event, the status having left."""
    gateway = await start_gateway(routing={"keep_alive_comment_seconds": 0.02, "first_content_timeout_seconds": 0.3})
    alpha.next([STREAM_HEAD, HANG])
    reply = await ask(gateway, model="lonely", stream=True)

    *pings, error = typed_events(reply.body)
    assert {"ping"} == {event["type"] for event in pings}
    assert (200, "timeout_error", "deadline_exceeded") == (
        reply.status,
        error["error"]["type"],
        error["error"]["code"],
    )


async def test_a_caller_who_leaves_pays_for_what_came(gateway: Gateway, alpha: RawUpstream) -> None:
    """As on the chat route."""
    alpha.next([STREAM_HEAD, piece(said("Hello " * 20)), HANG])
    body = {"model": "standard", "max_tokens": 100, "messages": [{"role": "user", "content": "x"}], "stream": True}
    caller = await gateway.dial_raw(http_request(json.dumps(body).encode(), gateway.key, path=MESSAGES))
    await caller.read_until(b"text_delta")
    caller.hang_up(by_reset=False)

    (row,) = await gateway.settled(1)
    assert ("client_left", True) == (row.billing_outcome, row.cost > 0)
    gateway.prove()


async def test_an_idempotency_key_repeats_the_answer(gateway: Gateway, alpha: RawUpstream) -> None:
    """Plain or streamed, byte for byte, charged once; the same key on another route is another request."""
    for streamed in (False, True):
        headers = {"Idempotency-Key": f"key-{streamed}"}
        first, again = [await ask(gateway, stream=streamed, headers=headers) for _ in range(2)]
        other = await gateway.chat(stream=streamed, headers=headers)
        wrong = await ask(gateway, stream=streamed, headers=headers, max_tokens=7)

        assert (first.body, "true") == (again.body, again.header("Replayed"))
        assert (409, "idempotency_conflict") == other.code
        assert ("error", "invalid_request_error", "idempotency_conflict") == (
            wrong.json["type"],
            wrong.json["error"]["type"],
            wrong.json["error"]["code"],
        )
    assert 2 == len(alpha.requests) == len(gateway.rows())
    gateway.prove()


async def test_a_stream_can_be_continued(gateway: Gateway) -> None:
    """Its events are numbered, and what follows one of them can be had again."""
    whole = await ask(gateway, stream=True, headers={"X-FindToken-Resumable": "true"})
    path = f"/v1/streams/{whole.header('Request-Id')}"
    rest = await gateway.send(b"", path=path, method="GET", headers={"Last-Event-ID": "2"})

    assert typed_events(whole.body)[2:] == typed_events(rest.body)
    assert "message_stop" == typed_events(rest.body)[-1]["type"]
    assert "Hello there" == message_of(whole.body)["content"][0]["text"]


async def test_another_spelling_of_the_address(gateway: Gateway) -> None:
    """With a query, as beta clients send it; other methods are not taken."""
    assert 200 == (await ask(gateway, path=f"{MESSAGES}?beta=true")).status
    assert 405 == (await gateway.send(b"", path=MESSAGES, method="GET")).status


async def test_calls_of_all_routes_at_once(gateway: Gateway) -> None:
    """Nobody gets another one's words."""
    replies = await asyncio.gather(
        *(ask(gateway, stream=bool(n % 2)) for n in range(6)), *(gateway.chat(stream=bool(n % 2)) for n in range(6))
    )

    assert [b"msg_" in reply.body for reply in replies] == [True] * 6 + [False] * 6
    gateway.prove()


async def respond(gateway: Gateway, *, headers: dict[str, str] | None = None, **fields: Any) -> Reply:
    """A call of Responses."""
    body = {"model": "standard", "max_output_tokens": 100, "input": "Hello", **fields}
    return await gateway.send(json.dumps(body).encode(), headers=headers, path=RESPONSES)


async def test_responses_cost_what_a_chat_completion_costs(gateway: Gateway, alpha: RawUpstream) -> None:
    """The provider sees a chat completion; plain and streamed tell the same; the billing log names the route."""
    chat = await gateway.chat(max_tokens=100)
    plain, streamed = await respond(gateway), await respond(gateway, stream=True)

    first, second, _ = (request.json for request in alpha.requests)
    assert first == second
    told = response_of(streamed.body)
    text = [part["text"] for item in told["output"] for part in item["content"]]
    assert (["Hello there"], plain.json["usage"], "standard") == (text, told["usage"], told["model"])
    assert "resp_" + str(plain.header("Request-Id"))[4:] == plain.json["id"]
    assert [chat.money("Cost")] * 3 == [row.cost for row in gateway.rows()]
    assert [RESPONSES] * 2 == [row.path for row in gateway.rows()[1:]]
    assert "resp_" + streamed.bill["request_id"][4:] == told["id"]
    gateway.prove()


async def test_responses_are_refused_as_chat_completions_are(start_gateway: StartGateway) -> None:
    """OpenAI's errors, with the field's own name; nothing is called."""
    gateway = await start_gateway(credit=10**6)
    told = [
        await respond(gateway, model="standart"),
        await respond(gateway, model="dear", max_output_tokens=100_000),
        await respond(gateway, previous_response_id="resp_1"),
    ]

    assert [
        (404, "model_not_found", "model"),
        (402, "insufficient_credits", "max_output_tokens"),
        (400, "invalid_value", "previous_response_id"),
    ] == [(*reply.code, reply.error["param"]) for reply in told]
    assert [] == gateway.rows()


async def test_a_response_that_breaks(gateway: Gateway, alpha: RawUpstream) -> None:
    """Its last event says so, it costs nothing, and what is asked again under its key is a new call."""
    alpha.next([STREAM_HEAD, piece(said("Hel")), FIN])
    headers = {"Idempotency-Key": "k"}
    broken = await respond(gateway, model="lonely", stream=True, headers=headers)
    again = await respond(gateway, model="lonely", stream=True, headers=headers)
    replayed = await respond(gateway, model="lonely", stream=True, headers=headers)

    told = response_of(broken.body)
    assert ("failed", "bad_upstream_response") == (told["status"], told["error"]["code"])
    assert ("completed", again.body) == (response_of(again.body)["status"], replayed.body)
    assert [0, 1] == [min(row.cost, 1) for row in gateway.rows()]
    gateway.prove()


async def test_a_response_that_breaks_before_it_begins(start_gateway: StartGateway, alpha: RawUpstream) -> None:
    """Where only comments had left, a reader gets a whole stream all the same."""
    gateway = await start_gateway(routing={"keep_alive_comment_seconds": 0.02, "first_content_timeout_seconds": 0.3})
    alpha.next([STREAM_HEAD, HANG])
    reply = await respond(gateway, model="lonely", stream=True)

    assert reply.body.startswith(b": keep-alive\n\n")
    assert "deadline_exceeded" == response_of(reply.body)["error"]["code"]


async def test_a_streamed_response_can_be_continued(gateway: Gateway) -> None:
    """Its events are numbered, and what follows one of them can be had again."""
    whole = await respond(gateway, stream=True, headers={"X-FindToken-Resumable": "true"})
    path = f"/v1/streams/{whole.header('Request-Id')}"
    rest = await gateway.send(b"", path=path, method="GET", headers={"Last-Event-ID": "3"})

    assert typed_events(whole.body)[3:] == typed_events(rest.body)
    assert "completed" == response_of(whole.body)["status"]
