"""Promises of the common dialect: everything passes but what is named, and every failure gets its class."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers import errors
from providers.catalogue import DIALECTS
from providers.dialect import OpenAIDialect
from providers.provider import Ask, Provider

DIALECT = OpenAIDialect()


def shaped(request: dict[str, Any], **facts: Any) -> dict[str, Any]:
    given = {"upstream_model": "upstream", "streamed": False, "max_tokens": 100, **facts}
    return DIALECT.shape(Ask(request, **given))


def test_everything_passes_but_what_is_named() -> None:
    """Model, stream and limit are ours; every other field goes through, known or not."""
    request = {
        "model": "public",
        "messages": [{"role": "developer", "content": "x"}],
        "temperature": 0,
        "n": 3,
        "user": "ann",
        "seed": 1,
        "stream": True,
        "something_new": {"a": [1]},
    }

    assert {**request, "model": "upstream", "stream": False, "max_tokens": 100} == shaped(request)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, {"max_tokens": 100}),
        ({"max_tokens": 900}, {"max_tokens": 100}),
        ({"max_completion_tokens": 900}, {"max_completion_tokens": 100}),
        ({"max_tokens": 5, "max_completion_tokens": 5}, {"max_completion_tokens": 100}),
        ({"max_tokens": 5, "max_completion_tokens": None}, {"max_tokens": 100}),
    ],
)
def test_the_limit_keeps_the_callers_name(limits: dict[str, Any], expected: dict[str, Any]) -> None:
    """The limit is always sent, once, under the name the caller used."""
    assert {"model": "upstream", "stream": False, **expected} == shaped(limits)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (None, {"include_usage": True}),
        ({}, {"include_usage": True}),
        ({"include_usage": False, "other": 1}, {"include_usage": True, "other": 1}),
        ("junk", {"include_usage": True}),
    ],
)
def test_a_stream_always_reports_usage(options: Any, expected: dict[str, Any]) -> None:
    """Usage is asked for whatever the caller said; its other stream options stay."""
    assert expected == shaped({"stream_options": options}, streamed=True)["stream_options"]


def test_a_plain_request_has_no_stream_options() -> None:
    """OpenAI refuses them where nothing is streamed."""
    assert "stream_options" not in shaped({"stream_options": {"include_usage": True}})


def test_forced_fields_win() -> None:
    """What the catalogue forces is laid over the caller's field, object into object."""
    request = {"thinking": {"type": "enabled", "keep": "all"}, "x": 1}

    assert {"type": "disabled", "keep": "all"} == shaped(request, force={"thinking": {"type": "disabled"}})["thinking"]


def test_headers_carry_the_key_only_where_there_is_one() -> None:
    """A model server of one's own wants no Authorization."""
    assert {"Content-Type": "application/json", "Authorization": "Bearer k"} == DIALECT.headers("k")
    assert {"Content-Type": "application/json"} == DIALECT.headers("")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, b"", errors.RequestRefused),
        (404, b"", errors.RequestRefused),
        (404, b"The model `x` does not exist", errors.UpstreamModelMissing),
        (404, "模型不存在".encode(), errors.UpstreamModelMissing),
        (405, b"", errors.RequestRefused),
        (413, b"", errors.RequestRefused),
        (415, b"", errors.RequestRefused),
        (422, b"", errors.RequestRefused),
        (401, b"", errors.ProviderKeyRefused),
        (402, b"", errors.ProviderBalanceExhausted),
        (403, b"", errors.ProviderPermissionDenied),
        (408, b"", errors.UpstreamTimedOut),
        (504, b"<html>504 Gateway Time-out</html>", errors.UpstreamTimedOut),
        (429, b"", errors.ProviderRateLimited),
        (451, b"", errors.ContentFiltered),
        (301, b"", errors.AnswerUnreadable),
        (307, b"<html>moved</html>", errors.AnswerUnreadable),
        (500, b"", errors.ProviderFailed),
        (502, b"<html>Bad Gateway</html>", errors.ProviderFailed),
        (503, b"", errors.ProviderOverloaded),
        (529, b"", errors.ProviderOverloaded),
        (200, b"", errors.AnswerUnreadable),
        (200, b"<html>hello</html>", errors.AnswerUnreadable),
        (200, b'{"error":{"type":"authentication_error"}}', errors.ProviderKeyRefused),
    ],
)
def test_the_status_decides_where_the_body_does_not(
    status: int, body: bytes, expected: type[errors.UpstreamError]
) -> None:
    """Every status has its class, and the message is a sentence of ours where the provider gave none."""
    error = DIALECT.read_error(status, {}, body)

    assert expected is type(error)
    assert status == error.status
    assert "<html>" not in error.message
    assert "" != error.message


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"code": "context_length_exceeded", "message": "m"}, errors.ContextTooLong),
        (400, {"message": "This model's maximum context length is 8192 tokens."}, errors.ContextTooLong),
        (400, {"code": "content_policy_violation"}, errors.ContentFiltered),
        (404, {"code": "model_not_found"}, errors.UpstreamModelMissing),
        (401, {"code": "invalid_api_key"}, errors.ProviderKeyRefused),
        (429, {"code": "insufficient_quota"}, errors.ProviderBalanceExhausted),
        (429, {"code": "rate_limit_exceeded"}, errors.ProviderRateLimited),
        (500, {"type": "overloaded_error"}, errors.ProviderOverloaded),
        (401, {"type": "invalid_request_error", "code": None}, errors.ProviderKeyRefused),
    ],
)
def test_the_providers_code_comes_before_the_status(
    status: int, error: dict[str, Any], expected: type[errors.UpstreamError]
) -> None:
    """A code that leaves no doubt decides; a vague one gives way to the status."""
    assert expected is type(DIALECT.read_error(status, {}, json.dumps({"error": error}).encode()))


