"""Spans in the form in which a collector takes them: OTLP over HTTP, as JSON. No I/O.

The form is the protobuf messages of opentelemetry-proto in their JSON mapping: ids are hex, 64-bit integers are strings,
enumerations are numbers. What is left out is at its default.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

import orjson

TRACES_PATH: Final = "/v1/traces"
SERVER: Final = 2
"""The kind of a span that tells of a request of somebody else's."""
CLIENT: Final = 3
"""The kind of a span that tells of a request of our own."""

_SAMPLED: Final = 0x01
_KNOWS_WHERE_ITS_PARENT_IS: Final = 0x100
_PARENT_IS_ELSEWHERE: Final = 0x200
_STATUS_ERROR: Final = {"code": 2}

Attributes = Mapping[str, str | bool | int | float]


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
    """An ExportTraceServiceRequest. ``resource``: who tells; ``version``: of what made the spans."""
    told = {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource)},
                "scopeSpans": [{"scope": {"name": "find-token", "version": version}, "spans": [*map(_span, spans)]}],
            }
        ]
    }
    try:
        return orjson.dumps(told)
    except TypeError:  # Half a surrogate pair in a text, or an integer beyond 64 bits.
        return json.dumps(told).encode()


def rejected_spans(answer: bytes) -> int:
    """How many spans a collector that took the others says it did not take; 0 for an answer that cannot be read."""
    try:
        return max(0, int(json.loads(answer)["partialSuccess"]["rejectedSpans"]))
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return 0


def _span(span: Span) -> dict[str, Any]:
    flags = _SAMPLED | _KNOWS_WHERE_ITS_PARENT_IS
    told: dict[str, Any] = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(span.started),
        "endTimeUnixNano": str(span.ended),
        "attributes": _attributes(span.attributes),
        "flags": flags | _PARENT_IS_ELSEWHERE if span.parent_is_elsewhere else flags,
    }
    if span.parent_id:
        told["parentSpanId"] = span.parent_id
    if span.failed:
        told["status"] = _STATUS_ERROR
    return told


def _attributes(attributes: Attributes) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in attributes.items()]


def _value(value: str | bool | int | float) -> dict[str, Any]:
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, bool):
        return {"boolValue": value}
    return {"intValue": str(value)} if isinstance(value, int) else {"doubleValue": value}
