"""Promises of the Zhipu dialect, row by row: what is sent, and what its errors mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers import errors
from providers.provider import Ask
from providers.rewriting import pseudonym
from providers.zhipu import ZhipuDialect

DIALECT = ZhipuDialect()
OURS = {"model": "glm-4-plus", "stream": False, "max_tokens": 100}
TOOLS = [{"type": "function", "function": {"name": "f"}}]


def shaped(request: dict[str, Any], **facts: Any) -> dict[str, Any]:
    given = {"upstream_model": "glm-4-plus", "streamed": False, "max_tokens": 100, **facts}
    return DIALECT.shape(Ask(request, **given))


@pytest.mark.parametrize(
    ("request_fields", "expected"),
    [
        ({"max_completion_tokens": 7}, {}),
        ({"temperature": 0, "top_p": 0.5}, {"do_sample": False}),
        ({"temperature": 0.0}, {"do_sample": False}),
        ({"temperature": 1.5, "top_p": 1}, {"temperature": 1.0, "top_p": 0.99}),
        ({"temperature": 0.7, "top_p": 0}, {"temperature": 0.7, "top_p": 0.01}),
        ({"stop": ["a", "b"]}, {"stop": ["a"]}),
        ({"stop": "a"}, {"stop": ["a"]}),
        ({"presence_penalty": 1, "frequency_penalty": 1, "logit_bias": {}, "logprobs": True, "top_logprobs": 1}, {}),
        ({"n": 1, "seed": 1, "parallel_tool_calls": False, "request_id": "mine"}, {}),
        ({"user": "ann"}, {"user_id": pseudonym("ann")}),
        ({"tools": TOOLS, "tool_choice": "auto"}, {"tools": TOOLS, "tool_choice": "auto"}),
        ({"tools": TOOLS, "tool_choice": "none"}, {}),
        ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
        ({"thinking": {"type": "disabled"}}, {"thinking": {"type": "disabled"}}),
        ({"unknown": 1}, {"unknown": 1}),
    ],
)
def test_parameters(request_fields: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each row of the parameter table: passed, renamed, moved into range or left out."""
    assert {**OURS, **expected} == shaped(request_fields)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "f"}}])
def test_tool_choice_in_words(choice: Any) -> None:
    """Only `auto` is known: the rest is said in the prompt."""
    body = shaped({"messages": [], "tools": TOOLS, "tool_choice": choice})

    assert ("auto", TOOLS) == (body["tool_choice"], body["tools"])
    assert body["messages"][0]["content"].startswith("You must call")


def test_schema_and_roles_in_words() -> None:
    """A schema goes into the prompt, and the newer role is said in the older word."""
    wanted = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}
    body = shaped({"messages": [{"role": "developer", "content": "x"}], "response_format": wanted})

    assert {"type": "json_object"} == body["response_format"]
    assert "system" == body["messages"][0]["role"]
    assert "JSON Schema" in body["messages"][0]["content"]


@pytest.mark.parametrize(
    ("model", "streamed", "expected"),
    [("glm-4.7", True, True), ("glm-5.3", True, True), ("glm-4-plus", True, False), ("glm-4.7", False, False)],
)
def test_tool_calls_are_streamed_where_that_is_known(model: str, streamed: bool, expected: bool) -> None:
    """Newer models stream the arguments of a call only when asked to."""
    assert expected == ("tool_stream" in shaped({"tools": TOOLS}, upstream_model=model, streamed=streamed))


def test_glm_5_3_cannot_stop_thinking() -> None:
    """The least of it is asked for instead."""
    body = shaped({"thinking": {"type": "disabled"}}, upstream_model="glm-5.3-flash")

    assert {**OURS, "model": "glm-5.3-flash", "reasoning_effort": "low"} == body


@pytest.mark.parametrize("request_fields", [{"n": 2}, {"tools": [{"type": "web_search"}]}])
def test_what_it_does_not_offer(request_fields: dict[str, Any]) -> None:
    """More answers than one and the vendor's own tools are refused here, naming the parameter."""
    with pytest.raises(errors.RequestRefused, match=f"^{next(iter(request_fields))}:"):
        shaped(request_fields)


