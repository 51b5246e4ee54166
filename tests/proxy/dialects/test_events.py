"""Chat streams are read however they are cut; typed events are what their readers expect."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers import sse
from providers.errors import AnswerUnreadable
from proxy.dialects.events import ChunkReader, typed_event

STREAM = 'data: {"a":1}\n\n: comment\n\ndata: no json\n\ndata: [1]\r\n\r\ndata: {"b":"ü"}\n\ndata: [DONE]\n\n'.encode()


@settings(deadline=None, print_blob=True, max_examples=settings().max_examples // 5)
@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_the_chunks_are_the_same_however_the_stream_is_cut(cuts: list[int]) -> None:
    """What is no JSON object says nothing."""
    places = [0, *sorted(cuts), len(STREAM)]
    reader = ChunkReader()

    chunks = [chunk for start, end in itertools.pairwise(places) for chunk in reader.feed(STREAM[start:end])]

    assert [{"a": 1}, {"b": "ü"}] == chunks


def test_comments_alone_say_that_somebody_is_there() -> None:
    """And nothing else does: neither an event, nor half of one."""
    reader = ChunkReader()

    told = []
    for data in (b": keep-alive\n\n", b"data: {}\n\n", b": x\n\ndata: {}\n\n", b"data: {", b"}\n\n: x\n\n", b": x\n\n"):
        reader.feed(data)
        told.append(reader.is_waiting)

    assert [True, False, False, False, False, True] == told


def test_an_event_without_end_is_no_answer() -> None:
    """It is the same as on the chat route."""
    reader = ChunkReader()

    with pytest.raises(AnswerUnreadable):
        reader.feed(b"data: " + b"x" * sse.EVENT_LIMIT_BYTES)


def test_an_event_is_named_after_its_type() -> None:
    """On one line of JSON; half a surrogate pair is escaped."""
    assert b'event: ping\ndata: {"type":"ping","text":"\xc3\xbc\\n"}\n\n' == typed_event(
        {"type": "ping", "text": "ü\n"}
    )
    assert b'event: ping\ndata: {"type":"ping","text":"\\ud83d"}\n\n' == typed_event({"type": "ping", "text": "\ud83d"})
