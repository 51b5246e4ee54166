"""Promises of the MiniMax dialect, row by row: what is sent, and what its errors mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers import errors
from providers.minimax import MiniMaxDialect
from providers.provider import Ask

DIALECT = MiniMaxDialect()
OURS = {"model": "MiniMax-M2.5", "stream": False, "max_tokens": 100, "reasoning_split": True}
TOOLS = [{"type": "function", "function": {"name": "f"}}]


def shaped(request: dict[str, Any], **facts: Any) -> dict[str, Any]:
    given = {"upstream_model": "MiniMax-M2.5", "streamed": False, "max_tokens": 100, **facts}
    return DIALECT.shape(Ask(request, **given))


@pytest.mark.parametrize(
    ("request_fields", "expected"),
    [
        ({"reasoning_split": False}, {}),
        ({"temperature": 0, "top_p": 0}, {"temperature": 0.01, "top_p": 0.01}),
        ({"temperature": 1.5, "top_p": 1}, {"temperature": 1.0, "top_p": 1}),
        ({"stop": ["a", "b"]}, {"stop": ["a", "b"]}),
        ({"presence_penalty": 1, "frequency_penalty": 1, "logit_bias": {}, "logprobs": True, "top_logprobs": 1}, {}),
        ({"n": 1, "seed": 1, "parallel_tool_calls": True, "user": "ann"}, {}),
        ({"service_tier": "priority"}, {}),
        ({"tools": TOOLS, "tool_choice": "none"}, {"tools": TOOLS, "tool_choice": "none"}),
        ({"thinking": {"type": "disabled"}}, {}),
        ({"unknown": 1}, {"unknown": 1}),
    ],
)
def test_parameters(request_fields: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each row of the parameter table: passed, moved into range or left out; thinking always apart from the text."""
    assert {**OURS, **expected} == shaped(request_fields)


def test_the_limit_keeps_its_name() -> None:
    """Both names are known."""
    assert 100 == shaped({"max_completion_tokens": 7})["max_completion_tokens"]
    assert "max_tokens" not in shaped({"max_completion_tokens": 7})


def test_m3_takes_more() -> None:
    """The newer family knows the switch for thinking and a temperature from 0 to 2."""
    request = {"temperature": 0, "thinking": {"type": "disabled"}}

    assert {**OURS, **request, "model": "MiniMax-M3"} == shaped(request, upstream_model="MiniMax-M3")


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "f"}}])
def test_tool_choice_in_words(choice: Any) -> None:
    """What it does not know is said in the prompt."""
    body = shaped({"messages": [], "tools": TOOLS, "tool_choice": choice})

    assert ("auto", TOOLS) == (body["tool_choice"], body["tools"])
    assert body["messages"][0]["content"].startswith("You must call")


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({"type": "json_object"}, "Answer with one JSON object."),
        (
            {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
            'Answer with one JSON object of this JSON Schema:\n{"type": "object"}',
        ),
    ],
)
def test_json_in_words(wanted: dict[str, Any], sentence: str) -> None:
    """Its own JSON formats cannot be relied on, so the prompt asks."""
    body = shaped({"messages": [], "response_format": wanted})

    assert {**OURS, "messages": [{"role": "system", "content": sentence}]} == body


@pytest.mark.parametrize("request_fields", [{"n": 2}, {"tools": [{"type": "web_search"}]}])
def test_what_it_does_not_offer(request_fields: dict[str, Any]) -> None:
    """More answers than one and the vendor's own tools are refused here, naming the parameter."""
    with pytest.raises(errors.RequestRefused, match=f"^{next(iter(request_fields))}:"):
        shaped(request_fields)