def test_an_error_carries_what_the_provider_said() -> None:
    """Message, code, status and wait are the provider's own; its name is for the caller to fill in."""
    body = b'{"error":{"message":"slow down","code":"rate_limit_exceeded"}}'
    error = DIALECT.read_error(429, {"Retry-After": "3"}, body)

    assert ("slow down", "rate_limit_exceeded", 429, 3.0, "") == (
        error.message,
        error.code,
        error.status,
        error.retry_after_seconds,
        error.provider,
    )


def test_a_quotation_cannot_put_the_key_out_of_use() -> None:
    """A refusal that quotes the caller's own words about money says nothing about the operator's balance."""
    body = b'{"error":{"message":"Insufficient Balance is no valid function name"}}'

    assert errors.RequestRefused is type(DIALECT.read_error(400, {}, body))
    assert errors.ProviderBalanceExhausted is type(DIALECT.read_error(500, {}, body))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"error": {"message": "m", "code": 429}}, errors.ProviderRateLimited),
        ({"error": {"message": "m", "code": "503"}}, errors.ProviderOverloaded),
        ({"error": {"message": "m", "code": 400}}, errors.RequestRefused),
        ({"error": {"message": "m", "type": "rate_limit_error"}}, errors.ProviderRateLimited),
        ({"error": {"type": "authentication_error", "code": "invalid_request_error"}}, errors.ProviderKeyRefused),
        ({"error": {"message": "m"}}, errors.ProviderFailed),
        ({"error": "overloaded_error"}, errors.ProviderOverloaded),
        ({"error": "it broke", "choices": []}, errors.ProviderFailed),
        ({"choices": [{"delta": {}}], "error": {"message": "m"}}, errors.ProviderFailed),
        ({"code": "InvalidParameter", "message": "m"}, errors.ProviderFailed),
        ({"code": 401, "msg": "m", "success": False}, errors.ProviderKeyRefused),
        ({"base_resp": {"status_code": 9999, "status_msg": "m"}}, errors.ProviderFailed),
        ({"choices": [{"finish_reason": "insufficient_system_resource"}]}, errors.ProviderOverloaded),
        ({"choices": [{"finish_reason": "stop"}, {"finish_reason": "network_error"}]}, errors.ProviderFailed),
        ({"choices": [{"delta": {}, "finish_reason": "error"}]}, errors.ProviderFailed),
    ],
)
def test_errors_under_status_200_are_found(answer: dict[str, Any], expected: type[errors.UpstreamError]) -> None:
    """In every envelope, by number, by type, by finish reason."""
    error = DIALECT.read_hidden_error(answer)

    assert expected is type(error)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"choices": [], "usage": {"prompt_tokens": 1}},
        {"choices": [{"delta": {"content": "x"}, "finish_reason": None}], "error": None},
        {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]},
        {"choices": [{"finish_reason": "sensitive"}]},
        {"choices": [{"delta": {}}], "base_resp": {"status_code": 0, "status_msg": ""}},
        {"choices": [{"delta": {}}], "code": "x", "message": "a field of a proper chunk"},
        {"object": "list", "data": [], "code": 0, "message": "ok"},
        {"choices": [None, 7, {"finish_reason": ["network_error"]}]},
        {"choices": "junk", "base_resp": "junk"},
    ],
)
def test_proper_answers_hide_no_error(answer: dict[str, Any]) -> None:
    """`error: null`, a status code of 0 and junk are no errors."""
    assert None is DIALECT.read_hidden_error(answer)


