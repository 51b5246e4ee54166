"""Answers, streams and errors of chat completions in the shapes of Anthropic's Messages."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.usage import Usage
from middlewares.caller_dialect import Facts
from proxy.dialects.messages import Messages
from tests.chat_streams import calls, stream_of
from tests.fakes.raw_upstream import DONE, completion
from tests.reading_messages import message_of, typed_events

FACTS = Facts("req_019a", 1, lambda: "standard")
USAGE = Usage(100, 7, cached_tokens=30, cache_write_tokens=20, reasoning_tokens=3)
TOLD_USAGE = {
    "input_tokens": 50,
    "cache_creation_input_tokens": 20,
    "cache_read_input_tokens": 30,
    "output_tokens": 7,
}
CALLS = calls(last_arguments="")
STREAM = stream_of(CALLS)


def answer(message: dict[str, Any], finish: str | None = "stop", **request: Any) -> dict[str, Any]:
    """What a plain answer with such a message becomes, for a request with these fields."""
    dialect = Messages()
    dialect.read_request({"model": "standard", "max_tokens": 5, "messages": [], **request})
    document = completion(finish=finish)
    document["choices"][0]["message"] = message
    return dialect.tell_answer(document, USAGE, FACTS)


def test_a_plain_answer() -> None:
    """Its id is the call's; the tokens of the cache stand beside the input, as Anthropic counts."""
    assert {
        "id": "msg_019a",
        "type": "message",
        "role": "assistant",
        "model": "standard",
        "content": [{"type": "text", "text": "Hello there"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": TOLD_USAGE,
    } == answer({"role": "assistant", "content": "Hello there"})


def test_thoughts_and_calls() -> None:
    """In the order thinking, text, tools; the arguments as an object."""
    told = answer({"content": "Wait.", "reasoning_content": "Hm.", "tool_calls": CALLS}, "tool_calls")

    assert [
        {"type": "thinking", "thinking": "Hm.", "signature": ""},
        {"type": "text", "text": "Wait."},
        {"type": "tool_use", "id": "call_a", "name": "look", "input": {"at": "ü"}},
        {"type": "tool_use", "id": "call_b", "name": "wait", "input": {}},
    ] == told["content"]
    assert "tool_use" == told["stop_reason"]


@pytest.mark.parametrize(
    ("message", "finish", "expected"),
    [
        ({"content": "x"}, "stop", "end_turn"),
        ({"content": "x"}, None, "end_turn"),
        ({"content": "x"}, "what is this", "end_turn"),
        ({"content": "x"}, "length", "max_tokens"),
        ({"tool_calls": CALLS}, "stop", "tool_use"),
        ({"tool_calls": CALLS}, "length", "max_tokens"),
        ({"content": "x"}, "content_filter", "refusal"),
        ({"content": ""}, "sensitive", "refusal"),
        ({"refusal": "no"}, "stop", "refusal"),
        ({"content": "x"}, "model_context_window_exceeded", "model_context_window_exceeded"),
    ],
)
def test_why_it_ended(message: dict[str, Any], finish: str | None, expected: str) -> None:
    """A call of a tool, or a refusal, counts more than a plain end."""
    assert expected == answer(message, finish)["stop_reason"]


def test_a_stop_sequence_is_told_where_the_provider_tells_it() -> None:
    """And was asked for: only then it is known."""
    document = completion()
    document["choices"][0]["stop_reason"] = "END"
    asked, another = Messages(), Messages()
    for dialect, stops in ((asked, ["END", "x"]), (another, ["x"])):
        dialect.read_request({"model": "m", "max_tokens": 5, "messages": [], "stop_sequences": stops})

    told = [dialect.tell_answer(document, USAGE, FACTS) for dialect in (asked, another)]
    assert [("stop_sequence", "END"), ("end_turn", None)] == [
        (one["stop_reason"], one["stop_sequence"]) for one in told
    ]


def test_a_refusal_is_a_text() -> None:
    """There is no block of another kind for it."""
    assert [{"type": "text", "text": "no"}] == answer({"refusal": "no"})["content"]


@settings(deadline=None, print_blob=True, max_examples=settings().max_examples // 5)
@given(st.lists(st.integers(0, len(STREAM + DONE)), max_size=6))
def test_a_stream_is_the_same_however_it_is_cut(cuts: list[int]) -> None:
    """Its events join to the message that the plain answer would have been, to the letter."""
    places = [0, *sorted(cuts), len(STREAM + DONE)]
    stream = Messages().translation(FACTS)
    out = b"".join(stream.feed((STREAM + DONE)[start:end]) for start, end in itertools.pairwise(places))

    told = message_of(out + stream.end(USAGE, b": findtoken cost=1\n\n"))

    expected = answer({"content": "Grüße 你好", "reasoning_content": "Hm, ja.", "tool_calls": CALLS}, "tool_calls")
    expected["content"][2]["input"], expected["content"][3]["input"] = '{"at": "ü"}', ""
    assert expected == told


def test_each_delta_is_told_with_its_event() -> None:
    """Nothing is kept back, and the blocks end with the finish reason, not with the bill."""
    stream = Messages().translation(FACTS)
    told = [
        [event["type"] for event in typed_events(stream.feed(event + b"\n\n"))] for event in STREAM.split(b"\n\n")[:-1]
    ]

    assert [
        ["message_start", "ping"],
        ["content_block_start", "content_block_delta"],
        ["content_block_delta"],
        ["content_block_stop", "content_block_start", "content_block_delta"],
        ["content_block_delta"],
        ["content_block_stop", "content_block_start"],
        ["content_block_delta"],
        ["content_block_delta"],
        ["content_block_stop", "content_block_start"],
        ["content_block_stop"],
    ] == told
    assert b": bill\n\n" in stream.end(USAGE, b": bill\n\n")


def test_a_sign_of_life_is_a_ping() -> None:
    """However many comments come at once, and before anything else."""
    stream = Messages().translation(FACTS)

    assert [{"type": "ping"}] == typed_events(stream.feed(b": keep-alive\n\n: x\n\n"))
    assert "message_start" == typed_events(stream.feed(STREAM))[0]["type"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (408, "timeout_error"),
        (409, "invalid_request_error"),
        (413, "request_too_large"),
        (415, "invalid_request_error"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ],
)
def test_an_error(status: int, expected: str) -> None:
    """Anthropic's shape and type; our code, the request id and whatever else ours tells stay where they stand elsewhere."""
    error = {"message": "m", "type": "ours", "code": "c", "param": None, "request_id": "req_1", "available_usd": "1"}
    body = {"error": error, "findtoken": {}}
    told = {**error, "type": expected}
    shape = {"type": "error", "error": told, "request_id": "req_1", "findtoken": {}}

    assert shape == Messages().tell_error(status, body)
    assert [shape] == typed_events(Messages().translation(FACTS).fail(status, body))
