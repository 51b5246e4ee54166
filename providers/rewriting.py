"""Ways to say in one vendor's words what a request says in OpenAI's, shared by the dialects.

Each function changes the top level of ``body``, which is the dialect's own copy, and copies whatever it changes further in.
A sentence added to the prompt is short enough for the allowance per request of ``billing.bound``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from providers.errors import RequestRefused
from providers.provider import Ask


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``over`` laid on it, object into object; neither is changed."""
    result = dict(base)
    for name, value in over.items():
        below = result.get(name)
        result[name] = merged(below, value) if isinstance(value, dict) and isinstance(below, dict) else value
    return result


def pseudonym(user: str) -> str:
    """A stable name for an end user that does not show who it is: 64 hex digits."""
    return hashlib.sha256(b"find-token user " + user.encode("utf-8", "surrogatepass")).hexdigest()


def with_system_role_only(body: dict[str, Any]) -> None:
    """Messages of role ``developer`` become ``system``, the older name of the same role."""
    messages = body.get("messages")
    if isinstance(messages, list) and any(_role(message) == "developer" for message in messages):
        body["messages"] = [
            {**message, "role": "system"} if _role(message) == "developer" else message for message in messages
        ]


def clamp(body: dict[str, Any], name: str, lowest: float, highest: float) -> None:
    """The number ``name``, where the caller gave one, moved into what the vendor accepts."""
    value = body.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        body[name] = min(max(value, lowest), highest)


def choose_tools(body: dict[str, Any], understood: frozenset[str]) -> None:
    """Say ``tool_choice`` in other words where the vendor does not know it.

    ``understood`` holds those of ``none``, ``required`` and ``named`` that may be sent as they are. For the others: no choice is
    no tools; a named tool is the only tool sent; that one must be called is said in the prompt, which models mostly obey.
    Raises RequestRefused for a named tool that is not among the tools.
    """
    choice = body.get("tool_choice")
    if choice == "none" and "none" not in understood:
        for name in ("tools", "tool_choice", "parallel_tool_calls"):
            body.pop(name, None)
    elif choice == "required" and "required" not in understood:
        body["tool_choice"] = "auto"
        add_instruction(body, "You must call at least one of the given tools.")
    elif isinstance(choice, dict) and "named" not in understood:
        wanted = _function_name(choice)
        tools = body.get("tools")
        chosen = (
            [tool for tool in tools if _function_name(tool) == wanted] if wanted and isinstance(tools, list) else []
        )
        if not chosen:
            said = "tool_choice: it names no function that is among the tools."
            raise RequestRefused(said, code="invalid_value", param="tool_choice")
        body["tools"] = chosen
        body["tool_choice"] = "auto"
        add_instruction(body, "You must call the given tool.")


def schema_in_words(body: dict[str, Any]) -> None:
    """A ``json_schema`` response format becomes ``json_object`` with the schema in the prompt."""
    schema = _json_schema(body)
    if schema is not None:
        body["response_format"] = {"type": "json_object"}
        add_instruction(
            body, f"Answer with one JSON object of this JSON Schema:\n{json.dumps(schema, ensure_ascii=False)}"
        )


def json_in_words(body: dict[str, Any]) -> None:
    """Any JSON response format becomes a sentence in the prompt, for vendors whose own format cannot be relied on."""
    schema_in_words(body)
    if response_format(body) == "json_object":
        mention_json(body)
        del body["response_format"]


def mention_json(body: dict[str, Any]) -> None:
    """``json_object`` is refused where no message contains the word JSON, so it is added then."""
    if response_format(body) == "json_object" and not _mentions_json(body.get("messages")):
        add_instruction(body, "Answer with one JSON object.")


def response_format(body: Mapping[str, Any]) -> str:
    """The type of the response format; empty if none was asked for."""
    wanted = body.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    return kind if isinstance(kind, str) else ""


def thinking_switched_on(body: Mapping[str, Any], ask: Ask) -> bool:
    """Whether the model will think, where the switch is ``thinking.type``: forced, else asked for, else its nature."""
    for source in (ask.force, body):
        thinking = source.get("thinking")
        kind = thinking.get("type") if isinstance(thinking, dict) else None
        if kind is not None:
            return bool(kind != "disabled")
    return ask.reasoning


def fill_reasoning(body: dict[str, Any]) -> None:
    """Give assistant turns that called tools a ``reasoning_content`` where they have none.

    Thinking models of DeepSeek and Kimi refuse a history without it, and OpenAI's clients do not send it back; a single
    space is accepted in its place.
    """
    messages = body.get("messages")
    if isinstance(messages, list) and any(_lacks_reasoning(message) for message in messages):
        body["messages"] = [
            {**message, "reasoning_content": " "} if _lacks_reasoning(message) else message for message in messages
        ]


def add_instruction(body: dict[str, Any], sentence: str) -> None:
    """Add ``sentence`` to the first system message, or as one of its own before all others."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return
    for index, message in enumerate(messages):
        if _role(message) == "system":
            extended = {**message, "content": _content_with(message.get("content"), sentence)}
            body["messages"] = [*messages[:index], extended, *messages[index + 1 :]]
            return
    body["messages"] = [{"role": "system", "content": sentence}, *messages]


def _content_with(content: object, sentence: str) -> object:
    if isinstance(content, list):
        return [*content, {"type": "text", "text": sentence}]
    return f"{content}\n\n{sentence}" if isinstance(content, str) and content else sentence


def _role(message: object) -> object:
    return message.get("role") if isinstance(message, dict) else None


def _lacks_reasoning(message: object) -> bool:
    return (
        isinstance(message, dict)
        and message.get("role") == "assistant"
        and bool(message.get("tool_calls"))
        and not message.get("reasoning_content")
    )


def _function_name(tool: object) -> object:
    function = tool.get("function") if isinstance(tool, dict) else None
    return function.get("name") if isinstance(function, dict) else None


def _json_schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if response_format(body) != "json_schema":
        return None
    described = body["response_format"].get("json_schema")
    schema = described.get("schema") if isinstance(described, dict) else None
    return schema if isinstance(schema, dict) else {}


def _mentions_json(messages: object) -> bool:
    if not isinstance(messages, list):
        return False
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        parts = content if isinstance(content, list) else [content]
        for part in parts:
            text = part.get("text") if isinstance(part, dict) else part
            if isinstance(text, str) and "json" in text.lower():
                return True
    return False
