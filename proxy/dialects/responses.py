"""OpenAI's Responses: what becomes of a call's request, its answer, its stream and its errors.

Source of the shapes: OpenAI's public documentation and the types of its Python client.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from billing.usage import Usage
from middlewares.caller_dialect import Facts
from proxy.dialects.blocks import Blocks
from proxy.dialects.reading import written
from proxy.dialects.responses_answer import Envelope
from proxy.dialects.responses_request import chat_request
from proxy.dialects.responses_stream import ResponsesStream

_PARAMS: Final[Mapping[str, str]] = MappingProxyType({"max_tokens": "max_output_tokens", "messages": "input"})
"""Fields of chat completions that an error may be about, and what they are called in a request of Responses."""


class Responses:
    """One call of Responses."""

    def __init__(self) -> None:
        self._request: Mapping[str, Any] = {}

    def read_request(self, document: dict[str, Any]) -> dict[str, Any]:
        """The body as a chat completion's. Raises a Refusal."""
        # Without what may be large, or secret, and is not repeated.
        self._request = {name: value for name, value in document.items() if name not in ("input", "provider_key")}
        chat = chat_request(document)
        # It has to be written again, further in; an answer that was paid for must not fail because of it.
        written([[[[self._request]]]], "tools")
        return chat

    def tell_error(self, status: int, body: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - every dialect is told
        """OpenAI's errors have one shape everywhere, and ours have it, too."""
        param = body["error"]["param"]
        return {**body, "error": {**body["error"], "param": _PARAMS.get(param, param)}}

    def tell_answer(self, answer: Mapping[str, Any], usage: Usage, facts: Facts) -> dict[str, Any]:
        """A response that is over."""
        blocks = Blocks()
        blocks.feed(answer)
        blocks.close()
        return Envelope(self._request, facts).ended(blocks, usage)

    def translation(self, facts: Facts) -> ResponsesStream:
        """A stream of events."""
        return ResponsesStream(Envelope(self._request, facts))
