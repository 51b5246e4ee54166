"""What a response of OpenAI's Responses holds: the object around it, and what was said as items of its output."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from billing.usage import Usage
from middlewares.caller_dialect import Facts
from proxy.dialects.blocks import REFUSAL, THINKING, TOOL, Block, Blocks

_INCOMPLETE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "length": "max_output_tokens",
        "model_context_window_exceeded": "max_output_tokens",
        "content_filter": "content_filter",
        "sensitive": "content_filter",
    }
)
"""Finish reasons that mean that more was to be said, and what that is called there; Zhipu's own words among them."""
_PREFIXES: Final[Mapping[str, str]] = MappingProxyType({TOOL: "fc", THINKING: "rs"})
_REPEATED: Final = ("instructions", "max_output_tokens", "temperature", "top_p", "user", "safety_identifier")
"""What a response repeats of its request as it came; null where it did not."""


class Envelope:
    """The object of one call's response."""

    def __init__(self, request: Mapping[str, Any], facts: Facts) -> None:
        """``request``: what of the request is to be repeated."""
        self._request = request
        self.facts = facts

    def begun(self) -> dict[str, Any]:
        """A response of which nothing is known yet; its id is the call's, in OpenAI's form."""
        asked, facts = self._request, self.facts
        reasoning = asked.get("reasoning") or {}
        return {
            "id": "resp_" + facts.request_id.removeprefix("req_"),
            "object": "response",
            "created_at": facts.created,
            "status": "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": None,
            "model": facts.model(),
            "output": [],
            "usage": None,
            **{name: asked.get(name) for name in _REPEATED},
            "metadata": asked.get("metadata") or {},
            "parallel_tool_calls": asked.get("parallel_tool_calls") is not False,
            "previous_response_id": None,
            "reasoning": {"effort": reasoning.get("effort"), "summary": None},
            "store": False,
            "text": {"format": (asked.get("text") or {}).get("format") or {"type": "text"}},
            "tool_choice": asked.get("tool_choice") or "auto",
            "tools": asked.get("tools") or [],
            "truncation": "disabled",
        }

    def ended(self, blocks: Blocks, usage: Usage) -> dict[str, Any]:
        """A response that is over, whole or not."""
        reason = _INCOMPLETE.get(blocks.finish_reason or "")
        return self.begun() | {
            "status": "completed" if reason is None else "incomplete",
            "incomplete_details": None if reason is None else {"reason": reason},
            "output": items_of(blocks, self.facts),
            "usage": usage_of(usage),
        }

    def failed(self, blocks: Blocks, error: Mapping[str, Any]) -> dict[str, Any]:
        """A response that broke, with what was said until then."""
        told = {"code": error["code"], "message": error["message"]}
        return self.begun() | {"status": "failed", "error": told, "output": items_of(blocks, self.facts)}


def items_of(blocks: Blocks, facts: Facts) -> list[dict[str, Any]]:
    """What was said, as items; the last one is incomplete where more was to come."""
    return [item_of(block, facts, status_of(block, blocks)) for block in blocks.done]


def status_of(block: Block, blocks: Blocks) -> str:
    """Whether a block that has ended was said to its end."""
    is_cut = blocks.finish_reason in _INCOMPLETE and block is blocks.done[-1]
    return "incomplete" if is_cut else "completed"


def item_of(block: Block, facts: Facts, status: str) -> dict[str, Any]:
    """A block as an item of the output, as far as it has come."""
    item: dict[str, Any] = {"id": item_id(block, facts), "type": "message", "status": status}
    if block.kind == TOOL:
        return item | {
            "type": "function_call",
            "call_id": block.call_id,
            "name": block.name,
            "arguments": block.text,
        }
    parts = [] if status == "in_progress" else [part_of(block, block.text)]
    if block.kind == THINKING:
        return item | {"type": "reasoning", "summary": [], "content": parts}
    return item | {"role": "assistant", "content": parts}


def part_of(block: Block, text: str) -> dict[str, Any]:
    """The one part of an item that is no call."""
    if block.kind == THINKING:
        return {"type": "reasoning_text", "text": text}
    if block.kind == REFUSAL:
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def item_id(block: Block, facts: Facts) -> str:
    """Of the kind, the call and the place: nothing else has it."""
    return f"{_PREFIXES.get(block.kind, 'msg')}_{facts.request_id.removeprefix('req_')}_{block.number}"


def usage_of(usage: Usage) -> dict[str, Any]:
    """Tokens as Responses counts them; those of the cache are part of the input."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
