"""A stream of OpenAI's Responses: typed events, numbered, from `response.created` to what became of it."""

from __future__ import annotations

from typing import Any, Final

from billing.usage import Usage
from providers.sse import comment
from proxy.dialects.blocks import REFUSAL, THINKING, TOOL, Block, Blocks, Step
from proxy.dialects.events import ChunkReader, typed_event
from proxy.dialects.responses_answer import Envelope, item_id, item_of, part_of, status_of

_SIGN_OF_LIFE: Final = comment("keep-alive")
_WORDS: Final = {THINKING: ("reasoning_text", "text"), REFUSAL: ("refusal", "refusal")}
"""What the events of a text are called, and where the whole of it stands in the last of them."""


class ResponsesStream:
    """One stream: a chat stream's bytes in, typed events out."""

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope
        self._facts = envelope.facts
        self._chunks = ChunkReader()
        self._blocks = Blocks()
        self._sequence = 0

    def feed(self, data: bytes) -> bytes:
        """The events that ``data`` becomes; a comment where it only says that somebody is there."""
        out: list[bytes] = []
        for chunk in self._chunks.feed(data):
            out.append(self._begin())
            steps = self._blocks.feed(chunk)
            if self._blocks.finish_reason is not None:
                steps += self._blocks.close()
            out += [self._tell(step) for step in steps]
        return _SIGN_OF_LIFE if self._chunks.is_waiting else b"".join(out)

    def end(self, usage: Usage, comments: bytes) -> bytes:
        """Our comments, and the whole response."""
        steps = b"".join([self._begin(), *map(self._tell, self._blocks.close())])
        response = self._envelope.ended(self._blocks, usage)
        return steps + comments + self._event(f"response.{response['status']}", response=response)

    def fail(self, status: int, body: dict[str, Any]) -> bytes:  # noqa: ARG002 - every dialect is told
        """What broke, with what was said until then."""
        begun = self._begin()
        self._blocks.close()
        return begun + self._event("response.failed", response=self._envelope.failed(self._blocks, body["error"]))

    def _begin(self) -> bytes:
        """The first two events, once."""
        if self._sequence:
            return b""
        response = self._envelope.begun()
        return b"".join(self._event(f"response.{kind}", response=response) for kind in ("created", "in_progress"))

    def _tell(self, step: Step) -> bytes:
        if step.is_end:
            return self._tell_end(step.block)
        return self._tell_begin(step.block) if step.more is None else self._tell_more(step.block, step.more)

    def _tell_begin(self, block: Block) -> bytes:
        item = {**item_of(block, self._facts, "in_progress")}
        if block.kind == TOOL:
            return self._event("response.output_item.added", output_index=block.number, item={**item, "arguments": ""})
        added = self._event("response.output_item.added", output_index=block.number, item=item)
        return added + self._part_event(block, "response.content_part.added", part=part_of(block, ""))

    def _tell_more(self, block: Block, more: str) -> bytes:
        if block.kind == TOOL:
            return self._item_event(block, "response.function_call_arguments.delta", delta=more)
        name, _ = _WORDS.get(block.kind, ("output_text", "text"))
        probabilities: dict[str, Any] = {"logprobs": []} if name == "output_text" else {}
        return self._part_event(block, f"response.{name}.delta", delta=more, **probabilities)

    def _tell_end(self, block: Block) -> bytes:
        text = block.text
        if block.kind == TOOL:
            done = self._item_event(block, "response.function_call_arguments.done", name=block.name, arguments=text)
        else:
            name, field = _WORDS.get(block.kind, ("output_text", "text"))
            probabilities: dict[str, Any] = {"logprobs": []} if name == "output_text" else {}
            done = self._part_event(block, f"response.{name}.done", **{field: text}, **probabilities)
            done += self._part_event(block, "response.content_part.done", part=part_of(block, text))
        item = item_of(block, self._facts, status_of(block, self._blocks))
        return done + self._event("response.output_item.done", output_index=block.number, item=item)

    def _part_event(self, block: Block, kind: str, **fields: Any) -> bytes:
        return self._item_event(block, kind, content_index=0, **fields)

    def _item_event(self, block: Block, kind: str, **fields: Any) -> bytes:
        return self._event(kind, item_id=item_id(block, self._facts), output_index=block.number, **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        number = self._sequence
        self._sequence += 1
        return typed_event({"type": kind, "sequence_number": number, **fields})
