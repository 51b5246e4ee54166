"""Answers and errors of chat completions in the shapes of OpenAI's Responses, and what is repeated of the request."""

from __future__ import annotations

from typing import Any

import pytest

from billing.usage import Usage
from middlewares.caller_dialect import Facts
from middlewares.errors import Refusal
from proxy.dialects.responses import Responses
from tests.fakes.raw_upstream import completion

FACTS = Facts("req_019a", 1, lambda: "standard")


def test_what_is_repeated_of_the_request() -> None:
    """As it came; without the input and without a provider key."""
    repeated = {
        "instructions": "Be brief.",
        "max_output_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "user": "u",
        "safety_identifier": None,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "reasoning": {"effort": "low", "summary": None},
        "text": {"format": {"type": "json_object"}},
        "tool_choice": "none",
        "tools": [{"type": "function", "name": "look"}],
    }
    dialect = Responses()
    dialect.read_request(
        {"model": "m", "input": "secret words", "provider_key": {"provider": "a", "api_key": "secret"}, **repeated}
    )
    told = dialect.tell_answer(completion(), Usage(1, 2), FACTS)

    assert repeated == {name: told[name] for name in repeated}
    assert "secret" not in str(told)
    assert (False, None, False) == (told["store"], told["previous_response_id"], told["background"])


def test_errors_keep_their_shape() -> None:
    """But for the name of the field that is called otherwise here."""
    error: dict[str, Any] = {"message": "m", "type": "t", "code": "c", "param": "max_tokens", "request_id": "r"}

    assert {"error": {**error, "param": "max_output_tokens"}} == Responses().tell_error(402, {"error": error})
    assert {"error": {**error, "param": "input"}} == Responses().tell_error(
        400, {"error": {**error, "param": "messages"}}
    )
    assert {"error": {**error, "param": "model"}, "findtoken": {}} == Responses().tell_error(
        404, {"error": {**error, "param": "model"}, "findtoken": {}}
    )


def test_what_could_not_be_repeated_is_refused_before_anything_is_called() -> None:
    """A schema nested to the limit of what can be written."""
    schema: dict[str, Any] = {}
    for _ in range(5000):
        schema = {"a": schema}

    with pytest.raises(Refusal):
        Responses().read_request(
            {"model": "m", "input": "x", "tools": [{"type": "function", "name": "f", "parameters": schema}]}
        )
