"""Anthropic's Messages: what becomes of a call's request, its answer, its stream and its errors.

Source of the shapes: Anthropic's public documentation, "Messages", "Streaming messages" and "Errors".
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from billing.usage import Usage
from middlewares.caller_dialect import Facts
from proxy.dialects.blocks import REFUSAL, THINKING, TOOL, Block, Blocks, Step, arguments_as_object
from proxy.dialects.events import ChunkReader, typed_event
from proxy.dialects.messages_request import chat_request

_STOP_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "function_call": "tool_use",
        "content_filter": "refusal",
        "sensitive": "refusal",
        "model_context_window_exceeded": "model_context_window_exceeded",
    }
)
"""What a finish reason is called there; Zhipu's own words among them."""

_ERROR_TYPES: Final[Mapping[int, str]] = MappingProxyType(
    {
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        408: "timeout_error",
        413: "request_too_large",
        429: "rate_limit_error",
        500: "api_error",
        502: "api_error",
        503: "overloaded_error",
        504: "timeout_error",
    }
)
"""What a status means there; every other one is the request's fault."""


class Messages:
    """One call of Messages."""

    def __init__(self) -> None:
        self._stop_sequences: list[str] = []

    def read_request(self, document: dict[str, Any]) -> dict[str, Any]:
        """The body as a chat completion's. Raises a Refusal."""
        chat = chat_request(document)
        self._stop_sequences = chat.get("stop", [])
        return chat

    def tell_error(self, status: int, body: dict[str, Any]) -> dict[str, Any]:
        """Anthropic's shape, with our code and what else our error tells."""
        error = {**body["error"], "type": _ERROR_TYPES.get(status, "invalid_request_error")}
        rest = {name: value for name, value in body.items() if name != "error"}
        return {"type": "error", "error": error, "request_id": error["request_id"], **rest}

    def tell_answer(self, answer: Mapping[str, Any], usage: Usage, facts: Facts) -> dict[str, Any]:
        """A message."""
        blocks = Blocks()
        blocks.feed(answer)
        blocks.close()
        message = _message(facts)
        message["content"] = [_whole(block) for block in blocks.done]
        return message | self._stop(blocks) | {"usage": usage_of(usage)}

    def translation(self, facts: Facts) -> MessagesStream:
        """A stream of events."""
        return MessagesStream(self, facts)

    def _stop(self, blocks: Blocks) -> dict[str, Any]:
        """Why the answer ended; which stop sequence it was only a few servers tell."""
        if blocks.matched_stop in self._stop_sequences:
            return {"stop_reason": "stop_sequence", "stop_sequence": blocks.matched_stop}
        reason = _STOP_REASONS.get(blocks.finish_reason or "stop", "end_turn")
        kinds = {block.kind for block in blocks.done}
        if reason == "end_turn" and TOOL in kinds:
            reason = "tool_use"
        if reason == "end_turn" and REFUSAL in kinds:
            reason = "refusal"
        return {"stop_reason": reason, "stop_sequence": None}


class MessagesStream:
    """One stream: a chat stream's bytes in, typed events out."""

    def __init__(self, dialect: Messages, facts: Facts) -> None:
        self._dialect = dialect
        self._facts = facts
        self._chunks = ChunkReader()
        self._blocks = Blocks()
        self._has_begun = False

    def feed(self, data: bytes) -> bytes:
        """The events that ``data`` becomes; a ping where it only says that somebody is there."""
        out: list[bytes] = []
        for chunk in self._chunks.feed(data):
            if not self._has_begun:
                self._has_begun = True
                out += [typed_event({"type": "message_start", "message": _message(self._facts)}), PING]
            out += [_event(step) for step in self._blocks.feed(chunk)]
            if self._blocks.finish_reason is not None:
                out += [_event(step) for step in self._blocks.close()]
        return PING if self._chunks.is_waiting else b"".join(out)

    def end(self, usage: Usage, comments: bytes) -> bytes:
        """Why it ended and what it used, our comments, the end."""
        steps = b"".join(_event(step) for step in self._blocks.close())
        told = {"type": "message_delta", "delta": self._dialect._stop(self._blocks), "usage": usage_of(usage)}
        return steps + typed_event(told) + comments + typed_event({"type": "message_stop"})

    def fail(self, status: int, body: dict[str, Any]) -> bytes:
        """An error event; nothing comes behind it."""
        return typed_event(self._dialect.tell_error(status, body))


PING: Final = typed_event({"type": "ping"})


def usage_of(usage: Usage) -> dict[str, int]:
    """Tokens as Anthropic counts them: those read from a cache or written to one stand beside the input, not in it."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }


def _message(facts: Facts) -> dict[str, Any]:
    """A message of which nothing is known yet; its id is the call's, in Anthropic's form."""
    return {
        "id": "msg_" + facts.request_id.removeprefix("req_"),
        "type": "message",
        "role": "assistant",
        "model": facts.model(),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage_of(Usage(0, 0)),
    }


def _empty(block: Block) -> dict[str, Any]:
    """A content block that has just begun."""
    if block.kind == TOOL:
        return {"type": "tool_use", "id": block.call_id, "name": block.name, "input": {}}
    if block.kind == THINKING:
        # A signature is Anthropic's own proof of its thoughts; clients want the field.
        return {"type": "thinking", "thinking": "", "signature": ""}
    return {"type": "text", "text": ""}


def _whole(block: Block) -> dict[str, Any]:
    """A content block that is complete."""
    if block.kind == TOOL:
        return {**_empty(block), "input": arguments_as_object(block.text)}
    return {**_empty(block), ("thinking" if block.kind == THINKING else "text"): block.text}


def _event(step: Step) -> bytes:
    block = step.block
    if step.is_end:
        return typed_event({"type": "content_block_stop", "index": block.number})
    if step.more is None:
        return typed_event({"type": "content_block_start", "index": block.number, "content_block": _empty(block)})
    if block.kind == TOOL:
        delta = {"type": "input_json_delta", "partial_json": step.more}
    elif block.kind == THINKING:
        delta = {"type": "thinking_delta", "thinking": step.more}
    else:
        delta = {"type": "text_delta", "text": step.more}
    return typed_event({"type": "content_block_delta", "index": block.number, "delta": delta})
