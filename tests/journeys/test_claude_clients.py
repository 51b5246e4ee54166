"""Anthropic's own Python client against the gateway: texts, streams, tools, thinking, pictures and errors, each paid for.

It takes the answers apart with Anthropic's own types, and is told of errors in its own terms.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

HELLO: list[Any] = [{"role": "user", "content": "Hello!"}]
TOOL: Any = {
    "name": "weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
def client(tap: Any, demo: dict[str, str]) -> Iterator[anthropic.Anthropic]:
    """The client, which tries nothing a second time; its base URL is without /v1."""
    base_url = tap.base_url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=base_url, api_key=demo["key"], max_retries=0) as client:
        yield client


def test_a_text_plain_and_streamed(client: anthropic.Anthropic, tap: Any) -> None:
    """The stream's text and final message are those of the plain answer."""
    request: Any = {"model": "deepseek-chat", "max_tokens": 500, "system": "Be brief.", "messages": HELLO}
    plain = client.messages.create(**request)
    with client.messages.stream(**request) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()

    assert [text] == [block.text for block in final.content if block.type == "text"]
    assert [text] == [block.text for block in plain.content if block.type == "text"]
    assert (plain.usage, plain.stop_reason, "end_turn") == (final.usage, final.stop_reason, final.stop_reason)
    assert 0 < plain.usage.output_tokens
    assert "deepseek-chat" == plain.model == final.model
    first, second = tap.bills()
    assert 0 < first.cost == second.cost


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_is_called_and_its_result_understood(client: anthropic.Anthropic, streamed: bool) -> None:
    """The whole round: the call, its result, the answer. Two calls at once are two blocks."""
    messages: list[Any] = [{"role": "user", "content": "Please call the tool twice."}]
    request: Any = {"model": "qwen-max", "max_tokens": 500, "tools": [TOOL]}
    if streamed:
        with client.messages.stream(messages=messages, **request) as stream:
            called = stream.get_final_message()
    else:
        called = client.messages.create(messages=messages, **request)

    uses = [block for block in called.content if block.type == "tool_use"]
    assert ("tool_use", ["weather"] * 2) == (called.stop_reason, [use.name for use in uses])
    assert [{"city"}] * 2 == [set(use.input) for use in uses]
    assert 2 == len({use.id for use in uses})
    results = [{"type": "tool_result", "tool_use_id": use.id, "content": "12 degrees"} for use in uses]
    messages += [{"role": "assistant", "content": called.content}, {"role": "user", "content": results}]
    answered = client.messages.create(messages=messages, **request)
    assert ("end_turn", "text") == (answered.stop_reason, answered.content[-1].type)


def test_a_tool_that_must_be_called(client: anthropic.Anthropic) -> None:
    """By any, or by its name."""
    for choice in ({"type": "any"}, {"type": "tool", "name": "weather"}):
        message = client.messages.create(
            model="deepseek-chat", max_tokens=500, messages=HELLO, tools=[TOOL], tool_choice=choice
        )
        assert "tool_use" == message.stop_reason


@pytest.mark.parametrize("streamed", [False, True])
def test_thinking_is_a_block_of_its_own(client: anthropic.Anthropic, streamed: bool) -> None:
    """Before the text; asked for in Anthropic's words."""
    request: Any = {
        "model": "deepseek-reasoner",
        "max_tokens": 2000,
        "messages": HELLO,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    if streamed:
        with client.messages.stream(**request) as stream:
            message = stream.get_final_message()
    else:
        message = client.messages.create(**request)

    assert ["thinking", "text"] == [block.type for block in message.content]
    assert all(getattr(block, block.type) for block in message.content)


def test_an_answer_that_was_too_long(client: anthropic.Anthropic) -> None:
    """It says so."""
    message = client.messages.create(model="deepseek-chat", max_tokens=3, messages=HELLO)

    assert ("max_tokens", 3) == (message.stop_reason, message.usage.output_tokens)


def test_errors_are_the_clients_own(client: anthropic.Anthropic, demo: dict[str, str]) -> None:
    """An unknown model, a wrong key, a provider that breaks off in the middle of a stream."""
    with pytest.raises(anthropic.NotFoundError) as unknown:
        client.messages.create(model="no-such-model", max_tokens=5, messages=HELLO)
    with pytest.raises(anthropic.AuthenticationError):
        client.with_options(api_key="sk-ft_wrong").messages.create(model="deepseek-chat", max_tokens=5, messages=HELLO)
    fault: Any = [{"role": "user", "content": 'SIM:{"kind": "cut_after", "chunks": 3}'}]
    with (
        client.messages.stream(model="deepseek-chat", max_tokens=500, messages=fault) as stream,
        pytest.raises(anthropic.APIStatusError) as cut,
    ):
        stream.until_done()

    body: Any = unknown.value.body
    assert ("not_found_error", "model_not_found") == (body["error"]["type"], body["error"]["code"])
    assert body["request_id"].startswith("req_")
    assert "bad_upstream_response" in str(cut.value)
