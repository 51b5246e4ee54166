"""What a request needs of whoever serves it: how long it is, how much it asks for, and what it makes use of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from billing.bound import inputs_of
from providers.selection import Inputs, Need

_PICTURES: Final = frozenset({"image_url", "input_image", "image", "video_url", "video"})
_THINKING: Final = frozenset({"reasoning_effort", "reasoning", "thinking", "enable_thinking"})
_NO_EFFORT: Final = ("none", None)


def need_of(
    request: Mapping[str, Any], prompt_token_bound: int, prompt_bytes: int, *, every_field: bool = False
) -> Need:
    """What ``request`` (a checked body of a chat completion, or of embeddings, which have no messages) asks of a candidate.

    ``every_field``: the candidate must take every field as it is.
    """
    if request.get("messages") is None and "input" in request:
        return _need_of_vectors(request, prompt_token_bound, prompt_bytes, every_field=every_field)
    capabilities = set()
    tools = request.get("tools") or request.get("functions")
    if tools:
        capabilities.add("tools")
        if request.get("parallel_tool_calls") is not None:
            capabilities.add("parallel_tools")
    response_format = request.get("response_format")
    if isinstance(response_format, dict) and response_format.get("type") in ("json_object", "json_schema"):
        capabilities.add(response_format["type"])
    if request.get("logprobs"):
        capabilities.add("logprobs")
    if request.get("seed") is not None:
        capabilities.add("seed")
    n = request.get("n") or 1
    if n > 1:
        capabilities.add("n")
    if _has_pictures(request.get("messages")):
        capabilities.add("vision")
    if not _THINKING.isdisjoint(request) and _wants_reasoning(request):
        capabilities.add("reasoning")
    limit_field = "max_tokens" if request.get("max_completion_tokens") is None else "max_completion_tokens"
    limit = request.get(limit_field)
    fields = _fields(request, n) if every_field else frozenset()
    return Need(prompt_token_bound, prompt_bytes, limit, n, frozenset(capabilities), fields, limit_field=limit_field)


def _need_of_vectors(
    request: Mapping[str, Any], prompt_token_bound: int, prompt_bytes: int, *, every_field: bool
) -> Need:
    """Embeddings have no answer that could be long: not a token of it may be produced."""
    asked = inputs_of(request["input"])
    lengths = [len(one) for one in asked if isinstance(one, list)]
    inputs = Inputs(len(asked), bool(lengths), max(lengths, default=0))
    fields = _fields(request, 1) if every_field else frozenset()
    return Need(prompt_token_bound, prompt_bytes, 0, 1, frozenset({"embeddings"}), fields, inputs)


def _fields(request: Mapping[str, Any], n: int) -> frozenset[str]:
    """What the request says; null is absent, and one answer is what everybody gives."""
    said = {name for name, value in request.items() if value is not None}
    if n == 1:
        said.discard("n")
    return frozenset(said)


def _has_pictures(messages: object) -> bool:
    if not isinstance(messages, list):
        return False
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list) and any(_is_picture(part) for part in content):
            return True
    return False


def _is_picture(part: object) -> bool:
    kind = part.get("type") if isinstance(part, dict) else None
    return isinstance(kind, str) and kind in _PICTURES


def _wants_reasoning(request: Mapping[str, Any]) -> bool:
    """Whether the caller asks for thinking, in OpenAI's, OpenRouter's, Anthropic's or Qwen's words; not asking is no wish."""
    effort = request.get("reasoning_effort")
    if isinstance(effort, str) and effort not in _NO_EFFORT:
        return True
    reasoning = request.get("reasoning")
    if isinstance(reasoning, dict) and reasoning.get("enabled") is not False:
        asked = reasoning.get("enabled") is True or reasoning.get("max_tokens")
        if asked or reasoning.get("effort") not in _NO_EFFORT:
            return True
    thinking = request.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive"):
        return True
    return request.get("enable_thinking") is True
