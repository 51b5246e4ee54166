"""Promises of the DeepSeek dialect, row by row: what is sent, and what its errors mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers import errors
from providers.deepseek import DeepSeekDialect
from providers.provider import Ask
from providers.rewriting import pseudonym

DIALECT = DeepSeekDialect()
OURS = {"model": "deepseek-flash", "stream": False, "max_tokens": 100}
THINKING_OFF = {"thinking": {"type": "disabled"}}


def shaped(request: dict[str, Any], **facts: Any) -> dict[str, Any]:
    given = {"upstream_model": "deepseek-flash", "streamed": False, "max_tokens": 100, **facts}
    return DIALECT.shape(Ask(request, **given))


@pytest.mark.parametrize(
    ("request_fields", "expected"),
    [
        ({"max_tokens": 7}, {}),
        ({"max_completion_tokens": 7}, {}),
        ({"temperature": 0, "top_p": 1}, {"temperature": 0, "top_p": 1}),
        ({"stop": ["a", "b"]}, {"stop": ["a", "b"]}),
        ({"presence_penalty": 1, "frequency_penalty": 1}, {"presence_penalty": 1, "frequency_penalty": 1}),
        ({"n": 1, "logit_bias": {}, "seed": 1, "parallel_tool_calls": True}, {}),
        ({"logprobs": True, "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"user": "ann@example.com"}, {"user_id": pseudonym("ann@example.com")}),
        ({"user": None}, {}),
        ({"tool_choice": "required"}, {"tool_choice": "required"}),
        ({"tool_choice": "none", "tools": []}, {"tool_choice": "none", "tools": []}),
        ({"thinking": {"type": "disabled"}}, {"thinking": {"type": "disabled"}}),
        ({"unknown": 1}, {"unknown": 1}),
    ],
)
def test_parameters(request_fields: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each row of the parameter table: passed, renamed or left out."""
    assert {**OURS, **expected} == shaped(request_fields)


def test_what_thinking_forbids_and_demands() -> None:
    """Thinking allows no log probabilities, and wants the thoughts of earlier tool calls back."""
    turn = {"role": "assistant", "tool_calls": [{"id": "1"}]}
    request = {"logprobs": True, "top_logprobs": 2, "messages": [turn]}

    assert {**OURS, "messages": [{**turn, "reasoning_content": " "}]} == shaped(request, reasoning=True)
    assert {**OURS, **request, **THINKING_OFF} == shaped(request, force=THINKING_OFF, reasoning=True)


def test_roles_and_json() -> None:
    """The newer role is said in the older word, a schema goes into the prompt, and the prompt mentions JSON."""
    messages = [{"role": "developer", "content": "Be brief."}]
    wanted = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}
    body = shaped({"messages": messages, "response_format": wanted})

    assert {"type": "json_object"} == body["response_format"]
    assert "system" == body["messages"][0]["role"]
    assert body["messages"][0]["content"].endswith('JSON Schema:\n{"type": "object"}')

    body = shaped({"messages": messages, "response_format": {"type": "json_object"}})
    assert "Be brief.\n\nAnswer with one JSON object." == body["messages"][0]["content"]


@pytest.mark.parametrize("request_fields", [{"n": 2}, {"tools": [{"type": "web_search"}]}])
def test_what_it_does_not_offer(request_fields: dict[str, Any]) -> None:
    """More answers than one and the vendor's own tools are refused here, naming the parameter."""
    with pytest.raises(errors.RequestRefused, match=f"^{next(iter(request_fields))}:"):
        shaped(request_fields)


def envelope(message: str, kind: str = "invalid_request_error", code: str | None = "invalid_request_error") -> bytes:
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            400,
            envelope(
                "The supported API model names are deepseek-flash, deepseek-v4-pro, but you passed deepseek-chat."
            ),
            errors.UpstreamModelMissing,
        ),
        (400, envelope("Model Not Exist"), errors.UpstreamModelMissing),
        (422, envelope("Model Not Exist"), errors.UpstreamModelMissing),
        (
            400,
            envelope(
                "This model's maximum context length is 131072 tokens. However, you requested 131134 tokens (122942 in "
                "the messages, 8192 in the completion). Please reduce the length of the messages or completion."
            ),
            errors.ContextTooLong,
        ),
        (400, envelope("Content Exists Risk"), errors.ContentFiltered),
        (
            400,
            envelope("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"),
            errors.RequestRefused,
        ),
        (
            400,
            envelope("The 'reasoning_content' in the thinking mode must be passed back to the API."),
            errors.RequestRefused,
        ),
        (
            401,
            envelope("Authentication Fails, Your api key: ****fcc2 is invalid", "authentication_error"),
            errors.ProviderKeyRefused,
        ),
        (401, b"Authentication Fails (governor)", errors.ProviderKeyRefused),
        (401, envelope("Authentication Fails (no such user)"), errors.ProviderKeyRefused),
        (402, envelope("Insufficient Balance", "unknown_error"), errors.ProviderBalanceExhausted),
        (422, b"Failed to deserialize the JSON body into the target type: messages[1].role", errors.RequestRefused),
        (429, envelope("Rate limit reached for TPM", "rate_limit_error", None), errors.ProviderRateLimited),
        (500, envelope("server error", "server_error"), errors.ProviderFailed),
        (503, envelope("overloaded", "server_error"), errors.ProviderOverloaded),
    ],
)
def test_errors(status: int, body: bytes, expected: type[errors.UpstreamError]) -> None:
    """Each row of the error table, in the vendor's words."""
    error = DIALECT.read_error(status, {}, body)

    assert expected is type(error)
    assert "fcc2" not in error.message


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (json.loads(envelope("Insufficient Balance", "unknown_error")), errors.ProviderBalanceExhausted),
        (json.loads(envelope("Content Exists Risk")), errors.ContentFiltered),
        (json.loads(envelope("server error", "server_error")), errors.ProviderFailed),
        (json.loads(envelope("no", "authentication_error")), errors.ProviderKeyRefused),
        ({"choices": [{"finish_reason": "insufficient_system_resource"}]}, errors.ProviderOverloaded),
    ],
)
def test_errors_within_a_stream(answer: dict[str, Any], expected: type[errors.UpstreamError]) -> None:
    """An error frame under status 200 is told by its words and its type."""
    assert expected is type(DIALECT.read_hidden_error(answer))
