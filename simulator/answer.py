"""What a simulated model says to a request, before any vendor's shape is put around it.

The same request gets the same answer. Lengths obey the request: `pieces=N` in the last user message, `stop`, and the
token limit, which cuts thinking first and then speech.
"""

import json
import random
from dataclasses import dataclass
from typing import Any

from simulator.request import ChatRequest, Fields
from simulator.text import cut_to_pieces, has_chinese, seed_of, text_of, write_pieces

TOOL_CALL_WORDS = "call the tool"
"""A last user message that contains these words is answered with a call of the first tool on offer."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a function; joined, the fragments are its arguments as JSON."""

    name: str
    fragments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the answers to a request. Every piece of reasoning, text or arguments counts as one token."""

    reasoning: tuple[str, ...]
    pieces: tuple[str, ...]
    tool_calls: tuple[ToolCall, ...]
    finish: str

    @property
    def tokens(self) -> int:
        """Completion tokens of this choice."""
        calls = sum(len(call.fragments) + 1 for call in self.tool_calls)
        return len(self.reasoning) + len(self.pieces) + calls


@dataclass(frozen=True, slots=True)
class Usage:
    """What the provider will report. Cached tokens are part of the prompt's, reasoning tokens of the completion's."""

    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """The whole answer. `seed` is the request's own number, from which ids of tool calls are made.

    `usage` is None when the provider is to report none. `usage_override` is anything JSON can hold: an object is laid over
    the vendor's usage object, all else takes its place; `NO_OVERRIDE` leaves it alone.
    """

    model: str
    seed: int
    choices: tuple[Choice, ...]
    usage: Usage | None
    usage_override: Any = ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds an answer: tokens a choice may have (None for no limit) and how many choices there are."""

    tokens: int | None = None
    choices: int = 1
    pieces: int = 0
    reasoning_pieces: int = 0
    cached_tokens: int = 0


def compose(request: ChatRequest, limits: Limits) -> Answer:
    """The answer to `request` within `limits`. `limits.pieces` of 0 lets the prompt choose a length of 40 to 60."""
    seed = seed_of([request.model, request.messages])
    choices = tuple(_choice(request, limits, seed + index) for index in range(limits.choices))
    usage = Usage(
        prompt_tokens=request.prompt_tokens,
        completion_tokens=sum(choice.tokens for choice in choices),
        reasoning_tokens=sum(len(choice.reasoning) for choice in choices),
        cached_tokens=min(limits.cached_tokens, request.prompt_tokens),
    )
    return Answer(request.model, seed, choices, usage)


def _choice(request: ChatRequest, limits: Limits, seed: int) -> Choice:
    reasoning = write_pieces(seed ^ 0x5EED, limits.reasoning_pieces)
    calls = _tool_calls(request)
    pieces = () if calls else _speech(request, limits, seed)
    finish = "tool_calls" if calls else "stop"
    stopped = _cut_at_stops("".join(pieces), request.stops)
    if stopped is not None:
        pieces = cut_to_pieces(stopped)
    if limits.tokens is None:
        return Choice(reasoning, pieces, calls, finish)
    if Choice(reasoning, pieces, calls, finish).tokens <= limits.tokens:
        return Choice(reasoning, pieces, calls, finish)
    # A call that does not fit is not begun: half a JSON object would say nothing about the gateway.
    reasoning = reasoning[: limits.tokens]
    return Choice(reasoning, pieces[: limits.tokens - len(reasoning)], (), "length")


def _speech(request: ChatRequest, limits: Limits, seed: int) -> tuple[str, ...]:
    """The pieces of text the model would say with no limit on them."""
    wanted = request.pieces_wanted
    count = (limits.pieces or random.Random(seed).randint(40, 60)) if wanted is None else wanted  # noqa: S311
    pieces = write_pieces(seed, count, chinese=has_chinese(request.last_user_text))
    form = request.fields.get("response_format")
    kind = form.get("type") if isinstance(form, dict) else None
    if kind == "json_object":
        return cut_to_pieces(json.dumps({"answer": "".join(pieces)}, ensure_ascii=False))
    if kind == "json_schema" and isinstance(form, dict):
        described = form.get("json_schema")
        schema = described.get("schema") if isinstance(described, dict) else None
        return cut_to_pieces(json.dumps(sample_of(schema)))
    return pieces


def _cut_at_stops(text: str, stops: tuple[str, ...]) -> str | None:
    """`text` up to the first of `stops` in it, or None when none stands there."""
    places = [place for place in (text.find(stop) for stop in stops if stop) if place >= 0]
    return text[: min(places)] if places else None


def _tool_calls(request: ChatRequest) -> tuple[ToolCall, ...]:
    """The calls the request wants made: by its words, or by a `tool_choice` that demands one. `twice` makes two."""
    tools = request.tools
    wanted = request.fields.get("tool_choice")
    said = text_of(request.last_user_text).lower()
    if not tools or wanted == "none" or request.messages[-1].get("role") == "tool":
        return ()
    if TOOL_CALL_WORDS not in said and wanted in (None, "auto"):
        return ()
    function = tools[0]
    if isinstance(wanted, dict) and isinstance(wanted.get("function"), dict):
        named = wanted["function"].get("name")
        function = next((tool for tool in tools if tool.get("name") == named), function)
    arguments = json.dumps(sample_of(function.get("parameters")), ensure_ascii=False)
    call = ToolCall(str(function.get("name", "")), cut_to_pieces(arguments))
    return (call,) * (2 if f"{TOOL_CALL_WORDS} twice" in said else 1)


def sample_of(schema: Any, depth: int = 0) -> Any:
    """A value that fits a JSON schema of the plain kind (objects, lists, strings, numbers, truths, enumerations)."""
    if not isinstance(schema, dict) or depth > 8:
        return {} if depth == 0 else "word"
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return choices[0]
    kind = schema.get("type", "object" if depth == 0 else "string")
    if kind == "object":
        properties: Fields = schema["properties"] if isinstance(schema.get("properties"), dict) else {}
        return {name: sample_of(inner, depth + 1) for name, inner in properties.items()}
    if kind == "array":
        return [sample_of(schema.get("items"), depth + 1)]
    samples: dict[Any, Any] = {"integer": 7, "number": 1.5, "boolean": True, "null": None}
    return samples.get(kind if isinstance(kind, str) else None, "word")
