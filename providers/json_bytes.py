"""Finding and replacing one value in the bytes of a JSON object, with every other byte left as it is.

Whatever a provider sends reaches the caller as it was sent: numbers, escapes, spaces and duplicate names included. So a
field that we must change is changed in place, and nothing is parsed and written again.
"""

from __future__ import annotations

import json
import re
from typing import Final

# Strings whole, so that brackets and colons inside them are not seen; then the brackets themselves.
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)
_COLON: Final = re.compile(rb"\s*:\s*")
_SCALAR: Final = re.compile(rb"[^\s,}\]]+")


def find_value(document: bytes, name: bytes, start: int = 0) -> tuple[int, int] | None:
    """Where the value of the top-level ``name`` stands in the JSON object at or after ``start``: its first byte and the
    byte behind it. Of duplicates the last, as JSON readers take it. None where the object has no such name, or is cut."""
    quoted = b'"' + name + b'"'
    depth = 0
    found: tuple[int, int] | None = None
    value_start = -1
    value_depth = 0
    for token in _TOKEN.finditer(document, start):
        kind = document[token.start() : token.start() + 1]
        if kind == b'"':
            if depth == 1 and value_start < 0 and token.group() == quoted:
                colon = _COLON.match(document, token.end())
                if colon is None:
                    continue
                value_start, value_depth = colon.end(), depth
                if document[value_start : value_start + 1] not in (b"{", b"[", b'"'):
                    scalar = _SCALAR.match(document, value_start)
                    if scalar is not None:
                        found = scalar.span()
                    value_start = -1
            elif value_start == token.start():
                found = token.span()
                value_start = -1
        elif kind in b"{[":
            depth += 1
        else:
            depth -= 1
            if value_start >= 0 and depth == value_depth:
                found = (value_start, token.end())
                value_start = -1
            if depth == 0:
                break
    return found


def replace_span(document: bytes, span: tuple[int, int], value: bytes) -> bytes:
    """``document`` with the bytes of ``span`` replaced."""
    return document[: span[0]] + value + document[span[1] :]


class Renamer:
    """Replaces the top-level ``"model"`` of many chunks of one stream.

    Chunks of a stream agree byte for byte before or behind the model's name, so after the first one a comparison of that
    part replaces the search.
    """

    __slots__ = ("_prefix", "_prefix_renamed", "_suffix", "_suffix_renamed", "_value")

    def __init__(self, public_name: str) -> None:
        self._value = json.dumps(public_name).encode()
        self._prefix = self._prefix_renamed = self._suffix = self._suffix_renamed = b""

    def rename(self, event: bytes) -> bytes:
        """``event`` (an SSE event or a JSON document) with the model's public name; unchanged where it names no model."""
        if self._prefix and event.startswith(self._prefix):
            return self._prefix_renamed + event[len(self._prefix) :]
        if self._suffix and event.endswith(self._suffix):
            return event[: -len(self._suffix)] + self._suffix_renamed
        span = find_value(event, b"model")
        if span is None or event[span[0] : span[0] + 1] != b'"':
            return event
        self._learn(event, span)
        return replace_span(event, span, self._value)

    def _learn(self, event: bytes, span: tuple[int, int]) -> None:
        """Remember the part that the stream's other chunks will share, if it holds no nested value and no second model."""
        before, behind = event[: span[1]], event[span[1] :]
        key = event.rfind(b'"model"', 0, span[0])
        if before.count(b"{") == 1 and b"[" not in before and b'"model"' not in behind:
            self._prefix, self._prefix_renamed = before, event[: span[0]] + self._value
        elif behind.count(b"}") == 1 and b"]" not in behind and event[key - 1 : key] == b",":
            self._suffix, self._suffix_renamed = event[key:], event[key : span[0]] + self._value + behind