@pytest.mark.parametrize(
    ("code", "status", "kind", "message", "expected"),
    [
        (1000, 500, "server_error", "unknown error", errors.ProviderFailed),
        (1001, 500, "server_error", "request timeout", errors.UpstreamTimedOut),
        (1002, 429, "rate_limit_error", "rate limit exceeded(RPM)", errors.ProviderRateLimited),
        (1004, 401, "authorized_error", "login fail: Please carry the API secret key", errors.ProviderKeyRefused),
        (1008, 402, "insufficient_balance_error", "insufficient balance", errors.ProviderBalanceExhausted),
        (1008, 500, "api_error", "insufficient balance", errors.ProviderBalanceExhausted),
        (1013, 500, "server_error", "internal", errors.ProviderFailed),
        (1024, 500, "server_error", "internal", errors.ProviderFailed),
        (1026, 422, "unprocessable_entity_error", "input new_sensitive", errors.ContentFiltered),
        (1026, 500, "api_error", "input new_sensitive", errors.ContentFiltered),
        (1027, 422, "unprocessable_entity_error", "output new_sensitive", errors.ContentFiltered),
        (1033, 500, "server_error", "mysql", errors.ProviderFailed),
        (1039, 429, "rate_limit_error", "token limit", errors.ProviderRateLimited),
        (1041, 429, "rate_limit_error", "conn limit", errors.ProviderRateLimited),
        (1042, 400, "bad_request_error", "invisible character ratio", errors.RequestRefused),
        (
            2013,
            400,
            "bad_request_error",
            "invalid params, tool call result does not follow tool call",
            errors.RequestRefused,
        ),
        (2013, 400, "bad_request_error", "invalid params, unknown model 'x'", errors.UpstreamModelMissing),
        (2013, 400, "bad_request_error", "invalid params, context window exceeds limit", errors.ContextTooLong),
        (2045, 429, "rate_limit_error", "rate growth limit", errors.ProviderRateLimited),
        (2049, 401, "authorized_error", "invalid api key", errors.ProviderKeyRefused),
        (2056, 429, "rate_limit_error", "usage limit exceeded", errors.ProviderQuotaExhausted),
        (2061, 500, "api_error", "your current token plan not support model, X", errors.ProviderPermissionDenied),
        (2062, 429, "rate_limit_error", "Token Plan speed limit", errors.ProviderRateLimited),
        (2067, 429, "rate_limit_error", "plan limit", errors.ProviderQuotaExhausted),
        (1400010161, 400, "bad_request_error", "credits exhausted", errors.ProviderBalanceExhausted),
    ],
)
def test_errors(code: int, status: int, kind: str, message: str, expected: type[errors.UpstreamError]) -> None:
    """Each row of the error table in both envelopes: a true status with the number at the end, and 200 with base_resp."""
    modern = {
        "type": "error",
        "error": {"type": kind, "message": f"{message} ({code})", "http_code": str(status)},
        "request_id": "1",
    }
    legacy = {"base_resp": {"status_code": code, "status_msg": message}}
    error = DIALECT.read_error(status, {}, json.dumps(modern).encode())
    hidden = DIALECT.read_hidden_error(legacy)

    assert (expected, str(code)) == (type(error), error.code)
    assert hidden is not None
    assert (expected, str(code)) == (type(hidden), hidden.code)
    assert expected is type(DIALECT.read_hidden_error(modern))
    assert expected is type(DIALECT.read_error(200, {}, json.dumps(legacy).encode()))


def test_the_number_of_the_envelope_comes_before_a_quoted_one() -> None:
    """A message may end with the caller's own words; the number that the vendor wrote in its field counts."""
    answer = {"base_resp": {"status_code": 2013, "status_msg": "invalid params, function name x (1008)"}}

    assert errors.RequestRefused is type(DIALECT.read_hidden_error(answer))


def test_a_proper_answer_is_no_error() -> None:
    """Every good answer carries base_resp with 0."""
    answer = {
        "choices": [{"finish_reason": "stop", "message": {"content": "x"}}],
        "input_sensitive": False,
        "base_resp": {"status_code": 0, "status_msg": ""},
    }

    assert None is DIALECT.read_hidden_error(answer)
