"""A stream is relayed byte for byte, whatever it is made of and however it is cut: only the model's name is another.

Streams are made up, put on a real socket by an upstream that sends exactly the bytes and pieces it is told, and compared with
what comes out of the gateway. Missing are the usage chunk nobody asked for and the upstream's own `[DONE]`; added are our
comment and our `[DONE]`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.raw_upstream import STREAM_END, STREAM_HEAD, RawUpstream, Step, piece
from tests.gateway import book, running_gateway

EXAMPLES = 40
UPSTREAM_NAME, PUBLIC_NAME = "upstream-name", "standard"
USAGE = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
COST = "0.0002954"
"""(1000 × 0.14 + 500 × 0.28) / 10⁶ × 1.055, rounded half up to 10⁻⁸."""


@dataclass(frozen=True, slots=True)
class Made:
    """One event as the upstream sends it, and as the caller must get it."""

    sent: bytes
    expected: bytes


@dataclass(frozen=True, slots=True)
class Style:
    """How one provider writes its events."""

    order: Sequence[str]
    """Of the members of a chunk."""
    separators: tuple[str, str]
    ascii_only: bool
    prefix: str
    line_end: str


_STYLES = st.builds(
    Style,
    order=st.permutations(["id", "object", "created", "model", "choices", "usage", "extra"]),
    separators=st.sampled_from([(",", ":"), (", ", ": "), (" ,", " : ")]),
    ascii_only=st.booleans(),
    prefix=st.sampled_from(["data: ", "data:", "id: 7\ndata: ", ": ping\ndata: ", "event: message\nretry: 10\ndata: "]),
    line_end=st.sampled_from(["\n", "\n", "\r\n", "\r"]),
)
# Words that look like what the gateway searches for, beside any others.
_TEXTS = st.one_of(
    st.text(min_size=1, max_size=30),
    st.sampled_from(
        ['"model":"x"', "\\", '"', "data: [DONE]", "\n\n", "\r\n", '{"usage":1}', "你好 👩‍👩‍👧", "\u2028", "\x00"]
    ),
)
_DELTAS = st.one_of(
    st.builds(lambda text: {"content": text}, _TEXTS),
    st.builds(lambda text: {"role": "assistant", "content": text}, _TEXTS),
    st.builds(lambda text: {"content": None, "reasoning_content": text}, _TEXTS),
    st.builds(lambda text: {"content": "", "reasoning_content": text, "model": "inner"}, _TEXTS),
    st.builds(lambda one, two: {"content": one, "refusal": two}, _TEXTS, _TEXTS),
    st.builds(
        lambda text: {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "model", "arguments": text}}]}, _TEXTS
    ),
)
_EXTRAS = st.one_of(
    st.none(),
    st.dictionaries(st.text(max_size=5), st.integers() | st.floats(allow_nan=False) | st.booleans(), max_size=3),
    st.just({"model": "inner", "usage": {"prompt_tokens": 1}}),
)
_STRANGE = st.sampled_from(
    [
        b": keep-alive\n\n",
        b":\n\n",
        b"\n\n",
        b"data:\n\n",
        b"data: not JSON\n\n",
        b"event: ping\n\n",
        b"data: [1, 2]\n\n",
        b": \xff not UTF-8\r\n\r\n",
        b": findtoken cost=0 balance=0 request_id=req_0\n\n",
        b'data: {"choices":[]}\n\n',
        b'data: {"choices":\ndata: [{"index":0,"delta":{"content":"two lines"}}]}\n\n',
    ]
)
_DONES = st.sampled_from([b"data: [DONE]\n\n", b"data:[DONE]\r\n\r\n", b"data: [DONE] \n\n", b""])


def _event(style: Style, choices: Sequence[Any], usage: object, extra: object, *, named: bool = True) -> Made:
    """A chunk in this style, with either name of the model."""

    def written(model: str) -> bytes:
        members = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": model,
            "choices": choices,
            "usage": usage,
            "extra": extra,
        }
        absent = {name for name, value in members.items() if value is None} | (set() if named else {"model"})
        chunk = {name: members[name] for name in style.order if name not in absent}
        text = json.dumps(chunk, separators=style.separators, ensure_ascii=style.ascii_only)
        return f"{style.prefix}{text}\n\n".replace("\n", style.line_end).encode()

    return Made(written(UPSTREAM_NAME), written(PUBLIC_NAME))


def _choice(delta: object, finish: str | None = None) -> list[dict[str, Any]]:
    return [{"index": 0, "delta": delta, "finish_reason": finish}]


@st.composite
def _streams(draw: st.DrawFn) -> list[Made]:
    """A whole answer: perhaps a role, words and strange things between them, a finish, usage somewhere, perhaps `[DONE]`."""
    styles = draw(st.lists(_STYLES, min_size=1, max_size=2))
    events: list[Made] = []
    if draw(st.booleans()):
        events.append(_event(styles[0], _choice({"role": "assistant", "content": ""}), None, None))
    # Many events in one style and with the same extra, as providers send them, and others in between.
    extra = draw(_EXTRAS)
    deltas = draw(st.lists(_DELTAS, min_size=1, max_size=12))
    for delta in deltas:
        if draw(st.integers(0, 4)) == 0:
            events.append(Made(strange := draw(_STRANGE), strange))
        odd = draw(st.integers(0, 5)) == 0
        events.append(
            _event(
                styles[-1] if odd else styles[0],
                _choice(delta),
                draw(st.sampled_from([None, USAGE])) if odd else None,
                draw(_EXTRAS) if odd else extra,
                named=not (odd and draw(st.booleans())),
            )
        )
    usage_on_finish = draw(st.booleans())
    events.append(_event(styles[0], _choice({}, "stop"), USAGE if usage_on_finish else None, extra))
    if not usage_on_finish or draw(st.booleans()):
        hidden = _event(styles[-1], [], USAGE, draw(_EXTRAS))
        events.append(Made(hidden.sent, b""))
    return [*events, Made(draw(_DONES), b"")]


@st.composite
def _pieces(draw: st.DrawFn, data: bytes) -> list[Step]:
    """The bytes in pieces of HTTP's chunked encoding, some of them torn in two, sent together or one by one."""
    line_ends = [place for place in range(1, len(data)) if data[place - 1] in b"\r\n" or data[place] in b"\r\n"]
    cuts = draw(st.sets(st.integers(1, len(data) - 1) | st.sampled_from(line_ends), max_size=40))
    if draw(st.integers(0, 9)) == 0:
        cuts = set(range(1, len(data)))
    parts = [piece(data[start:end]) for start, end in pairwise([0, *sorted(cuts), len(data)])]
    way = draw(st.sampled_from(["together", "one by one", "in turns", "in turns"]))
    if way == "together":
        return [STREAM_HEAD + b"".join(parts) + STREAM_END]
    if way == "one by one":
        return [STREAM_HEAD, *parts, STREAM_END]
    # A pause of nothing gives everybody else a turn, so that what was sent is read before more comes.
    torn = draw(st.integers(0, 6))
    return [STREAM_HEAD, *(step for part in parts for step in (part[:torn], 0.0, part[torn:], 0.0)), STREAM_END]


