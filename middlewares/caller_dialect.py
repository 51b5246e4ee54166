"""What a route that is not OpenAI's chat completions must be able to say, so that its calls are chat completions in between.

A caller's dialect stands at both edges of a call: it turns the body that was read into a chat completion's, and whatever is
answered into its own words. Everything between, money above all, sees a chat completion and nothing else. Dialects do no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from billing.usage import Usage


@dataclass(frozen=True, slots=True)
class Facts:
    """What an answer tells of its call besides what was said."""

    request_id: str
    created: int
    """When the call came in, in seconds since 1970."""
    model: Callable[[], str]
    """The public model that serves; to be asked when there is content."""


class Translation(Protocol):
    """One stream of a chat completion on its way into other words."""

    def feed(self, data: bytes) -> bytes:
        """What a piece of the chat stream becomes, however it is cut. Raises AnswerUnreadable for more than can be kept."""
        ...

    def end(self, usage: Usage, comments: bytes) -> bytes:
        """The last bytes of a stream that is whole, with our comments in them."""
        ...

    def fail(self, status: int, body: dict[str, Any]) -> bytes:
        """The last bytes of a stream that broke; ``body`` is our error body, ``status`` what it would have been answered with."""
        ...


class CallerDialect(Protocol):
    """One call's translator. It may keep of the request what its answer has to repeat."""

    def read_request(self, document: dict[str, Any]) -> dict[str, Any]:
        """The body as a chat completion's, with our own fields in it. Raises a Refusal that names the caller's field."""
        ...

    def tell_error(self, status: int, body: dict[str, Any]) -> dict[str, Any]:
        """Our error body in the dialect's shape."""
        ...

    def tell_answer(self, answer: Mapping[str, Any], usage: Usage, facts: Facts) -> dict[str, Any]:
        """A plain chat completion in the dialect's shape. Total: whatever a provider put into ``answer`` becomes something."""
        ...

    def translation(self, facts: Facts) -> Translation:
        """For a stream."""
        ...
