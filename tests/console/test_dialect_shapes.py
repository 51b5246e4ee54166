"""Answers and errors of the routes of other APIs are what the API's description says, and so are the bodies they take."""

from __future__ import annotations

import json
from typing import Any

import pydantic
import pytest

from console.dialect_shapes import MessagesRequest, ResponsesRequest
from console.openapi import OPERATIONS
from tests.fakes.raw_upstream import RawUpstream, completion, http
from tests.gateway import Gateway

CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
SAID = {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm.", "tool_calls": [CALL]}
MESSAGES: dict[str, Any] = {
    "model": "standard",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
    "tools": [{"name": "look", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "auto"},
}


RESPONSES: dict[str, Any] = {
    "model": "standard",
    "input": [{"role": "user", "content": "Hello"}],
    "instructions": "Be brief.",
    "max_output_tokens": 100,
    "tools": [{"type": "function", "name": "look", "parameters": {"type": "object"}}],
    "tool_choice": {"type": "function", "name": "look"},
    "reasoning": {"effort": "none"},
    "text": {"format": {"type": "text"}},
}


@pytest.mark.parametrize(("path", "body"), [("/v1/messages", MESSAGES), ("/v1/responses", RESPONSES)])
async def test_answers_and_errors_are_as_described(
    path: str, body: dict[str, Any], gateway: Gateway, alpha: RawUpstream
) -> None:
    """Everything that can stand in an answer; explained, too; and what is refused."""
    operation = OPERATIONS["POST", path]
    document = completion(finish="tool_calls")
    document["choices"][0]["message"] = SAID
    alpha.next([http(document)])
    whole = await gateway.send(json.dumps(body).encode(), path=path)
    explained = await gateway.send(json.dumps(body).encode(), path=path, headers={"X-FindToken-Explain": "1"})
    for reply in (whole, explained):
        assert 200 == reply.status
        pydantic.TypeAdapter(operation.answer).validate_json(reply.body, strict=True)

    for wrong in ({"model": "none"}, {"tools": [{"type": "computer"}]}, {"max_tokens": 0, "max_output_tokens": 0}):
        refused = await gateway.send(json.dumps({**body, **wrong}).encode(), path=path)
        assert 400 <= refused.status
        operation.error.model_validate_json(refused.body, strict=True)


def test_bodies_as_they_are_read() -> None:
    """What is required is required; fields of others may stand beside ours."""
    told = MessagesRequest.model_validate({**MESSAGES, "service_tier": "auto", "routing": "cheapest"})

    assert ("cheapest", "auto") == (told.routing, told.model_extra and told.model_extra["service_tier"])
    ResponsesRequest.model_validate({**RESPONSES, "prompt_cache_key": "x"})
    for shape, body, missing in (
        (MessagesRequest, MESSAGES, "model"),
        (MessagesRequest, MESSAGES, "max_tokens"),
        (MessagesRequest, MESSAGES, "messages"),
        (ResponsesRequest, RESPONSES, "model"),
        (ResponsesRequest, RESPONSES, "input"),
    ):
        with pytest.raises(pydantic.ValidationError):
            shape.model_validate({name: value for name, value in body.items() if name != missing})
