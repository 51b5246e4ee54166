"""OpenAI's own Python client at Responses: texts, streams, functions, JSON, thinking and errors, each paid for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

TOOL: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": True,
}


@pytest.fixture
def client(tap: Any, demo: dict[str, str]) -> Iterator[openai.OpenAI]:
    """The client, which tries nothing a second time."""
    with openai.OpenAI(base_url=tap.base_url, api_key=demo["key"], max_retries=0) as client:
        yield client


def test_a_text_plain_and_streamed(client: openai.OpenAI, tap: Any) -> None:
    """The stream's text and final response are those of the plain answer."""
    request: Any = {"model": "deepseek-chat", "instructions": "Be brief.", "input": "Hello!"}
    plain = client.responses.create(**request)
    with client.responses.stream(**request) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()

    assert text == plain.output_text == final.output_text
    assert (plain.usage, "completed", "completed") == (final.usage, plain.status, final.status)
    assert plain.usage is not None
    assert 0 < plain.usage.output_tokens
    assert "deepseek-chat" == plain.model
    first, second = tap.bills()
    assert 0 < first.cost == second.cost


@pytest.mark.parametrize("streamed", [False, True])
def test_a_function_is_called_and_its_output_understood(client: openai.OpenAI, streamed: bool) -> None:
    """The whole round: two calls, their outputs, the answer; what came back goes in again as it is."""
    items: list[Any] = [{"role": "user", "content": "Please call the tool twice."}]
    if streamed:
        with client.responses.stream(model="qwen-max", input=items, tools=[TOOL]) as stream:
            called: Any = stream.get_final_response()
    else:
        called = client.responses.create(model="qwen-max", input=items, tools=[TOOL])

    calls = [item for item in called.output if item.type == "function_call"]
    assert ["weather", "weather"] == [call.name for call in calls]
    assert [{"city"}] * 2 == [set(json.loads(call.arguments)) for call in calls]
    items += [item.to_dict() for item in called.output]
    items += [{"type": "function_call_output", "call_id": call.call_id, "output": "12 degrees"} for call in calls]
    answered = client.responses.create(model="qwen-max", input=items, tools=[TOOL])
    assert answered.output_text


def test_an_answer_in_json(client: openai.OpenAI) -> None:
    """Of a schema."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    form: Any = {"format": {"type": "json_schema", "name": "place", "schema": schema, "strict": True}}
    response = client.responses.create(model="qwen3.8-flash", input="Where?", text=form)

    assert {"city"} == set(json.loads(response.output_text))


def test_thinking_is_an_item_of_its_own(client: openai.OpenAI) -> None:
    """Before the text, plain and streamed."""
    plain = client.responses.create(model="deepseek-reasoner", input="Hello!", reasoning={"effort": "low"})
    with client.responses.create(model="deepseek-reasoner", input="Hello!", stream=True) as stream:
        *_, last = stream

    assert ["reasoning", "message"] == [item.type for item in plain.output]
    assert "response.completed" == last.type
    assert ["reasoning", "message"] == [item.type for item in last.response.output]


def test_an_answer_that_was_too_long(client: openai.OpenAI) -> None:
    """It says so."""
    response = client.responses.create(model="deepseek-chat", input="Hello!", max_output_tokens=3)

    assert response.incomplete_details is not None
    assert ("incomplete", "max_output_tokens") == (response.status, response.incomplete_details.reason)


def test_errors_are_the_clients_own(client: openai.OpenAI) -> None:
    """An unknown model, a conversation that is not kept, a provider that breaks off in the middle of a stream."""
    with pytest.raises(openai.NotFoundError) as unknown:
        client.responses.create(model="no-such-model", input="Hello!")
    with pytest.raises(openai.BadRequestError) as stateless:
        client.responses.create(model="deepseek-chat", input="Hello!", previous_response_id="resp_1")
    fault: Any = 'SIM:{"kind": "cut_after", "chunks": 3}'
    with client.responses.create(model="deepseek-chat", input=fault, stream=True) as stream:
        *_, last = stream

    assert ("model_not_found", "previous_response_id") == (unknown.value.code, stateless.value.param)
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert "bad_upstream_response" == last.response.error.code
