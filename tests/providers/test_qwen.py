"""Promises of the Qwen dialect, row by row: what is sent, and what its errors mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers import errors
from providers.provider import Ask
from providers.qwen import QwenDialect

DIALECT = QwenDialect()
OURS = {"model": "qwen-plus", "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 100}
TOOLS = [{"type": "function", "function": {"name": "f"}}]
NAMED = {"type": "function", "function": {"name": "f"}}
SCHEMA = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}


def shaped(request: dict[str, Any], **facts: Any) -> dict[str, Any]:
    given = {"upstream_model": "qwen-plus", "streamed": True, "max_tokens": 100, **facts}
    return DIALECT.shape(Ask(request, **given))


@pytest.mark.parametrize(
    ("request_fields", "expected"),
    [
        ({"max_completion_tokens": 7}, {}),
        ({"temperature": 0, "top_p": 0}, {"temperature": 0, "top_p": 0.01}),
        ({"temperature": 2, "top_p": 1}, {"temperature": 1.99, "top_p": 1}),
        ({"n": 4}, {"n": 4}),
        ({"stop": ["a"]}, {"stop": ["a"]}),
        ({"presence_penalty": 1, "frequency_penalty": 1, "logit_bias": {}}, {"presence_penalty": 1}),
        ({"logprobs": True, "seed": 1}, {"logprobs": True, "seed": 1}),
        ({"user": "ann"}, {}),
        ({"enable_search": True, "search_options": {}}, {}),
        ({"parallel_tool_calls": True}, {"parallel_tool_calls": True}),
        ({"tools": TOOLS, "tool_choice": "none"}, {"tools": TOOLS, "tool_choice": "none"}),
        ({"tools": TOOLS, "tool_choice": NAMED}, {"tools": TOOLS, "tool_choice": NAMED}),
        ({"top_k": 5}, {"top_k": 5}),
    ],
)
def test_parameters(request_fields: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each row of the parameter table: passed, renamed, moved into range or left out."""
    assert {**OURS, **expected} == shaped(request_fields)


@pytest.mark.parametrize(
    ("request_fields", "streamed", "expected"),
    [
        ({}, False, False),
        ({"enable_thinking": True}, False, True),
        ({"thinking_budget": 9}, False, None),
        ({"reasoning_effort": "high"}, False, None),
        ({}, True, None),
    ],
)
def test_a_plain_answer_does_not_think_unless_asked(
    request_fields: dict[str, Any], streamed: bool, expected: bool | None
) -> None:
    """Models refuse to think in plain answers; who asks for it gets the vendor's own answer."""
    assert expected == shaped(request_fields, streamed=streamed).get("enable_thinking")


@pytest.mark.parametrize(
    ("reasoning", "choice", "known"),
    [(False, "required", False), (True, "required", False), (True, NAMED, False), (False, NAMED, True)],
)
def test_tool_choice(reasoning: bool, choice: Any, known: bool) -> None:
    """`required` is never guaranteed, a name not while thinking; both are said in the prompt then."""
    body = shaped({"messages": [], "tools": TOOLS, "tool_choice": choice}, reasoning=reasoning)

    assert (choice if known else "auto") == body["tool_choice"]
    assert known == (body["messages"] == [])


@pytest.mark.parametrize(
    ("model", "wanted", "sent", "thinking"),
    [
        ("qwen-plus", SCHEMA, {"type": "json_object"}, False),
        ("qwen3.8-max", SCHEMA, SCHEMA, None),
        ("qwen3.8-max", {"type": "json_object"}, {"type": "json_object"}, False),
    ],
)
def test_json(model: str, wanted: dict[str, Any], sent: dict[str, Any], thinking: bool | None) -> None:
    """Newer models know schemas; JSON mode and thinking exclude each other, and the prompt must mention JSON."""
    body = shaped({"messages": [], "response_format": wanted}, upstream_model=model, reasoning=True)

    assert (sent, thinking) == (body["response_format"], body.get("enable_thinking"))
    assert (sent == SCHEMA) == (body["messages"] == [])


@pytest.mark.parametrize("request_fields", [{"n": 5}, {"n": 2, "tools": TOOLS}, {"tools": [{"type": "web_search"}]}])
def test_what_it_does_not_offer(request_fields: dict[str, Any]) -> None:
    """More than four answers, more than one with tools, and the vendor's own tools are refused, naming the parameter."""
    with pytest.raises(errors.RequestRefused, match=f"^{next(iter(request_fields))}:"):
        shaped(request_fields)


