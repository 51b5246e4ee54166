"""Providers behind the transport's seam: what each attempt meets comes from the seed, and what was handed out is remembered."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from providers.errors import AnswerUnreadable, ConnectionLost, UpstreamUnreachable
from providers.transport import ANSWER_LIMIT_BYTES, Outgoing

PUBLIC = {
    "standard-upstream": "standard",
    "alternative-upstream": "alternative",
    "lonely-upstream": "lonely",
    "dear-upstream": "dear",
}
Tokens = tuple[int, int, int]
"""Prompt, completion, and the cached part of the prompt."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes, and what they mean."""

    data: bytes
    text_bytes: int = 0
    tokens: Tokens | None = None
    finish: bool = False
    done: bool = False
    error: bool = False


@dataclass(slots=True)
class Attempt:
    """One try at one provider, as the provider saw it."""

    call: int
    model: str
    streamed: bool
    max_tokens: int
    kind: str
    pieces: list[Piece]
    cut: bool
    status: int = 200
    handed: int = 0
    broke_at: float | None = None
    """When the gateway was shown that the answer is broken, or at its end."""
    said: list[Piece] = field(default_factory=list)
    """What was handed out."""


KINDS = ("whole",) * 10 + (
    "cut",
    "cut",
    "error event",
    "hang",
    "late hang",
    "status",
    "status",
    "unreachable",
    "lost",
    "garbage",
    "empty",
)


class Upstreams:
    """All providers of all processes; `tell` gets a line for the trace."""

    def __init__(self, dice: random.Random, clock: Callable[[], float], tell: Callable[[str], None]) -> None:
        self._dice = dice
        self._clock = clock
        self.tell = tell
        self.attempts: list[Attempt] = []
        self.calm = False
        self.away: frozenset[str] = dice.choice(
            (frozenset(), frozenset(), frozenset({"standard"}), frozenset({"dear"}))
        )
        """Models that fail nearly always, so that their circuits open."""

    async def start(self) -> None:
        """Nothing is open."""

    async def close(self) -> None:
        """Nothing is open."""

    async def open(self, outgoing: Outgoing) -> Answer:
        """One attempt."""
        body = json.loads(outgoing.body)
        attempt = self._attempt(body)
        self.attempts.append(attempt)
        self.tell(f"upstream {attempt.call} {attempt.model} {attempt.kind}")
        dice = self._dice
        await asyncio.sleep(dice.choice((0.0, 0.001, 0.2, 1.0)))
        if attempt.kind == "unreachable":
            raise UpstreamUnreachable("no connection")
        if attempt.kind == "lost":
            raise ConnectionLost("gone")
        if attempt.kind == "hang":
            await asyncio.sleep(3600)
        if attempt.kind == "status":
            attempt.status = dice.choice((400, 401, 429, 500, 503))
        return Answer(attempt, dice, self._clock, self.tell)

    def _attempt(self, body: Mapping[str, Any]) -> Attempt:
        dice = self._dice
        number = int(body["messages"][0]["content"].split()[1])
        kind = "whole" if self.calm else dice.choice(KINDS)
        if PUBLIC[body["model"]] in self.away and dice.random() < 0.95:
            kind = "unreachable"
        streamed, limit = body["stream"], body["max_tokens"]
        shape = dice.choice(("last", "last", "every", "zeros", "none", "garbage", "huge", "cached"))
        text = [dice.randint(1, 40) for _ in range(dice.randint(1, 5))]
        tokens = (dice.randint(1, 80), dice.randint(1, limit), 0)
        if shape == "huge":
            tokens = (tokens[0], 1_000_000, 0)
        if shape == "cached":
            tokens = (tokens[0], tokens[1], dice.randint(0, tokens[0]))
        told = None if shape in ("none", "garbage") else tokens
        reported = {"none": None, "garbage": {"prompt_tokens": -3, "completion_tokens": "many"}}.get(
            shape, _usage(tokens)
        )
        pieces = (_stream if streamed else _plain)(shape, text, told, reported, empty=kind == "empty")
        if kind == "garbage":
            pieces = [Piece(b"<html>sorry</html>", error=True)]
        if kind == "error event" and streamed:
            pieces.insert(
                dice.randint(0, len(text)), Piece(_event({"error": {"message": "no", "code": "500"}}), error=True)
            )
        cut = kind in ("cut", "late hang")
        if cut:
            pieces = pieces[: dice.randint(0, max(0, len(pieces) - 3))] if streamed else pieces[:0]
        return Attempt(number, PUBLIC[body["model"]], streamed, limit, kind, pieces, cut)


class Answer:
    """One answer, piece by piece with pauses."""

    def __init__(
        self, attempt: Attempt, dice: random.Random, clock: Callable[[], float], tell: Callable[[str], None]
    ) -> None:
        self._attempt = attempt
        self._dice = dice
        self._clock = clock
        self._tell = tell
        self.status = attempt.status
        self.interrupted = False
        kind = "text/event-stream" if attempt.streamed and attempt.kind != "garbage" else "application/json"
        self.headers: Mapping[str, str] = {"Content-Type": kind}

    async def read(self, limit_bytes: int = ANSWER_LIMIT_BYTES) -> bytes:
        """Everything."""
        parts = []
        while part := await self.read_some():
            parts.append(part)
        return b"".join(parts)

    async def read_some(self) -> bytes:
        """The next piece."""
        attempt = self._attempt
        if attempt.status != 200:
            return b""
        await asyncio.sleep(self._dice.choice((0.0, 0.001, 0.05, 0.5, 1.0)))
        if attempt.handed == len(attempt.pieces):
            if attempt.kind == "late hang":
                await asyncio.sleep(3600)
            attempt.broke_at = self._clock()
            if attempt.cut:
                raise AnswerUnreadable("cut")
            return b""
        piece = attempt.pieces[attempt.handed]
        attempt.handed += 1
        attempt.said.append(piece)
        if piece.error:
            attempt.broke_at = self._clock()
        self._tell(f"piece {attempt.call} {attempt.handed}")
        return piece.data

    async def end(self) -> None:
        """Nothing more is wanted."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Closed."""


def _usage(tokens: Tokens) -> dict[str, Any]:
    prompt, completion, cached = tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": completion // 2},
    }


def _plain(shape: str, text: list[int], told: Tokens | None, usage: Any, *, empty: bool) -> list[Piece]:
    size = 0 if empty else sum(text)
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "a" * size},
        "finish_reason": None if empty else "stop",
    }
    document = {"id": "x", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}
    return [Piece(json.dumps(document).encode(), size, told, finish=not empty)]


def _stream(shape: str, text: list[int], told: Tokens | None, usage: Any, *, empty: bool) -> list[Piece]:
    pieces = []
    for number, size in enumerate([] if empty else text):
        sent: Any = None
        known: Tokens | None = None
        if shape in ("every", "zeros") and told is not None:
            known = (told[0], 0 if shape == "zeros" else number + 1, 0)
            sent = _usage(known)
        pieces.append(Piece(_chunk({"content": "a" * size}, None, sent), size, known))
    if not empty:
        pieces.append(Piece(_chunk({}, "stop", None), finish=True))
        if usage is not None:
            pieces.append(Piece(_event({"id": "x", "model": "m", "choices": [], "usage": usage}), tokens=told))
    pieces.append(Piece(b"data: [DONE]\n\n", done=True))
    return pieces


def _chunk(delta: Mapping[str, str], finish: str | None, usage: Any) -> bytes:
    chunk: dict[str, Any] = {
        "id": "x",
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return _event(chunk if usage is None else {**chunk, "usage": usage})


def _event(data: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"