@pytest.mark.parametrize(
    ("status", "code", "message", "expected"),
    [
        (401, "401", "令牌已过期或验证不正确", errors.ProviderKeyRefused),
        (401, "401", "token expired or incorrect", errors.ProviderKeyRefused),
        (401, "1000", "身份验证失败", errors.ProviderKeyRefused),
        (401, "1001", "Header 中未收到 Authentication 参数", errors.ProviderKeyRefused),
        (401, "1002", "token 非法", errors.ProviderKeyRefused),
        (401, "1003", "token 已过期", errors.ProviderKeyRefused),
        (401, "1004", "token 验证失败", errors.ProviderKeyRefused),
        (401, "1005", "已开启二次认证保护", errors.ProviderKeyRefused),
        (429, "1110", "inactive", errors.ProviderBalanceExhausted),
        (429, "1111", "missing", errors.ProviderBalanceExhausted),
        (429, "1112", "locked", errors.ProviderBalanceExhausted),
        (429, "1113", "您的账户已欠费，请充值后重试", errors.ProviderBalanceExhausted),
        (
            429,
            "1113",
            "Insufficient balance or no resource package. Please recharge.",
            errors.ProviderBalanceExhausted,
        ),
        (429, "1121", "violation", errors.ProviderBalanceExhausted),
        (500, "1120", "later", errors.ProviderFailed),
        (500, "1200", "API 调用失败", errors.ProviderFailed),
        (500, "1230", "流程出错", errors.ProviderFailed),
        (500, "1234", "网络错误，错误id：1", errors.ProviderFailed),
        (500, None, "内部错误", errors.ProviderFailed),
        (400, "1210", "API 调用参数有误", errors.RequestRefused),
        (400, "1212", "method", errors.RequestRefused),
        (400, "1213", "missing field", errors.RequestRefused),
        (400, "1214", "stop 参数非法。请检查文档", errors.RequestRefused),
        (400, "1215", "exclusive", errors.RequestRefused),
        (400, "1211", "模型不存在，请检查模型代码", errors.UpstreamModelMissing),
        (400, "1221", "API offline", errors.UpstreamModelMissing),
        (400, "1222", "no such API", errors.UpstreamModelMissing),
        (403, "1220", "您无权访问", errors.ProviderPermissionDenied),
        (400, "1231", "您已有请求：1", errors.RequestRefused),
        (400, "1261", "Prompt 超长", errors.ContextTooLong),
        (400, None, "Prompt too long", errors.ContextTooLong),
        (400, "1300", "policy", errors.ContentFiltered),
        (400, "1301", "系统检测到输入或生成内容可能包含不安全或敏感内容", errors.ContentFiltered),
        (429, "1302", "您的账户已达到速率限制，请您控制请求频率", errors.ProviderRateLimited),
        (429, 1302, "Rate limit reached for requests", errors.ProviderRateLimited),
        (429, "1303", "frequency", errors.ProviderRateLimited),
        (429, "1304", "daily cap", errors.ProviderQuotaExhausted),
        (429, "1305", "该模型当前访问量过大，请您稍后再试", errors.ProviderOverloaded),
        (429, "1312", "该模型当前访问量过大", errors.ProviderOverloaded),
        (429, "1308", "已达到使用上限，将在 2026-11-22 00:00:00 重置", errors.ProviderQuotaExhausted),
        (429, "1310", "window", errors.ProviderQuotaExhausted),
        (429, "1316", "window", errors.ProviderQuotaExhausted),
        (429, "1321", "window", errors.ProviderQuotaExhausted),
        (429, "1309", "coding plan expired", errors.ProviderPermissionDenied),
        (429, "1311", "model not in plan", errors.ProviderPermissionDenied),
        (429, "1313", "fair use", errors.ProviderPermissionDenied),
        (429, "1315", "key type", errors.ProviderPermissionDenied),
        (434, None, "no API permission", errors.RequestRefused),
    ],
)
def test_errors(status: int, code: Any, message: str, expected: type[errors.UpstreamError]) -> None:
    """Each row of the error table: the number decides, whatever the status; under status 200 as well."""
    answer = {"error": {"code": code, "message": message}}
    error = DIALECT.read_error(status, {}, json.dumps(answer).encode())

    assert (expected, message, str(code or "")) == (type(error), error.message, error.code)
    if code is not None:
        assert expected is type(DIALECT.read_hidden_error(answer))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"code": 401, "msg": "令牌已过期或验证不正确", "success": False}, errors.ProviderKeyRefused),
        ({"choices": [{"finish_reason": "network_error", "delta": {}}]}, errors.ProviderFailed),
    ],
)
def test_errors_under_status_200(answer: dict[str, Any], expected: type[errors.UpstreamError]) -> None:
    """The console's own envelope, and an inference that is given up without an error code."""
    assert expected is type(DIALECT.read_hidden_error(answer))


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "sensitive", "model_context_window_exceeded", None])
def test_other_endings_are_no_errors(reason: str | None) -> None:
    """An answer that was filtered or ran out of room is still an answer."""
    assert None is DIALECT.read_hidden_error({"choices": [{"finish_reason": reason, "delta": {}}]})
