"""Spans in the form in which a collector takes them: OTLP over HTTP, as JSON. No I/O.

The form is the protobuf messages of opentelemetry-proto in their JSON mapping: ids are hex, 64-bit integers are strings,
enumerations are numbers. What is left out is at its default.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring_ascii as _quoted
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

TRACES_PATH: Final = "/v1/traces"
SERVER: Final = 2
"""The kind of a span that tells of a request of somebody else's."""
CLIENT: Final = 3
"""The kind of a span that tells of a request of our own."""

_FLAGS: Final = 0x101
"""Recorded, and its parent, if any, is of this process: both is known."""
_FLAGS_IN_ANOTHERS_SPAN: Final = 0x301
_STATUS_ERROR: Final = '"status":{"code":2},'

Attributes = Mapping[str, str | bool | int | float]
"""Names are ASCII without quotes."""


class Span(NamedTuple):
    """One piece of work with its beginning and its end, in nanoseconds since 1970."""

    trace_id: str
    """32 hex digits."""
    span_id: str
    """16 hex digits."""
    parent_id: str
    """The span that it is a part of; empty where it is a part of none."""
    parent_is_elsewhere: bool
    """Whether somebody else tells of that one."""
    name: str
    kind: int
    """SERVER or CLIENT."""
    started: int
    ended: int
    attributes: Attributes
    failed: bool = False


def traces_url(endpoint: str) -> SplitResult:
    """Where spans are sent, for the address of a collector. Raises ValueError for what is no such address."""
    try:
        parts = urlsplit(endpoint)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and endpoint.isascii()
    except ValueError:  # A port that is no number, or half a bracket.
        sound = False
    if not sound or any(character.isspace() for character in endpoint):
        raise ValueError("expected the address of a collector such as http://127.0.0.1:4318")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("expected the address of a collector without a user, a query or a fragment")
    path = parts.path.rstrip("/")
    return parts._replace(path=path if path.endswith(TRACES_PATH) else path + TRACES_PATH)


def request_body(spans: Iterable[Span], resource: Attributes, version: str) -> bytes:
    """An ExportTraceServiceRequest, in ASCII. ``resource``: who tells; ``version``: of what made the spans.

    It is put together as text: as dictionaries, one for each name and another for each value, it would cost several times as
    much, and while it is made the event loop waits.
    """
    scope = f'{{"name":"find-token","version":{_quoted(version)}}}'
    return (
        f'{{"resourceSpans":[{{"resource":{{"attributes":[{_attributes(resource)}]}},'
        f'"scopeSpans":[{{"scope":{scope},"spans":[{",".join(map(_span, spans))}]}}]}}]}}'
    ).encode()


def rejected_spans(answer: bytes) -> int:
    """How many spans a collector that took the others says it did not take; 0 for an answer that cannot be read."""
    try:
        return max(0, int(json.loads(answer)["partialSuccess"]["rejectedSpans"]))
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return 0


def _span(span: Span) -> str:
    flags = _FLAGS_IN_ANOTHERS_SPAN if span.parent_is_elsewhere else _FLAGS
    parent = f'"parentSpanId":"{span.parent_id}",' if span.parent_id else ""
    return (
        f'{{"traceId":"{span.trace_id}","spanId":"{span.span_id}",{parent}"flags":{flags},"name":{_quoted(span.name)},'
        f'"kind":{span.kind},"startTimeUnixNano":"{span.started}","endTimeUnixNano":"{span.ended}",'
        f'{_STATUS_ERROR if span.failed else ""}"attributes":[{_attributes(span.attributes)}]}}'
    )


def _attributes(attributes: Attributes) -> str:
    """In one expression, because most of a span is this. Their names are ours and need no quoting."""
    return ",".join(
        [
            f'{{"key":"{name}","value":{{"stringValue":{_quoted(value)}}}}}'
            if type(value) is str
            else f'{{"key":"{name}","value":{{{_number(value)}}}}}'
            for name, value in attributes.items()
        ]
    )


def _number(value: str | bool | int | float) -> str:
    if isinstance(value, bool):
        return '"boolValue":true' if value else '"boolValue":false'
    return f'"intValue":"{value}"' if isinstance(value, int) else f'"doubleValue":{value!r}'
