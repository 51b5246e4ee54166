"""Server-sent events from bytes, without I/O.

Rules: an event is every byte up to and including the blank line that ends it, so joining all events and `rest()` gives back
exactly the bytes that went in, however they were split. Lines end with LF, CR LF or CR; a byte order mark may open the
stream; `data:` may be followed by one space; comments and other fields are carried along and mean nothing to us. An event
larger than the limit is refused, so a provider that never ends a line cannot fill our memory.

Source of the format: WHATWG HTML, "Server-sent events", section "Parsing an event stream".
"""

from __future__ import annotations

import re
from typing import Final

EVENT_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""Larger than any chunk a provider has been seen to send; lines of 8 MiB must pass."""

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

# Two line ends in a row. A CR that is the first half of a CR LF is not a line end of its own.
_BLANK_LINE: Final = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
# A blank line is at most four bytes long, so a search may have to begin three bytes before the new bytes.
_OVERLAP: Final = 3


class EventTooLarge(Exception):
    """An event grew beyond the limit without ending."""


class EventReader:
    """Cuts a stream of bytes into whole events."""

    __slots__ = ("_limit", "_pending", "_searched")

    def __init__(self, limit_bytes: int = EVENT_LIMIT_BYTES) -> None:
        self._pending = bytearray()
        self._searched = 0
        self._limit = limit_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """The events that ``data`` completes, each with the blank line that ends it. Raises EventTooLarge, after which nothing
        may be fed."""
        if not self._pending and b"\r" not in data:
            return self._feed_plain(data)
        self._pending += data
        events = []
        start = 0
        position = max(0, self._searched - _OVERLAP)
        while found := _BLANK_LINE.search(self._pending, position):
            events.append(bytes(self._pending[start : found.end()]))
            start = position = found.end()
        del self._pending[:start]
        self._searched = len(self._pending)
        self._check_size()
        return events

    @property
    def is_empty(self) -> bool:
        """Whether no event has begun."""
        return not self._pending

    def rest(self) -> bytes:
        """The bytes of an event that has not ended."""
        return bytes(self._pending)

    def _feed_plain(self, data: bytes) -> list[bytes]:
        """The usual case: nothing is pending and lines end with LF."""
        end = data.find(b"\n\n") + 2
        if 1 < end == len(data):
            return [data]
        parts = data.split(b"\n\n")
        rest = parts.pop()
        if rest:
            self._pending += rest
            self._searched = len(rest)
            self._check_size()
        return [part + b"\n\n" for part in parts]

    def _check_size(self) -> None:
        if len(self._pending) > self._limit:
            self._pending = bytearray()  # Whoever keeps the exception must not keep this.
            raise EventTooLarge(f"an event of more than {self._limit} bytes")


def data_of(event: bytes) -> bytes | None:
    """The data of one event, its lines joined by LF; None where it has none (a comment, an empty event)."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and b"\r" not in event:
        return event[6:-2]
    if event.startswith(BYTE_ORDER_MARK):
        event = event[len(BYTE_ORDER_MARK) :]
    lines = []
    for line in _LINE_END.split(event):
        if line.startswith(b"data"):
            value = line[4:]
            if value.startswith(b":"):
                lines.append(value[2:] if value.startswith(b": ") else value[1:])
            elif not value:
                lines.append(b"")
    if not lines:
        return None
    return b"\n".join(lines)


def encode(data: bytes) -> bytes:
    """One event with ``data``, which holds no line end."""
    return b"data: " + data + b"\n\n"


def comment(text: str) -> bytes:
    """A comment: ignored by every client that follows the specification."""
    return b": " + text.encode() + b"\n\n"


DONE: Final = encode(b"[DONE]")
