"""Promises of the Kimi dialect, row by row: what is sent, and what its errors mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers import errors
from providers.kimi import KimiDialect
from providers.provider import Ask
from providers.rewriting import pseudonym

DIALECT = KimiDialect()
OURS = {"model": "kimi-k2.6", "stream": False, "max_completion_tokens": 100}
TOOLS = [{"type": "function", "function": {"name": "f"}}]
NAMED = {"type": "function", "function": {"name": "f"}}
OFF = {"thinking": {"type": "disabled"}}


def shaped(request: dict[str, Any], **facts: Any) -> dict[str, Any]:
    given = {"upstream_model": "kimi-k2.6", "streamed": False, "max_tokens": 100, **facts}
    return DIALECT.shape(Ask(request, **given))


@pytest.mark.parametrize(
    ("request_fields", "expected"),
    [
        ({"max_tokens": 7}, {}),
        ({"max_completion_tokens": 7}, {}),
        ({"temperature": 0, "top_p": 1, "presence_penalty": 1, "frequency_penalty": 1}, {}),
        ({"n": 1, "seed": 1, "logit_bias": {}, "parallel_tool_calls": True}, {}),
        ({"logprobs": True}, {"logprobs": True}),
        ({"stop": "end"}, {"stop": ["end"]}),
        ({"stop": ["a", "b", "c", "d", "e", "f"]}, {"stop": ["a", "b", "c", "d", "e"]}),
        ({"stop": ["x" * 40]}, {"stop": ["x" * 32]}),
        ({"stop": ["好" * 12]}, {"stop": ["好" * 10]}),
        ({"user": "ann"}, {"safety_identifier": pseudonym("ann")}),
        ({"tools": TOOLS, "tool_choice": "none"}, {"tools": TOOLS, "tool_choice": "none"}),
        ({"response_format": {"type": "json_schema"}}, {"response_format": {"type": "json_schema"}}),
        (OFF, OFF),
        ({"prompt_cache_key": "k"}, {"prompt_cache_key": "k"}),
    ],
)
def test_parameters(request_fields: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each row of the parameter table: passed, renamed, shortened or left out."""
    assert {**OURS, **expected} == shaped(request_fields)


@pytest.mark.parametrize(
    ("model", "choice", "known"),
    [
        ("kimi-k2.6", "required", False),
        ("kimi-k3", "required", True),
        ("kimi-k2.6", NAMED, False),
        ("kimi-k3", NAMED, False),
    ],
)
def test_tool_choice(model: str, choice: Any, known: bool) -> None:
    """Only K3 knows `required`, none knows names; the rest is said in the prompt."""
    body = shaped({"messages": [], "tools": TOOLS, "tool_choice": choice}, upstream_model=model)

    assert (choice if known else "auto") == body["tool_choice"]
    assert known == (body["messages"] == [])


@pytest.mark.parametrize(
    ("model", "expected"),
    [("kimi-k2.6", OFF), ("kimi-k2.7-code", {}), ("kimi-k3", {"reasoning_effort": "low"})],
)
def test_thinking_off(model: str, expected: dict[str, Any]) -> None:
    """K2.6 has a switch, K3 a measure, K2.7 neither."""
    assert {**OURS, "model": model, **expected} == shaped(OFF, upstream_model=model, reasoning=True)


@pytest.mark.parametrize(
    ("model", "reasoning", "force", "filled"),
    [
        ("kimi-k3", True, {}, True),
        ("kimi-k2.7-code", False, {}, True),
        ("kimi-k2.6", True, {}, True),
        ("kimi-k2.6", False, OFF, False),
    ],
)
def test_thoughts_of_earlier_turns(model: str, reasoning: bool, force: dict[str, Any], filled: bool) -> None:
    """A model that thinks wants them back with tool calls."""
    turn = {"role": "assistant", "tool_calls": [{"id": "f:0"}]}
    body = shaped({"messages": [turn]}, upstream_model=model, reasoning=reasoning, force=force)

    assert filled == ("reasoning_content" in body["messages"][0])


def test_roles() -> None:
    """The newer role is said in the older word."""
    assert "system" == shaped({"messages": [{"role": "developer", "content": "x"}]})["messages"][0]["role"]


