"""JSON and server-sent events as bytes, rendered once and stamped with an id and a time for each call.

An answer is rendered with two marks in it, `ID_MARK` and `CREATED_MARK`. Stamping replaces them, so that one rendering
serves every call that asks the same.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

ID_MARK = "@simulated-id@"
CREATED_MARK = 4_102_444_800
PIECE_MARK = "@simulated-piece@"

_ID_BYTES = ID_MARK.encode()
_CREATED_BYTES = str(CREATED_MARK).encode()
_PIECE_JSON = json.dumps(PIECE_MARK).encode()

# Made once: `json.dumps` would make an encoder for every piece.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

FrameKind = Literal["role", "piece", "finish", "usage", "error", "done"]


class Frame(NamedTuple):
    """One event of a stream, with its blank line, and what it is for. Frames of kind `piece` are what a user sees grow."""

    kind: FrameKind
    data: bytes


DONE = Frame("done", b"data: [DONE]\n\n")


def to_json(value: Any) -> bytes:
    """`value` as compact JSON in UTF-8. Lone surrogates a caller may have sent become question marks."""
    return _encode(value).encode("utf-8", "replace")


def event(value: Any) -> bytes:
    """One event whose data is `value` as JSON."""
    return b"data: " + to_json(value) + b"\n\n"


def piece_frames(chunk: Any, pieces: Sequence[str]) -> list[Frame]:
    """A frame for each of `pieces`: `chunk` is the JSON they share, with `PIECE_MARK` wherever the piece belongs."""
    parts = event(chunk).split(_PIECE_JSON)
    return [Frame("piece", to_json(piece).join(parts)) for piece in pieces]


def stamp(data: bytes, call_id: bytes, created: bytes) -> bytes:
    """`data` with the marks replaced by this call's id and the second it was created in."""
    return data.replace(_ID_BYTES, call_id).replace(_CREATED_BYTES, created)


def hex_id(number: int) -> str:
    """32 hexadecimal digits that look random and are always the same for `number`."""
    return hashlib.blake2b(number.to_bytes(8, "big"), digest_size=16).hexdigest()


def uuid_like(number: int) -> str:
    """`hex_id` with the hyphens of a UUID."""
    digits = hex_id(number)
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