_NAMES = st.sampled_from(
    ["error", "code", "message", "msg", "type", "base_resp", "status_code", "status_msg", "choices", "finish_reason"]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES | st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)
_DIALECTS = st.sampled_from(list(DIALECTS.values()))


@settings(deadline=None, print_blob=True, max_examples=80)
@given(
    dialect=_DIALECTS,
    status=st.integers(0, 999),
    headers=st.dictionaries(st.sampled_from(["Retry-After", "X"]), st.text(max_size=30), max_size=2),
    body=st.binary(max_size=200) | _VALUES.map(lambda value: json.dumps(value).encode()),
)
def test_no_answer_makes_reading_fail(dialect: Provider, status: int, headers: dict[str, str], body: bytes) -> None:
    """Any status, headers and bytes give an error with a message, in every dialect."""
    error = dialect.read_error(status, headers, body)

    assert isinstance(error, errors.UpstreamError)
    assert 0 < len(error.message) <= 500


@settings(deadline=None, print_blob=True, max_examples=80)
@given(dialect=_DIALECTS, answer=st.dictionaries(_NAMES, _VALUES, max_size=5))
def test_no_chunk_makes_reading_fail(dialect: Provider, answer: dict[str, Any]) -> None:
    """Any JSON object under status 200 gives an error or none, in every dialect."""
    error = dialect.read_hidden_error(answer)

    assert error is None or isinstance(error, errors.UpstreamError)


_FIELDS = st.sampled_from(
    [
        "temperature",
        "top_p",
        "stop",
        "tools",
        "tool_choice",
        "response_format",
        "thinking",
        "user",
        "stream_options",
        "messages",
        "n",
        "reasoning_effort",
        "enable_thinking",
        "logprobs",
        "seed",
        "max_tokens",
        "max_completion_tokens",
    ]
)
_TOOL = {"type": "function", "function": {"name": "f"}}
_FIELD_VALUES = (
    _VALUES
    | st.sampled_from(
        [
            [_TOOL],
            _TOOL,
            "none",
            "required",
            {"type": "json_object"},
            {"type": "json_schema", "json_schema": {"schema": {}}},
            {"type": "disabled"},
            [{"role": "developer", "content": "x"}, {"role": "assistant", "tool_calls": [{}]}],
        ]
    )
)  # fmt: skip


@settings(deadline=None, print_blob=True, max_examples=80)
@given(
    dialect=_DIALECTS,
    request=st.dictionaries(_FIELDS | st.text(max_size=5), _FIELD_VALUES, max_size=8),
    streamed=st.booleans(),
    reasoning=st.booleans(),
    model=st.sampled_from(["m", "glm-5.3", "kimi-k3", "kimi-k2.7-code", "MiniMax-M2.7", "qwen3.8-max"]),
)
def test_the_callers_request_is_never_changed(
    dialect: Provider, request: dict[str, Any], streamed: bool, reasoning: bool, model: str
) -> None:
    """Whatever the request, in every dialect: it stays as it was, and what is sent has our model, stream and limit."""
    before = copy.deepcopy(request)
    ask = Ask(request, model, streamed=streamed, max_tokens=9, force={"forced": {"a": 1}}, reasoning=reasoning)
    try:
        body = dialect.shape(ask)
    except errors.RequestRefused:
        body = None

    assert repr(before) == repr(request)
    if body is not None:
        assert (model, streamed, {"a": 1}) == (body["model"], body["stream"], body["forced"])
        assert [9] == [body[name] for name in ("max_tokens", "max_completion_tokens") if name in body]
        assert streamed == ("stream_options" in body)


@settings(deadline=None, print_blob=True, max_examples=60)
@given(request=st.dictionaries(st.text(max_size=8), _VALUES, max_size=8))
def test_unknown_fields_never_vanish(request: dict[str, Any]) -> None:
    """The openai dialect sends every field it does not name, as it is."""
    named = {"model", "stream", "stream_options", "max_tokens", "max_completion_tokens"}
    body = shaped(request)

    assert repr({k: v for k, v in request.items() if k not in named}) == repr(
        {k: v for k, v in body.items() if k not in named}
    )
