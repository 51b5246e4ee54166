"""JSON as bytes: finding and replacing one value of an object with every other byte left as it is; reading and writing.

Whatever a provider sends reaches the caller as it was sent: numbers, escapes, spaces and duplicate names included. So a
field that we must change is changed in place, and nothing is parsed and written again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson


def parse_json(document: bytes) -> Any:
    """The value of a JSON document as a provider wrote it. Raises ValueError or RecursionError.

    The fast parser first; what it is too strict for (half a surrogate pair, NaN) is left to the lenient one.
    """
    try:
        return orjson.loads(document)
    except orjson.JSONDecodeError:
        return json.loads(document)


def as_json(document: Mapping[str, Any]) -> bytes:
    """A document that we make ourselves, on one line."""
    try:
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        # Half a surrogate pair has no UTF-8; as an escape it arrives as the provider wrote it.
        return json.dumps(document, separators=(",", ":")).encode()


# Strings whole, so that brackets and colons inside them are not seen; then the brackets themselves.
# A string that is never closed reaches to the end and is no string (its group is empty): looking for another one inside
# it would take the square of its length.
_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+("?)|[{}\[\]]', re.DOTALL)
_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")
_OPENING: Final = frozenset(b"{[")
_COLON: Final = re.compile(rb"\s*:\s*")
_BRACKET: Final = re.compile(rb"[{}\[\]]")
_SCALAR: Final = re.compile(rb"[^\s,}\]]+")


def find_value(document: bytes, name: bytes, start: int = 0) -> tuple[int, int] | None:
    """Where the value of the top-level ``name`` stands in the JSON object at or after ``start``: its first byte and the
    byte behind it. Of duplicates the last, as JSON readers take it. None where the object has no such name, or is cut
    before its value ends."""
    quoted = b'"' + name + b'"'
    # The name can stand nowhere else than where its bytes stand, so nothing before the last of those places but brackets
    # and strings has to be looked at, and nothing behind its value.
    last = document.rfind(quoted)
    found: tuple[int, int] | None = None
    depth = 0
    position = start
    opening = document.find(b"{", start)
    if 0 <= opening < last == document.find(quoted, start) and _is_flat(document, opening + 1, last):
        # The usual case: it stands there once, among the first members. One look instead of a walk.
        colon = _COLON.match(document, last + len(quoted))
        end = None if colon is None else _end_of_value(document, colon.end())
        return None if colon is None or end is None else (colon.end(), end)
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


def _is_flat(document: bytes, start: int, end: int) -> bool:
    """Whether no bracket stands in between, and no escape right before ``end``: it is as deep as ``start``, and no string
    ends there."""
    return document[end - 1] != _BACKSLASH and _BRACKET.search(document, start, end) is None


def _end_of_value(document: bytes, start: int) -> int | None:
    """The byte behind the JSON value that begins at ``start``; None where it is cut off."""
    first = document[start : start + 1]
    if first == b'"':
        text = _TOKEN.match(document, start)
        return text.end() if text is not None and text[1] else None
    if first != b"{" and first != b"[":
        scalar = _SCALAR.match(document, start)
        return None if scalar is None else scalar.end()
    depth = 0
    for token in _TOKEN.finditer(document, start):
        kind = document[token.start()]
        if kind in _OPENING:
            depth += 1
        elif kind != _QUOTE:
            depth -= 1
        elif not token[1]:
            return None
        if depth == 0:
            return token.end()
    return None


def replace_text(document: bytes, name: bytes, value: bytes) -> bytes:
    """``document`` with the top-level text ``name`` replaced by ``value`` (JSON, with its quotes); unchanged where it has no
    such text."""
    span = find_value(document, name)
    if span is None or document[span[0]] != _QUOTE:
        return document
    return document[: span[0]] + value + document[span[1] :]
