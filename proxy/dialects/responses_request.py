"""A request of OpenAI's Responses as a chat completion's.

Nothing is kept here between two requests, so whatever leans on an earlier one is refused by name, and so are tools that run at
OpenAI. Hints for OpenAI's own servers are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from middlewares.body import LARGEST_MAX_TOKENS
from middlewares.errors import invalid
from middlewares.options import OWN_FIELDS
from proxy.dialects.reading import as_flag, as_list, as_object, as_text, shown

_SAME: Final = (*sorted(OWN_FIELDS), "model", "temperature", "top_p", "stream")
"""Fields that mean the same in a chat completion, and are checked there."""
_STATELESS: Final = "nothing is kept between two requests here: send the whole conversation as input"
_KEPT: Final = ("previous_response_id", "conversation", "background", "prompt")
"""Fields that need something that is kept."""
_ROLES: Final = ("user", "assistant", "system", "developer")
_FORMS: Final = ("name", "description", "schema", "strict")
_HINT: Final = "reasoning.encrypted_content"
"""What clients of stateless calls ask to be included; there is none, and nothing is lost without it."""

Message = dict[str, Any]


def chat_request(document: Mapping[str, Any]) -> dict[str, Any]:
    """The body of the chat completion. Raises a Refusal that names the field that has no place in one."""
    _refuse_unservable(document)
    chat: dict[str, Any] = {name: document[name] for name in _SAME if document.get(name) is not None}
    instructions = document.get("instructions")
    system = [] if instructions is None else [{"role": "system", "content": as_text(instructions, "instructions")}]
    chat["messages"] = system + _messages(document.get("input"))
    _set_limit(chat, document.get("max_output_tokens"))
    if tools := as_list(document.get("tools"), "tools"):
        chat["tools"] = [
            _tool(as_object(tool, f"tools[{place}]"), f"tools[{place}]") for place, tool in enumerate(tools)
        ]
    _choose_tools(chat, document.get("tool_choice"))
    if document.get("parallel_tool_calls") is not None and not as_flag(
        document["parallel_tool_calls"], "parallel_tool_calls"
    ):
        # That several may be called is what everybody does who can.
        chat["parallel_tool_calls"] = False
    as_object(document.get("metadata"), "metadata")
    effort = as_object(document.get("reasoning"), "reasoning").get("effort")
    if effort is not None:
        chat["reasoning_effort"] = as_text(effort, "reasoning.effort")
    _set_form(chat, as_object(as_object(document.get("text"), "text").get("format"), "text.format"))
    for name in ("user", "safety_identifier"):
        if document.get(name) is not None:
            chat["user"] = as_text(document[name], name)
    return chat


def _refuse_unservable(document: Mapping[str, Any]) -> None:
    for name in _KEPT:
        if document.get(name):
            raise invalid(name, f"{name} is not offered: {_STATELESS}")
    if as_flag(document.get("store"), "store"):
        raise invalid("store", "store cannot be true: responses are not kept here and cannot be asked for later")
    if document.get("truncation") not in (None, "disabled"):
        raise invalid("truncation", "truncation can only be disabled: nothing of what you send is left out")
    if document.get("top_logprobs"):
        raise invalid("top_logprobs", "top_logprobs is not offered here")
    for place, name in enumerate(as_list(document.get("include"), "include")):
        if name != _HINT:
            raise invalid(f"include[{place}]", f"{shown(name)} cannot be included here")


def _messages(value: object) -> list[Message]:
    if isinstance(value, str) and value:
        return [{"role": "user", "content": value}]
    if value is None or value in ("", []):
        raise invalid("input", "input must be a text or a list of at least one item")
    messages: list[Message] = []
    for place, given in enumerate(as_list(value, "input")):
        param = f"input[{place}]"
        item = as_object(given, param)
        kind = item.get("type", "message")
        reader = _READERS.get(kind) if isinstance(kind, str) else None
        if reader is None:
            why = _STATELESS if kind == "item_reference" else "it is not offered here"
            raise invalid(f"{param}.type", f"an item of type {shown(kind)} cannot be read: {why}")
        reader(item, param, messages)
    if not messages:
        raise invalid("input", "input must have at least one message")
    return messages


def _read_message(item: Mapping[str, Any], param: str, messages: list[Message]) -> None:
    role = item.get("role")
    if role not in _ROLES:
        raise invalid(f"{param}.role", f"{param}.role must be one of {', '.join(_ROLES)}")
    messages.append({"role": role, "content": _content(item.get("content"), f"{param}.content")})


def _read_call(item: Mapping[str, Any], param: str, messages: list[Message]) -> None:
    """Calls that follow one another, or what the assistant said, are one turn."""
    function = {
        "name": as_text(item.get("name"), f"{param}.name"),
        "arguments": as_text(item.get("arguments"), f"{param}.arguments"),
    }
    call = {"id": as_text(item.get("call_id"), f"{param}.call_id"), "type": "function", "function": function}
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    messages[-1].setdefault("tool_calls", []).append(call)


def _read_output(item: Mapping[str, Any], param: str, messages: list[Message]) -> None:
    content = _content(item.get("output"), f"{param}.output")
    if not isinstance(content, str):
        raise invalid(f"{param}.output", f"{param}.output may hold text only")
    call_id = as_text(item.get("call_id"), f"{param}.call_id")
    messages.append({"role": "tool", "tool_call_id": call_id, "content": content})


def _leave_out(item: Mapping[str, Any], param: str, messages: list[Message]) -> None:
    """What was thought is the model's own, and most of it cannot be read."""


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any], str, list[Message]], None]]] = MappingProxyType(
    {
        "message": _read_message,
        "function_call": _read_call,
        "function_call_output": _read_output,
        "reasoning": _leave_out,
    }
)