@pytest.mark.parametrize(
    ("status", "codes", "message", "expected"),
    [
        (
            400,
            ("invalid_parameter_error", "InvalidParameter", "InternalError.Algo.InvalidParameter"),
            "Range of input length should be [1, 30720]",
            errors.ContextTooLong,
        ),
        (
            400,
            ("invalid_parameter_error", "InvalidParameter"),
            "Range of max_tokens should be [1, 8192]",
            errors.RequestRefused,
        ),
        (
            400,
            ("InternalError.Algo.InvalidParameter",),
            "The tool_choice parameter does not support being set to required or object in thinking mode",
            errors.RequestRefused,
        ),
        (
            400,
            ("data_inspection_failed", "DataInspectionFailed"),
            "Output data may contain inappropriate content.",
            errors.ContentFiltered,
        ),
        (
            400,
            ("Arrearage",),
            "Access denied, please make sure your account is in good standing.",
            errors.ProviderBalanceExhausted,
        ),
        (400, ("invalid_request_error",), "Payload Too Large.", errors.RequestRefused),
        (
            401,
            ("invalid_api_key", "InvalidApiKey"),
            "Incorrect API key provided. For details, see: https://help.aliyun.com/",
            errors.ProviderKeyRefused,
        ),
        (
            403,
            ("access_denied", "AccessDenied", "Model.AccessDenied", "Workspace.AccessDenied"),
            "Access denied.",
            errors.ProviderPermissionDenied,
        ),
        (403, ("AccessDenied.Unpurchased",), "Unpurchased.", errors.ProviderPermissionDenied),
        (403, ("AllocationQuota.FreeTierOnly",), "The free tier is exhausted.", errors.ProviderBalanceExhausted),
        (
            404,
            ("model_not_found", "ModelNotFound"),
            "The model `qwen-max` does not exist or you do not have access to it.",
            errors.UpstreamModelMissing,
        ),
        (408, ("RequestTimeOut",), "Request timed out.", errors.UpstreamTimedOut),
        (
            429,
            ("limit_requests", "Throttling", "Throttling.RateQuota", "LimitRequests"),
            "You exceeded your current requests list.",
            errors.ProviderRateLimited,
        ),
        (
            429,
            ("insufficient_quota", "Throttling.AllocationQuota"),
            "You exceeded your current quota, please check your plan and billing details.",
            errors.ProviderRateLimited,
        ),
        (
            429,
            ("limit_burst_rate", "Throttling.BurstRate"),
            "Request rate increased too quickly.",
            errors.ProviderRateLimited,
        ),
        (429, ("Throttling.ServiceOverloaded",), "Overloaded.", errors.ProviderOverloaded),
        (
            429,
            ("PrepaidBillOverdue", "PostpaidBillOverdue", "CommodityNotPurchased", "BudgetLimitExceeded"),
            "Overdue.",
            errors.ProviderBalanceExhausted,
        ),
        (
            500,
            ("internal_error", "InternalError", "InternalError.Algo", "InternalError.Timeout", "SystemError"),
            "Internal.",
            errors.ProviderFailed,
        ),
        (500, ("ModelServiceFailed",), "Failed.", errors.ProviderFailed),
        (503, ("ModelUnavailable",), "Unavailable.", errors.ProviderOverloaded),
    ],
)
def test_errors(status: int, codes: tuple[str, ...], message: str, expected: type[errors.UpstreamError]) -> None:
    """Each row of the error table, under every code, in the compatible and the native envelope, framed and under 200."""
    for code in codes:
        compatible = {"error": {"message": message, "type": code, "param": None, "code": code}, "request_id": "1"}
        native = {"code": code, "message": message, "request_id": "1"}
        for answer in (compatible, native):
            plain = json.dumps(answer).encode()
            assert expected is type(DIALECT.read_error(status, {}, plain))
            assert expected is type(DIALECT.read_error(status, {}, b"data: " + plain + b"\n\n"))
            assert expected is type(DIALECT.read_hidden_error(answer))


def test_a_usage_chunk_is_no_error() -> None:
    """The last chunk has no choices, and is a proper one."""
    assert None is DIALECT.read_hidden_error({"choices": [], "usage": {"total_tokens": 1}, "id": "chatcmpl-1"})
