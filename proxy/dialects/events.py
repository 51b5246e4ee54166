"""A chat stream read, however it is cut, and typed events of other APIs written.

What a stream's events say is read here; the bytes that were cut in the middle wait for their rest. What is no chunk (comments,
`[DONE]`, bytes that are no JSON) says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from providers.errors import AnswerUnreadable
from providers.json_bytes import as_json, parse_json
from providers.sse import EventReader, EventTooLarge, data_of


class ChunkReader:
    """Reads the chunks out of the bytes of one chat stream."""

    def __init__(self) -> None:
        self._events = EventReader()
        self.is_waiting = False
        """Whether the last bytes held nothing but comments: somebody is still there."""

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The chunks that ``data`` completes. Raises AnswerUnreadable for one that never ends."""
        try:
            events = self._events.feed(data)
        except EventTooLarge as error:
            raise AnswerUnreadable(str(error)) from error
        told = [data_of(event) for event in events]
        self.is_waiting = bool(told) and all(data is None for data in told)
        chunks = [_chunk(data) for data in told if data is not None]
        return [chunk for chunk in chunks if chunk is not None]


def typed_event(document: Mapping[str, Any]) -> bytes:
    """One event whose name is the ``type`` of its data."""
    return b"event: %b\ndata: %b\n\n" % (document["type"].encode(), as_json(document))


def _chunk(data: bytes) -> dict[str, Any] | None:
    try:
        chunk = parse_json(data)
    except (ValueError, RecursionError):
        return None
    return chunk if isinstance(chunk, dict) else None
