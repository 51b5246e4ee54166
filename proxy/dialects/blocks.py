"""What a chat completion says, as blocks one after another: text, thinking, refusals, calls of tools.

Chat streams say such things in any order and may mix the arguments of several tool calls; the other dialects have one block
after another, each with a beginning and an end. So a block is open while it grows, and whatever comes for another one begins
it, unless the open one is a tool call whose arguments are no whole JSON yet: then the others wait behind it. Nothing is lost
and nothing is said twice, however the stream is cut.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from providers.errors import AnswerUnreadable
from providers.transport import ANSWER_LIMIT_BYTES

TEXT: Final = "text"
THINKING: Final = "thinking"
REFUSAL: Final = "refusal"
TOOL: Final = "tool"

_TEXTS: Final = (("reasoning_content", THINKING), ("reasoning", THINKING), ("content", TEXT), ("refusal", REFUSAL))
"""Where texts stand in a delta, in the order in which they are meant; a provider that fills both first names says it twice."""
DEEPEST_UNTRIED: Final = 200
"""Arguments with more brackets than this could be nested too deeply to be written."""
_MATCHED_STOPS: Final = ("stop_reason", "matched_stop")
"""Where some servers tell which stop sequence ended an answer."""


@dataclass(slots=True, eq=False)
class Block:
    """One thing that was said."""

    kind: str
    number: int = 0
    """Its place in the answer."""
    call_id: str = ""
    """Of a tool call."""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    has_ended: bool = False

    @property
    def text(self) -> str:
        """All of it so far: its text, or the arguments of its tool call."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Step:
    """A block begins (``more`` is None), grows, or ends (``is_end``)."""

    block: Block
    more: str | None = None
    is_end: bool = False


class Blocks:
    """Reads the chunks of one answer."""

    def __init__(self) -> None:
        self.done: list[Block] = []
        """Those that have ended, in order."""
        self.finish_reason: str | None = None
        self.matched_stop: str | None = None
        """The stop sequence that ended the answer, where the provider tells."""
        self._open: Block | None = None
        self._waiting: deque[Block] = deque()
        self._calls: dict[int, Block] = {}
        """The newest tool call of each index."""
        self._begun = 0
        self._size = 0

    def feed(self, chunk: Mapping[str, Any]) -> list[Step]:
        """What a chunk adds. Raises AnswerUnreadable for an answer beyond all measure."""
        steps: list[Step] = []
        for choice in _objects(chunk.get("choices")):
            if choice.get("index") not in (0, None):
                continue  # One answer is all that these dialects have, and all that is asked for.
            delta = choice.get("delta")
            if not isinstance(delta, Mapping) and not self._has_begun:
                # Of a plain answer; at the end of a stream it repeats what was said.
                delta = choice.get("message")
            if isinstance(delta, Mapping):
                steps += self._read(delta)
            reason = choice.get("finish_reason")
            if isinstance(reason, str):
                self.finish_reason = reason
                self.matched_stop = next(
                    (choice[name] for name in _MATCHED_STOPS if isinstance(choice.get(name), str)), self.matched_stop
                )
        return steps

    def close(self) -> list[Step]:
        """Everything is said: what is open ends, what waits follows."""
        steps: list[Step] = []
        while self._open is not None or self._waiting:
            steps += self._next()
        return steps

    @property
    def _has_begun(self) -> bool:
        return bool(self._size or self._calls)

    def _read(self, delta: Mapping[str, Any]) -> Iterator[Step]:
        thought = False
        for name, kind in _TEXTS:
            if kind == THINKING and thought:
                continue
            text = text_of(delta.get(name))
            if text:
                thought = kind == THINKING
                yield from self._add(self._block_of_text(kind), text)
        for position, call in enumerate(_objects(delta.get("tool_calls"))):
            yield from self._read_call(call, position)

    def _read_call(self, call: Mapping[str, Any], position: int) -> Iterator[Step]:
        index = call["index"] if isinstance(call.get("index"), int) else position
        function = call.get("function")
        function = function if isinstance(function, Mapping) else {}
        call_id, name = _text(call.get("id")), _text(function.get("name"))
        block = self._calls.get(index)
        if block is None or (call_id and block.call_id and call_id != block.call_id):
            # Some servers give every call the index 0: another id is another call.
            block = self._calls[index] = Block(TOOL, call_id=call_id, name=name)
        block.call_id, block.name = block.call_id or call_id, block.name or name
        yield from self._add(block, arguments_of(function.get("arguments")))

    def _block_of_text(self, kind: str) -> Block:
        """The block that such a text belongs to: the last one, if it is of its kind."""
        last = self._waiting[-1] if self._waiting else self._open
        return last if last is not None and last.kind == kind else Block(kind)

    def _add(self, block: Block, text: str) -> Iterator[Step]:
        self._size += len(text)
        if self._size > ANSWER_LIMIT_BYTES:
            raise AnswerUnreadable(f"an answer of more than {ANSWER_LIMIT_BYTES} characters")
        if block is not self._open:
            if block in self._waiting:
                block.pieces.append(text)
                return
            if block.has_ended:
                return  # A tool call whose arguments were whole: nothing that follows can belong to it.
            block.pieces.append(text)
            self._waiting.append(block)
        elif text:
            block.pieces.append(text)
            yield Step(block, text)
        while self._waiting and _may_begin(self._waiting[0]) and _may_end(self._open):
            yield from self._next()

    def _next(self) -> Iterator[Step]:
        """The open block ends, and the first that waits begins."""
        if self._open is not None:
            yield Step(self._open, is_end=True)
            self._open.has_ended = True
            self.done.append(self._open)
        self._open = block = self._waiting.popleft() if self._waiting else None
        if block is not None:
            block.number, self._begun = self._begun, self._begun + 1
            if block.kind == TOOL:
                block.call_id = block.call_id or f"call_{block.number}"
            yield Step(block)
            if text := block.text:
                yield Step(block, text)


def text_of(content: object) -> str:
    """A text, or the texts of a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(_text(part.get("text")) for part in _objects(content))


def arguments_of(value: object) -> str:
    """The arguments of a tool call: a text of JSON, or an object where a provider gives one."""
    if not isinstance(value, Mapping):
        return _text(value)
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return ""


def arguments_as_object(text: str) -> dict[str, Any]:
    """The arguments of a tool call, read; what is no JSON object is kept as it was said, under the name ``arguments``."""
    if not text.strip():
        return {}
    try:
        read = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        if text.count("[") + text.count("{") > DEEPEST_UNTRIED:
            json.dumps([[[[[[[[read]]]]]]]])  # It has to be written again, further in.
    except (ValueError, RecursionError):
        read = None
    return read if isinstance(read, dict) else {"arguments": text}


def _may_begin(block: Block) -> bool:
    """Whether enough is known of a block: a call of a tool must say of which, and who it is."""
    return block.kind != TOOL or bool(block.name and block.call_id)


def _may_end(block: Block | None) -> bool:
    """Whether nothing more need be expected of a block. Arguments are an object, so before its last brace nothing is whole."""
    if block is None or block.kind != TOOL:
        return True
    if not block.pieces[-1].rstrip().endswith("}"):
        return False
    try:
        json.loads(block.text)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _finite(text: str) -> float:
    if (number := float(text)) in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large")
    return number


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _objects(value: object) -> list[Mapping[str, Any]]:
    """The objects of a list; nothing where there is none."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
