"""simulator/frames.py: events as bytes, and ids put into them."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.frames import (
    CREATED_MARK,
    ID_MARK,
    PIECE_MARK,
    event,
    hex_id,
    piece_frames,
    stamp,
    to_json,
    uuid_like,
)


@settings(deadline=None, print_blob=True, max_examples=200)
@given(st.lists(st.text(max_size=6), max_size=5))
def test_pieces_come_back_from_their_frames(pieces: list[str]) -> None:
    """One event per piece, whatever characters are in it, in every place the mark stood."""
    frames = piece_frames({"a": PIECE_MARK, "b": [{"c": PIECE_MARK}], "d": 1}, pieces)
    read = [json.loads(frame.data.removeprefix(b"data: ")) for frame in frames]
    assert [{"a": piece, "b": [{"c": piece}], "d": 1} for piece in pieces] == read
    assert all(frame.data.count(b"\n") == 2 and frame.data.endswith(b"\n\n") for frame in frames)


def test_json_is_compact_and_in_utf8() -> None:
    """As the vendors write it; half a surrogate pair does no harm."""
    assert to_json({"a": "你", "b": None}) == '{"a":"你","b":null}'.encode()
    assert to_json("\ud800") == b'"?"'


def test_stamping_replaces_every_mark() -> None:
    """An id may stand twice, and the time is a number."""
    data = event({"id": ID_MARK, "request_id": ID_MARK, "created": CREATED_MARK})
    assert stamp(data, b"abc", b"17") == b'data: {"id":"abc","request_id":"abc","created":17}\n\n'


def test_ids_differ_and_repeat() -> None:
    """Another number, another id; the same number, the same id; always as long."""
    assert len({hex_id(number) for number in range(1000)}) == 1000
    assert hex_id(5) == hex_id(5)
    assert {32} == {len(hex_id(number)) for number in (0, 1, 2**40)}
    assert [8, 4, 4, 4, 12] == [len(part) for part in uuid_like(9).split("-")]
