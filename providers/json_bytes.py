"""Finding and replacing one value in the bytes of a JSON object, with every other byte left as it is.

Whatever a provider sends reaches the caller as it was sent: numbers, escapes, spaces and duplicate names included. So a
field that we must change is changed in place, and nothing is parsed and written again.
"""

from __future__ import annotations

import json
import re
from typing import Final

# Strings whole, so that brackets and colons inside them are not seen; then the brackets themselves.
# A string that is never closed reaches to the end and is no string (its group is empty): looking for another one inside
# it would take the square of its length.
_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+("?)|[{}\[\]]', re.DOTALL)
_QUOTE: Final = ord('"')
_OPENING: Final = frozenset(b"{[")
_COLON: Final = re.compile(rb"\s*:\s*")
_SCALAR: Final = re.compile(rb"[^\s,}\]]+")


def find_value(document: bytes, name: bytes, start: int = 0) -> tuple[int, int] | None:
    """Where the value of the top-level ``name`` stands in the JSON object at or after ``start``: its first byte and the
    byte behind it. Of duplicates the last, as JSON readers take it. None where the object has no such name, or is cut."""
    quoted = b'"' + name + b'"'
    # The name can stand nowhere else than where its bytes stand, so nothing before the last of those places but brackets
    # and strings has to be looked at, and nothing behind its value.
    last = document.rfind(quoted)
    found: tuple[int, int] | None = None
    depth = 0
    position = start
    while position <= last and (token := _TOKEN.search(document, position)) is not None:
        position = token.end()
        kind = document[token.start()]
        if kind in _OPENING:
            depth += 1
        elif kind != _QUOTE:
            depth -= 1
            if depth == 0:
                break
        elif depth == 1 and token.group() == quoted and (colon := _COLON.match(document, position)) is not None:
            end = _end_of_value(document, colon.end())
            if end is None:
                return found
            found = (colon.end(), end)
            position = end
    return found


def _end_of_value(document: bytes, start: int) -> int | None:
    """The byte behind the JSON value that begins at ``start``; None where it is cut off."""
    if document[start : start + 1] not in (b"{", b"[", b'"'):
        scalar = _SCALAR.match(document, start)
        return None if scalar is None else scalar.end()
    depth = 0
    for token in _TOKEN.finditer(document, start):
        kind = document[token.start()]
        if kind in _OPENING:
            depth += 1
        elif kind != _QUOTE:
            depth -= 1
        if depth == 0:
            return token.end()
    return None


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
        # A second "model" behind the known part may be a duplicate at the top, which would win.
        if self._prefix and event.startswith(self._prefix) and event.find(b'"model"', len(self._prefix)) < 0:
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
