"""Promises of the StepFun dialect, row by row: what is sent, and what its errors mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers import errors
from providers.provider import Ask
from providers.stepfun import StepFunDialect

DIALECT = StepFunDialect()
OURS = {"model": "step-3.7-flash", "stream": False, "max_tokens": 100, "reasoning_format": "deepseek-style"}
TOOLS = [{"type": "function", "function": {"name": "f"}}]


def shaped(request: dict[str, Any], **facts: Any) -> dict[str, Any]:
    given = {"upstream_model": "step-3.7-flash", "streamed": False, "max_tokens": 100, **facts}
    return DIALECT.shape(Ask(request, **given))


@pytest.mark.parametrize(
    ("request_fields", "expected"),
    [
        ({"max_completion_tokens": 7}, {}),
        ({"reasoning_format": "general"}, {}),
        ({"temperature": 0, "top_p": 1, "stop": ["a"]}, {"temperature": 0, "top_p": 1, "stop": ["a"]}),
        ({"presence_penalty": 1, "frequency_penalty": 1}, {"presence_penalty": 1, "frequency_penalty": 1}),
        ({"n": 1, "seed": 1, "logit_bias": {}, "logprobs": True, "top_logprobs": 1, "parallel_tool_calls": True}, {}),
        ({"user": "ann"}, {"user": "ann"}),
        ({"tools": TOOLS, "tool_choice": "required"}, {"tools": TOOLS, "tool_choice": "required"}),
        ({"response_format": {"type": "json_schema"}}, {"response_format": {"type": "json_schema"}}),
        ({"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
    ],
)
def test_parameters(request_fields: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each row of the parameter table: passed, renamed or left out; thinking always in the common field."""
    assert {**OURS, **expected} == shaped(request_fields)


def test_a_long_user_is_shortened_to_a_hash() -> None:
    """It takes 32 characters; a cut name could be somebody else's."""
    sent = shaped({"user": "ann" * 20})["user"]

    assert 32 == len(sent)
    assert sent != shaped({"user": "ann" * 21})["user"]


def test_roles() -> None:
    """The newer role is said in the older word."""
    assert "system" == shaped({"messages": [{"role": "developer", "content": "x"}]})["messages"][0]["role"]


@pytest.mark.parametrize("request_fields", [{"n": 2}, {"tools": [{"type": "web_search"}]}])
def test_what_it_does_not_offer(request_fields: dict[str, Any]) -> None:
    """More answers than one and the vendor's own tools are refused here, naming the parameter."""
    with pytest.raises(errors.RequestRefused, match=f"^{next(iter(request_fields))}:"):
        shaped(request_fields)


@pytest.mark.parametrize(
    ("status", "kind", "message", "expected"),
    [
        (400, "request_params_invalid", "model step-9 not supported", errors.UpstreamModelMissing),
        (400, "request_params_invalid", "input_invalid", errors.RequestRefused),
        (400, "request_params_invalid", "invalid msg role: function", errors.RequestRefused),
        (401, "invalid_api_key", "Incorrect API key provided", errors.ProviderKeyRefused),
        (402, "", "You exceeded your current quota, please recharge", errors.ProviderBalanceExhausted),
        (404, "", "path not found", errors.RequestRefused),
        (429, "", "too fast", errors.ProviderRateLimited),
        (
            451,
            "censorship_blocked",
            "The content you provided or machine outputted is blocked.",
            errors.ContentFiltered,
        ),
        (500, "", "internal", errors.ProviderFailed),
        (503, "", "overloaded", errors.ProviderOverloaded),
        (504, "", "timeout", errors.UpstreamTimedOut),
    ],
)
def test_errors(status: int, kind: str, message: str, expected: type[errors.UpstreamError]) -> None:
    """Each row of the error table; those with a type also as an error frame of a stream."""
    answer = {"error": {"type": kind, "message": message}}
    error = DIALECT.read_error(status, {}, json.dumps(answer).encode())

    assert (expected, kind) == (type(error), error.code)
    if kind:
        assert expected is type(DIALECT.read_hidden_error(answer))


def test_blocked_in_the_middle_of_a_stream() -> None:
    """The frame without a type is told by its sentence."""
    answer = {"error": {"message": "The content you provided or machine outputted is blocked."}}

    assert errors.ContentFiltered is type(DIALECT.read_hidden_error(answer))
