"""Whose trace a request is a part of, as W3C's Trace Context says it: the header `traceparent`. No I/O.

A header that is malformed, or that comes twice, is as good as none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

HEADER: Final = "traceparent"
LONGEST: Final = 512
"""Later versions may add fields; no sensible one adds so many."""

_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16


class Parent(NamedTuple):
    """The span of a caller's that a call is a part of."""

    trace_id: str
    span_id: str
    sampled: bool
    """Whether the caller says that it records the trace."""


def parse(values: Sequence[str]) -> Parent | None:
    """The parent that the values of the header name; None where they name none."""
    if len(values) != 1 or len(values[0]) > LONGEST or (match := _FORM.fullmatch(values[0].strip(" \t"))) is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return Parent(trace_id, span_id, bool(int(flags, 16) & 1))
