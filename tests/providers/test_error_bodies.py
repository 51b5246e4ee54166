"""Promises of reading error answers: every form is understood, nothing raises, no secret comes through."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.error_bodies import (
    LONGEST_MESSAGE,
    Complaint,
    clean,
    complaint_in,
    read_complaint,
    retry_after_seconds,
)

# DashScope's verbatim answer, status 400, to a stream it refuses.
SSE_FRAMED = (
    b'data: {"error":{"code":"data_inspection_failed","param":null,"message":"Input text data may contain '
    b'inappropriate content.","type":"data_inspection_failed"}}\n\n'
)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", Complaint()),
        (b"   \r\n ", Complaint()),
        (b"Authentication Fails (governor)", Complaint("Authentication Fails (governor)")),
        (b"<html><head><title>504 Gateway Time-out</title></head></html>", Complaint()),
        (b"<!DOCTYPE html><p>busy", Complaint()),
        (b'"just a sentence"', Complaint("just a sentence")),
        (b'\xef\xbb\xbf{"error":{"message":"m","code":"C"}}', Complaint("m", ("c",))),
        (b'[{"error":{"message":"m","code":503}}]', Complaint("m", ("503",))),
        (b'\n\n{"error":{"message":"after blank lines"}}', Complaint("after blank lines")),
        (
            SSE_FRAMED,
            Complaint(
                "Input text data may contain inappropriate content.",
                ("data_inspection_failed", "data_inspection_failed"),
            ),
        ),
        (b': keep-alive\n\ndata:{"error":"gone"}\n\ndata: [DONE]\n\n', Complaint("gone", ("gone",))),
        (b'{"error":{"code":"1302","message":"slow"}}', Complaint("slow", ("1302",))),
        (b'{"error":{"code":"x","message":"m","param":"top_p"}}', Complaint("m", ("x",), "top_p")),
        (b'{"error":{"message":"m","param":["top_p"]}}', Complaint("m")),
        (b'{"error":{"code":1302,"message":"slow"}}', Complaint("slow", ("1302",))),
        (
            b'{"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}',
            Complaint("insufficient balance", ("1008",)),
        ),
        (
            '{"code":401,"msg":"令牌已过期或验证不正确","success":false}'.encode(),
            Complaint("令牌已过期或验证不正确", ("401",)),
        ),
        (
            b'{"code":"InvalidParameter","message":"bad","request_id":"1"}',
            Complaint("bad", ("invalidparameter",)),
        ),
        (b'{"detail":"Not Found"}', Complaint("Not Found")),
        (b'{"error":null}', Complaint()),
        (b'{"error":{"message":{"nested":1},"code":true}}', Complaint()),
        (b"[" * 60_000, Complaint("[" * (LONGEST_MESSAGE - 1) + "…")),
        (b'{"error":{"message":"\\ud800 alone"}}', Complaint("? alone")),
    ],
)
def test_every_form_is_understood(body: bytes, expected: Complaint) -> None:
    """JSON in each envelope, SSE framing, plain text, HTML, nothing: the sentence and the codes come out."""
    assert expected == read_complaint(body)


def test_codes_are_in_order_of_precision() -> None:
    """The vendor's code stands before its type, and both before the status it repeats."""
    complaint = complaint_in({"error": {"message": "m", "type": "Rate_Limit", "code": "A", "http_code": "429"}})

    assert ("a", "rate_limit", "429") == complaint.codes


def test_an_error_in_a_string_keeps_the_sentence_beside_it() -> None:
    """Where `error` is a word and `message` a sentence, both are kept."""
    assert Complaint("Too many", ("too_many",)) == complaint_in({"error": "too_many", "message": "Too many"})


@pytest.mark.parametrize(
    "secret",
    [
        "sk-0123456789abcdef0123456789abcdef",
        "sk-api-AbC_123-xyz",
        "sk-ft_" + "a1" * 32,
        "eyJhbGciOiJIUzI1NiIsInNpZ25fdHlwZSI6IlNJR04ifQ.eyJhcGlfa2V5IjoiMSJ9.abc_DEF-123",
        "0123456789abcdef0123456789abcdef.AbCdEfGh12345678",
        "Bearer some-opaque-stepfun-key",
        "****fcc2",
        "org-1234567890abcdef",
        "ak-f00ba4",
    ],
)
def test_secrets_are_masked(secret: str) -> None:
    """Whatever looks like a key, or names the operator's account, is replaced; the sentence around it stays."""
    assert "Your key [redacted] is bad" == clean(f"Your key {secret} is bad")


def test_kimi_rate_limit_sentence_hides_the_account() -> None:
    """The verbatim sentence names organisation, project and access key; none of them comes through."""
    sentence = (
        "Your account org-ab12cd34/proj-99aa88bb<ak-77cc66dd> request reached organization max RPM: 20, "
        "please try again after 1 seconds"
    )

    assert (
        "Your account [redacted]/[redacted]<[redacted]> request reached organization max RPM: 20, "
        "please try again after 1 seconds"
    ) == clean(sentence)


def test_a_message_is_one_short_printable_line() -> None:
    """Line breaks and control characters go, and what is longer than the limit is cut with a sign of it."""
    assert "two lines" == clean("two\r\n\tlines\x00\x1b")
    assert "x" * (LONGEST_MESSAGE - 1) + "…" == clean("x" * 10_000)


@pytest.mark.parametrize(
    ("headers", "message", "expected"),
    [
        ({}, "", None),
        ({"Retry-After": "7"}, "", 7.0),
        ({"retry-after": " 1.5 "}, "", 1.5),
        ({"Retry-After": "0"}, "", 0.0),
        ({"Retry-After": "-3"}, "", 0.0),
        ({"Retry-After": "99999999999"}, "", 86_400.0),
        ({"Retry-After": "inf"}, "", None),
        ({"Retry-After": "soon"}, "", None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, "", 0.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 -0000"}, "", 0.0),
        ({"Retry-After": "soon", "X-Other": "1"}, "", None),
        ({}, "please try again after 1 seconds", 1.0),
        ({}, "try again after 20 seconds, or later", 20.0),
        ({}, "look after 3 seconded people", None),
        ({"Retry-After": "2"}, "after 9 seconds", 2.0),
        ({"Retry-After": "soon"}, "after 9 seconds", 9.0),
    ],
)
def test_the_wait_is_read_from_header_or_text(headers: dict[str, str], message: str, expected: float | None) -> None:
    """Seconds or a date in the header come first, then the sentence; absurd values are bounded or left out."""
    assert expected == retry_after_seconds(headers, message)


def test_a_date_to_come_is_a_wait() -> None:
    """A date a minute ahead is a wait of at most a minute."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    seconds = retry_after_seconds({"Retry-After": date}, "")

    assert seconds is not None
    assert 0 < seconds <= 60


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "code", "message", "type", "base_resp", "status_code"]), inner)
    ),
    max_leaves=12,
)


@settings(deadline=None, print_blob=True, max_examples=150)
@given(body=st.binary(max_size=300) | _JSON.map(lambda value: json.dumps(value).encode()))
def test_nothing_raises_and_everything_comes_out_clean(body: bytes) -> None:
    """Any bytes and any JSON give a complaint that can be sent on: short, printable, valid UTF-8."""
    complaint = read_complaint(body)

    for text in (complaint.message, *complaint.codes):
        assert text.isprintable()
        assert len(text) <= LONGEST_MESSAGE
        assert text == text.encode().decode()
