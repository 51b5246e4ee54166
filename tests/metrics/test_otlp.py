"""Spans are written so that protobuf's own reader finds in them what was put in, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metrics.otlp import CLIENT, SERVER, Span, rejected_spans, request_body, traces_url
from tests.fakes.collector import read_request, values

NANOSECONDS = st.integers(0, 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = ("service.name", "http.route", "a", "")
ATTRIBUTES = st.dictionaries(
    st.sampled_from(NAMES),
    TEXTS | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False),
)
SPANS = st.builds(
    Span,
    trace_id=st.integers(0, 2**128 - 1).map("{:032x}".format),
    span_id=st.integers(0, 2**64 - 1).map("{:016x}".format),
    parent_id=st.sampled_from(["", "b7ad6b7169203331"]),
    parent_is_elsewhere=st.booleans(),
    name=TEXTS,
    kind=st.sampled_from([SERVER, CLIENT]),
    started=NANOSECONDS,
    ended=NANOSECONDS,
    attributes=ATTRIBUTES,
    failed=st.booleans(),
)


@given(st.lists(SPANS, max_size=2), ATTRIBUTES)
def test_what_was_put_in_is_what_is_read(spans: list[Span], resource: dict[str, str | bool | int | float]) -> None:
    """Every field of every span, by the published messages, in which 1, 1.0 and true are not the same."""
    message = read_request(request_body(spans, resource, "1.2"))
    (one,) = message.resource_spans
    (scope,) = one.scope_spans

    assert repr(resource) == repr(values(one.resource.attributes))
    assert ("find-token", "1.2") == (scope.scope.name, scope.scope.version)
    assert len(spans) == len(scope.spans)
    for span, read in zip(spans, scope.spans, strict=True):
        assert (span.trace_id, span.span_id) == (read.trace_id.hex(), read.span_id.hex())
        assert (span.parent_id, span.name, span.kind) == (read.parent_span_id.hex(), read.name, read.kind)
        assert (span.started, span.ended) == (read.start_time_unix_nano, read.end_time_unix_nano)
        assert repr(span.attributes) == repr(values(read.attributes))
        assert (2 if span.failed else 0, "") == (read.status.code, read.status.message)
        assert (0x301 if span.parent_is_elsewhere else 0x101) == read.flags


def test_half_a_surrogate_pair_is_written_all_the_same() -> None:
    """It has no UTF-8; as an escape it can be told, and the other spans of its request are not lost."""
    span = Span("1" * 32, "2" * 16, "", False, "half \ud800", SERVER, 1, 2, {})

    assert b'"name":"half \\ud800"' in request_body([span], {}, "1")


@pytest.mark.parametrize(
    ("endpoint", "sent_to"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
        ("http://collector:4318/v1/traces", "http://collector:4318/v1/traces"),
        ("https://example.com/otlp", "https://example.com/otlp/v1/traces"),
        ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
    ],
)
def test_where_spans_are_sent(endpoint: str, sent_to: str) -> None:
    """The collector's address with or without the path that OTLP has for traces."""
    assert sent_to == traces_url(endpoint).geturl()


@pytest.mark.parametrize(
    "endpoint",
    [
        "127.0.0.1:4318",
        "grpc://127.0.0.1:4317",
        "http://",
        "http://host:port",
        "http://host:0",
        "http://host:99999",
        "http://[::1",
        "http://ho st",
        "http://host/a\r\nX: 1",
        "http://höst",
        "http://user:secret@host",
        "http://host?token=secret",
        "http://host#part",
    ],
)
def test_what_is_no_address_of_a_collector(endpoint: str) -> None:
    """Said in a sentence that does not repeat a secret."""
    with pytest.raises(ValueError, match="expected the address of a collector") as error:
        traces_url(endpoint)

    assert "secret" not in str(error.value)


@given(st.binary())
@example(b"[" * 100_000)
@example(b'{"partialSuccess":{"rejectedSpans":1e999}}')
@example(b'{"partialSuccess":{"rejectedSpans":"-3"}}')
def test_nonsense_refuses_nothing(answer: bytes) -> None:
    """Whatever a collector answers, it can be read."""
    assert 0 == rejected_spans(answer)


def test_how_many_spans_were_refused() -> None:
    """As a string, which OTLP's JSON has, and as a number."""
    assert 3 == rejected_spans(b'{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}}')
    assert 3 == rejected_spans(b'{"partialSuccess":{"rejectedSpans":3}}')
    assert 0 == rejected_spans(b'{"partialSuccess":{}}')