def test_a_stream_is_relayed_byte_for_byte_whatever_it_is_and_however_it_is_cut(database_url: str) -> None:
    """What comes out is what went in, with the public name, our comment and `[DONE]`; and it is billed by its usage."""
    with asyncio.Runner() as runner:
        resources = AsyncExitStack()
        upstream = runner.run(RawUpstream().start())
        resources.push_async_callback(upstream.close)
        gateway = runner.run(
            resources.enter_async_context(running_gateway(book(upstream.url, upstream.url), database_url))
        )

        @settings(max_examples=EXAMPLES, deadline=None, print_blob=True)
        @given(stream=_streams(), data=st.data())
        def relayed(stream: list[Made], data: st.DataObject) -> None:
            upstream.next(data.draw(_pieces(b"".join(made.sent for made in stream))))
            reply = runner.run(gateway.chat(stream=True))
            body, _, end = reply.body.rpartition(b": findtoken ")
            bill, _, done = end.partition(b"\n\n")

            assert b"".join(made.expected for made in stream) == body
            assert b"data: [DONE]\n\n" == done
            assert f"cost={COST} balance=".encode() in bill
            assert (reply.header("Request-Id") or "?").encode() in bill

        try:
            relayed()
            assert EXAMPLES <= len(upstream.requests) == len(gateway.rows())
            gateway.prove()
        finally:
            runner.run(resources.aclose())
