"""A request of Anthropic's Messages as a chat completion's.

What Anthropic has and chat completions have, too, is said in their words; what would change what the caller gets (tools that
run at Anthropic, files kept there) is refused by name; what is only a hint for Anthropic's own servers is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from middlewares.errors import invalid
from middlewares.options import OWN_FIELDS
from proxy.dialects.reading import as_flag, as_list, as_object, as_text, shown, written

_SAME: Final = (*sorted(OWN_FIELDS), "model", "max_tokens", "temperature", "top_p", "top_k", "stream")
"""Fields that mean the same in a chat completion, and are checked there."""
_ELSEWHERE: Final = ("mcp_servers", "container")
"""Fields that make something happen at Anthropic, which nobody here can do."""
_CHOICES: Final = MappingProxyType({"auto": "auto", "any": "required", "none": "none"})

Message = dict[str, Any]
Part = dict[str, Any]


def chat_request(document: Mapping[str, Any]) -> dict[str, Any]:
    """The body of the chat completion. Raises a Refusal that names the field that has no place in one."""
    for name in _ELSEWHERE:
        if document.get(name):
            raise invalid(name, f"{name} is not offered here")
    if document.get("max_tokens") is None:
        raise invalid("max_tokens", "max_tokens is missing: say how long the answer may be")
    chat: dict[str, Any] = {name: document[name] for name in _SAME if document.get(name) is not None}
    chat["messages"] = _system(document.get("system")) + _messages(document.get("messages"))
    if stops := as_list(document.get("stop_sequences"), "stop_sequences"):
        chat["stop"] = [as_text(stop, f"stop_sequences[{place}]") for place, stop in enumerate(stops)]
    if tools := as_list(document.get("tools"), "tools"):
        chat["tools"] = [_tool(as_object(tool, f"tools[{place}]"), place) for place, tool in enumerate(tools)]
    _choose_tools(chat, as_object(document.get("tool_choice"), "tool_choice"))
    _set_thinking(chat, as_object(document.get("thinking"), "thinking"))
    _set_form(chat, document)
    user = as_object(document.get("metadata"), "metadata").get("user_id")
    if user is not None:
        chat["user"] = as_text(user, "metadata.user_id")
    return chat


def _system(value: object) -> list[Message]:
    text = value if isinstance(value, str) else _texts(value, "system")
    return [{"role": "system", "content": text}] if text else []


def _messages(value: object) -> list[Message]:
    messages: list[Message] = []
    for place, given in enumerate(as_list(value, "messages")):
        param = f"messages[{place}]"
        message = as_object(given, param)
        role = message.get("role")
        reader = _ROLES.get(role) if isinstance(role, str) else None
        if reader is None:
            raise invalid(f"{param}.role", f"{param}.role must be user or assistant")
        content = message.get("content")
        if isinstance(content, str):
            messages.append({"role": role, "content": content})
        else:
            messages += reader(_blocks(content, f"{param}.content"))
    return messages


Blocks = list[tuple[str, Mapping[str, Any]]]
"""Content blocks, each with its place in the request."""


def _blocks(value: object, param: str) -> Blocks:
    if value is None:
        raise invalid(param, f"{param} must be a text or a list of blocks")
    places = ((f"{param}[{place}]", block) for place, block in enumerate(as_list(value, param)))
    return [(place, as_object(block, place)) for place, block in places]


def _user_messages(blocks: Blocks) -> list[Message]:
    """Results of tools are messages of their own, and come first: they answer the message before."""
    results: list[Message] = []
    parts: list[Part] = []
    for place, block in blocks:
        if block.get("type") == "tool_result":
            text, pictures = _result(block.get("content"), f"{place}.content")
            call_id = as_text(block.get("tool_use_id"), f"{place}.tool_use_id")
            results.append({"role": "tool", "tool_call_id": call_id, "content": text})
            parts += pictures
        else:
            parts.append(_part(block, place))
    return results + ([{"role": "user", "content": _joined(parts)}] if parts or not results else [])


def _assistant_messages(blocks: Blocks) -> list[Message]:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for place, block in blocks:
        kind = block.get("type")
        if kind == "text":
            texts.append(as_text(block.get("text"), f"{place}.text"))
        elif kind == "thinking":
            thoughts.append(as_text(block.get("thinking"), f"{place}.thinking"))
        elif kind == "tool_use":
            calls.append(_call(block, place))
        elif kind != "redacted_thinking":
            raise invalid(f"{place}.type", f"a block of type {shown(kind)} cannot be said by an assistant here")
    message: Message = {"role": "assistant", "content": "".join(texts)}
    if calls:
        message["content"] = message["content"] or None
        message["tool_calls"] = calls
        if thoughts:
            # Where tools were called, vendors that think want to see again what was thought; elsewhere some refuse it.
            message["reasoning_content"] = "".join(thoughts)
    return [message]


def _system_messages(blocks: Blocks) -> list[Message]:
    return [{"role": "system", "content": _joined([_part(block, place) for place, block in blocks])}]


_ROLES: Final[Mapping[str, Callable[[Blocks], list[Message]]]] = MappingProxyType(
    {"user": _user_messages, "assistant": _assistant_messages, "system": _system_messages}
)


def _call(block: Mapping[str, Any], place: str) -> dict[str, Any]:
    arguments = written(as_object(block.get("input"), f"{place}.input"), f"{place}.input")
    function = {"name": as_text(block.get("name"), f"{place}.name"), "arguments": arguments}
    return {"id": as_text(block.get("id"), f"{place}.id"), "type": "function", "function": function}


def _result(content: object, param: str) -> tuple[str, list[Part]]:
    """A tool's result as a text, and the pictures in it, which only a user's message may hold."""
    if content is None or isinstance(content, str):
        return content or "", []
    parts = [_part(block, place) for place, block in _blocks(content, param)]
    texts = [part["text"] for part in parts if part["type"] == "text"]
    return "\n\n".join(texts), [part for part in parts if part["type"] != "text"]


def _part(block: Mapping[str, Any], place: str) -> Part:
    kind = block.get("type")
    if kind == "text":
        return {"type": "text", "text": as_text(block.get("text"), f"{place}.text")}
    source = as_object(block.get("source"), f"{place}.source")
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": _picture(source, f"{place}.source")}}
    if kind == "document" and source.get("type") == "text":
        return {"type": "text", "text": as_text(source.get("data"), f"{place}.source.data")}
    raise invalid(f"{place}.type", f"a block of type {shown(kind)} is not offered here; send text or images")


def _picture(source: Mapping[str, Any], place: str) -> str:
    kind = source.get("type")
    if kind == "url":
        return as_text(source.get("url"), f"{place}.url")
    if kind == "base64":
        media = as_text(source.get("media_type"), f"{place}.media_type")
        return f"data:{media};base64,{as_text(source.get('data'), f'{place}.data')}"
    raise invalid(f"{place}.type", f"a picture comes as base64 or url here, not as {shown(kind)}")


def _joined(parts: list[Part]) -> str | list[Part]:
    """Texts alone as one text, which every vendor takes; with pictures between them as parts."""
    if all(part["type"] == "text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return parts


def _texts(value: object, param: str) -> str:
    parts = [_part(block, place) for place, block in _blocks([] if value is None else value, param)]
    if any(part["type"] != "text" for part in parts):
        raise invalid(param, f"{param} may hold text only")
    return "\n\n".join(part["text"] for part in parts)


def _tool(tool: Mapping[str, Any], place: int) -> dict[str, Any]:
    param = f"tools[{place}]"
    if tool.get("type") not in (None, "custom"):
        raise invalid(f"{param}.type", f"a tool of type {shown(tool.get('type'))} runs at Anthropic, not here")
    function: dict[str, Any] = {"name": as_text(tool.get("name"), f"{param}.name")}
    if tool.get("description") is not None:
        function["description"] = as_text(tool["description"], f"{param}.description")
    function["parameters"] = as_object(tool.get("input_schema"), f"{param}.input_schema")
    if tool.get("strict") is not None:
        function["strict"] = as_flag(tool["strict"], f"{param}.strict")
    return {"type": "function", "function": function}


def _choose_tools(chat: dict[str, Any], choice: Mapping[str, Any]) -> None:
    if not choice:
        return
    kind = choice.get("type")
    if kind == "tool":
        chat["tool_choice"] = {
            "type": "function",
            "function": {"name": as_text(choice.get("name"), "tool_choice.name")},
        }
    elif isinstance(kind, str) and kind in _CHOICES:
        chat["tool_choice"] = _CHOICES[kind]
    else:
        raise invalid("tool_choice.type", "tool_choice.type must be auto, any, tool or none")
    if as_flag(choice.get("disable_parallel_tool_use"), "tool_choice.disable_parallel_tool_use"):
        chat["parallel_tool_calls"] = False


def _set_thinking(chat: dict[str, Any], thinking: Mapping[str, Any]) -> None:
    """On and off are what chat completions have; how much is the provider's to decide, and so is "adaptive"."""
    kind = thinking.get("type")
    if kind in ("enabled", "disabled"):
        chat["thinking"] = {"type": kind}
    elif thinking and kind != "adaptive":
        raise invalid("thinking.type", "thinking.type must be enabled, disabled or adaptive")


def _set_form(chat: dict[str, Any], document: Mapping[str, Any]) -> None:
    """The form that an answer must have, in both places where Anthropic has it."""
    wanted = as_object(document.get("output_config"), "output_config").get("format") or document.get("output_format")
    form = as_object(wanted, "output_config.format")
    if form:
        if form.get("type") != "json_schema":
            raise invalid("output_config.format.type", "output_config.format.type must be json_schema")
        schema = as_object(form.get("schema"), "output_config.format.schema")
        chat["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        }