@pytest.mark.parametrize("request_fields", [{"n": 2}, {"tools": [{"type": "builtin_function"}]}])
def test_what_it_does_not_offer(request_fields: dict[str, Any]) -> None:
    """More answers than one and the vendor's own tools are refused here, naming the parameter."""
    with pytest.raises(errors.RequestRefused, match=f"^{next(iter(request_fields))}:"):
        shaped(request_fields)


@pytest.mark.parametrize(
    ("status", "kind", "message", "expected"),
    [
        (
            400,
            "content_filter",
            "The request was rejected because it was considered high risk",
            errors.ContentFiltered,
        ),
        (
            400,
            "invalid_request_error",
            "Invalid request: Your request exceeded model token limit: 262144 (requested: 558009)",
            errors.ContextTooLong,
        ),
        (400, "invalid_request_error", "Input token length too long", errors.ContextTooLong),
        (
            400,
            "invalid_request_error",
            "invalid temperature: only 1 is allowed for this model",
            errors.RequestRefused,
        ),
        (400, "invalid_request_error", "tool_call_id not found", errors.RequestRefused),
        (401, "invalid_authentication_error", "Invalid Authentication", errors.ProviderKeyRefused),
        (401, "incorrect_api_key_error", "Incorrect API key provided", errors.ProviderKeyRefused),
        (403, "permission_denied_error", "The API you are accessing is not open", errors.ProviderPermissionDenied),
        (
            404,
            "resource_not_found_error",
            "Not found the model kimi-k2 or Permission denied",
            errors.UpstreamModelMissing,
        ),
        (
            429,
            "exceeded_current_quota_error",
            (
                "Your account is suspended due to insufficient balance, please recharge your account or check your plan "
                "and billing details"
            ),
            errors.ProviderBalanceExhausted,
        ),
        (
            429,
            "rate_limit_reached_error",
            (
                "Your account org-0a1b2c3d/proj-4e5f6a7b<ak-8c9d0e1f> request reached organization max RPM: 20, please "
                "try again after 1 seconds"
            ),
            errors.ProviderRateLimited,
        ),
        (
            429,
            "rate_limit_reached_error",
            "Your account org-0a1b2c3d request reached organization TPD rate limit, current: 1567687, limit: 1500000",
            errors.ProviderQuotaExhausted,
        ),
        (
            429,
            "rate_limit_reached_error",
            "Your account org-0a1b2c3d request reached organization max concurrency: 3",
            errors.ProviderRateLimited,
        ),
        (
            429,
            "engine_overloaded_error",
            "The engine is currently overloaded, please try again later",
            errors.ProviderOverloaded,
        ),
        (500, "server_error", "server error", errors.ProviderFailed),
        (500, "unexpected_output", "unexpected output", errors.ProviderFailed),
        (503, "server_unavailable", "unavailable", errors.ProviderOverloaded),
    ],
)
def test_errors(status: int, kind: str, message: str, expected: type[errors.UpstreamError]) -> None:
    """Each row of the error table, with its status and as an error frame of a stream."""
    answer = {"error": {"type": kind, "message": message}}
    error = DIALECT.read_error(status, {}, json.dumps(answer).encode())

    assert (expected, kind) == (type(error), error.code)
    assert "0a1b2c3d" not in error.message
    assert expected is type(DIALECT.read_hidden_error(answer))


def test_the_wait_stands_in_the_sentence() -> None:
    """Kimi writes how long to wait into its message."""
    answer = {"error": {"type": "rate_limit_reached_error", "message": "max RPM: 20, please try again after 1 seconds"}}

    assert 1.0 == DIALECT.read_error(429, {}, json.dumps(answer).encode()).retry_after_seconds


def test_the_page_of_its_gateway() -> None:
    """After 900 s its gateway answers with a page; we say the status instead."""
    error = DIALECT.read_error(504, {}, b"<html><center><h1>504 Gateway Time-out</h1></center></html>")

    assert (errors.UpstreamTimedOut, "The provider answered with status 504 and no readable message.") == (
        type(error),
        error.message,
    )