def _content(value: object, param: str) -> str | list[dict[str, Any]]:
    """Texts alone as one text, which every vendor takes; with pictures between them as parts."""
    if isinstance(value, str):
        return value
    if value is None:
        raise invalid(param, f"{param} must be a text or a list of parts")
    places = ((f"{param}[{place}]", part) for place, part in enumerate(as_list(value, param)))
    parts = [_part(as_object(part, place), place) for place, part in places]
    if all(part["type"] == "text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return parts


def _part(part: Mapping[str, Any], place: str) -> dict[str, Any]:
    kind = part.get("type")
    if kind in ("input_text", "output_text", "text"):
        return {"type": "text", "text": as_text(part.get("text"), f"{place}.text")}
    if kind == "refusal":
        return {"type": "text", "text": as_text(part.get("refusal"), f"{place}.refusal")}
    if kind == "input_image":
        picture = {"url": as_text(part.get("image_url"), f"{place}.image_url")}
        if part.get("detail") is not None:
            picture["detail"] = as_text(part["detail"], f"{place}.detail")
        return {"type": "image_url", "image_url": picture}
    raise invalid(f"{place}.type", f"a part of type {shown(kind)} is not offered here; send text or images")


def _set_limit(chat: dict[str, Any], limit: object) -> None:
    if limit is None:
        return
    if type(limit) is not int or not 1 <= limit <= LARGEST_MAX_TOKENS:
        raise invalid("max_output_tokens", f"max_output_tokens must be a whole number from 1 to {LARGEST_MAX_TOKENS}")
    chat["max_tokens"] = limit


def _tool(tool: Mapping[str, Any], param: str) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise invalid(f"{param}.type", f"a tool of type {shown(tool.get('type'))} is not offered; functions are")
    function: dict[str, Any] = {"name": as_text(tool.get("name"), f"{param}.name")}
    if tool.get("description") is not None:
        function["description"] = as_text(tool["description"], f"{param}.description")
    function["parameters"] = as_object(tool.get("parameters"), f"{param}.parameters")
    if tool.get("strict") is not None:
        function["strict"] = as_flag(tool["strict"], f"{param}.strict")
    return {"type": "function", "function": function}


def _choose_tools(chat: dict[str, Any], choice: object) -> None:
    if choice is None:
        return
    if choice in ("none", "auto", "required"):
        chat["tool_choice"] = choice
    elif isinstance(choice, dict) and choice.get("type") == "function":
        name = as_text(choice.get("name"), "tool_choice.name")
        chat["tool_choice"] = {"type": "function", "function": {"name": name}}
    else:
        raise invalid("tool_choice", "tool_choice must be none, auto, required or a function")


def _set_form(chat: dict[str, Any], form: Mapping[str, Any]) -> None:
    kind = form.get("type", "text")
    if kind == "json_object":
        chat["response_format"] = {"type": "json_object"}
    elif kind == "json_schema":
        as_object(form.get("schema"), "text.format.schema")
        described = {name: form[name] for name in _FORMS if form.get(name) is not None}
        chat["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", **described}}
    elif kind != "text":
        raise invalid("text.format.type", "text.format.type must be text, json_object or json_schema")
