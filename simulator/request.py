"""A chat request as a provider reads it: the fields every vendor looks at, checked for type and nothing more.

What a single vendor refuses (a temperature, a role, a model) is decided in that vendor's file; here only what no vendor
could make sense of is refused.
"""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from simulator.text import count_prompt_tokens, text_of

Fields = dict[str, Any]

_PIECES = re.compile(r"\bpieces=(\d{1,6})\b")


class UnreadableRequest(Exception):
    """The body is no chat request at all; the message says which field is wrong and how."""


@dataclass(frozen=True)
class ChatRequest:
    """One chat request. `fields` is the whole JSON object as it was sent; the rest is read out of it.

    Not slotted, because what is costly to read is read once, on first use.
    """

    fields: Fields
    model: str
    messages: tuple[Fields, ...]
    streamed: bool

    @property
    def include_usage(self) -> bool:
        """Whether the caller asked for a usage chunk at the end of the stream."""
        options = self.fields.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True

    @property
    def stops(self) -> tuple[str, ...]:
        """The strings at which the answer must end."""
        stop = self.fields.get("stop")
        if isinstance(stop, str):
            return (stop,)
        return tuple(item for item in stop if isinstance(item, str)) if isinstance(stop, list) else ()

    @property
    def tools(self) -> tuple[Fields, ...]:
        """The functions on offer, each as its `function` object."""
        tools = self.fields.get("tools") or ()
        return tuple(tool["function"] for tool in tools if isinstance(tool.get("function"), dict))

    @cached_property
    def last_user_text(self) -> str:
        """The text of the last message whose role is `user`; empty when there is none."""
        for message in reversed(self.messages):
            if message.get("role") == "user":
                return text_of(message.get("content"))
        return ""

    @cached_property
    def prompt_tokens(self) -> int:
        """The prompt's length as the simulator bills it."""
        return count_prompt_tokens(self.messages)

    @property
    def pieces_wanted(self) -> int | None:
        """N where the last user message says `pieces=N`, else None."""
        found = _PIECES.search(self.last_user_text)
        return int(found[1]) if found else None

    @property
    def image_urls(self) -> tuple[str, ...]:
        """The addresses of every image part of every message."""
        urls: list[str] = []
        for message in self.messages:
            content = message.get("content")
            for part in content if isinstance(content, list) else ():
                if isinstance(part, dict) and part.get("type") == "image_url":
                    image = part.get("image_url")
                    urls.append(str(image.get("url", "")) if isinstance(image, dict) else str(image))
        return tuple(urls)

    def role_at(self, *roles: str) -> int | None:
        """The place of the first message that has one of `roles`, or None."""
        for place, message in enumerate(self.messages):
            if message.get("role") in roles:
                return place
        return None

    def mentions(self, word: str) -> bool:
        """Whether any message's text contains `word`, in upper or lower case."""
        return any(word in text_of(message.get("content")).lower() for message in self.messages)

    def whole_number(self, *names: str) -> int | None:
        """The first of the fields `names` that is present and not null."""
        for name in names:
            value = self.fields.get(name)
            if value is not None:
                return int(value)
        return None


def read_fields(body: bytes) -> tuple[Fields, str]:
    """The JSON object in `body` and the model it names. Raises UnreadableRequest."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableRequest(f"the body is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise UnreadableRequest("the body must be a JSON object")
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise UnreadableRequest("model must be a non-empty string")
    return fields, model


def read_request(body: bytes) -> ChatRequest:
    """The chat request in `body`. Raises UnreadableRequest, whose text names the field."""
    fields, model = read_fields(body)
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise UnreadableRequest("messages must be a non-empty list")
    if not all(isinstance(message, dict) and isinstance(message.get("role"), str) for message in messages):
        raise UnreadableRequest("every message must be an object with a role")
    _check_types(fields)
    return ChatRequest(fields, model, tuple(messages), fields.get("stream") is True)


def _check_types(fields: Fields) -> None:
    """Refuse wrong types of the fields all vendors read."""
    if not isinstance(fields.get("stream") or False, bool):
        raise UnreadableRequest("stream must be true or false")
    for name in ("max_tokens", "max_completion_tokens", "n"):
        value = fields.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise UnreadableRequest(f"{name} must be an integer of at least 1")
    for name in ("temperature", "top_p"):
        value = fields.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise UnreadableRequest(f"{name} must be a number")
    tools = fields.get("tools")
    if tools is not None and not (isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)):
        raise UnreadableRequest("tools must be a list of objects")
