"""What the events of one stream mean, and the bytes that go on to the caller.

Every event goes on as it came, byte for byte, except what the contract names: the model's name, a provider key that is
echoed, the usage-only chunk nobody asked for, and our cost inside the usage chunk somebody did ask for. Most events need
no parsing at all: a few searches tell that a chunk carries neither usage nor a finish reason nor an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from billing.usage import UsageTally
from providers.errors import AnswerUnreadable, UpstreamError
from providers.json_bytes import Renamer, find_value
from providers.provider import Provider
from providers.sse import EventReader, EventTooLarge, data_of

REDACTED: Final = b"[redacted]"

TEXTS_KEPT_BYTES: Final = 256 * 1024
"""Chunks are kept unparsed up to this size, in case the provider reports no usage and their text must be counted."""

# Where produced text stands in a delta or message; reasoning_details repeats reasoning_content and does not count.
TEXT_FIELDS: Final = ("content", "reasoning_content", "reasoning", "refusal", "arguments")

_DONE_DATA: Final = b"[DONE]"


class ChunkStream:
    """Reads one upstream stream. Feed it bytes; it returns bytes for the caller and remembers what they meant."""

    def __init__(
        self,
        dialect: Provider,
        public_model: str,
        *,
        tally: UsageTally,
        wants_usage: bool,
        secret: str,
        usage_extra: Callable[[], bytes],
    ) -> None:
        """``secret``: the provider key in use, never to be passed on. ``usage_extra``: JSON members (without braces) to be
        added to the usage the caller asked for."""
        self._reader = EventReader()
        self._dialect = dialect
        self._renamer = Renamer(public_model)
        self._tally = tally
        self._wants_usage = wants_usage
        self._secret = secret.encode() if len(secret) >= 8 else b""
        self._usage_extra = usage_extra
        self._unread: list[bytes] = []
        self._unread_bytes = 0
        self._produced_bytes = 0
        self.begun = False
        """Whether content (text, reasoning, a tool call) or a finish reason has arrived."""
        self.produced = False
        """Whether any content has arrived."""
        self.finished = False
        """Whether a finish reason has arrived."""
        self.done = False
        """Whether `[DONE]` has arrived; what follows it is not read."""
        self.progressed = False
        """Whether the last bytes held an event with data: comments are not progress."""
        self.error: UpstreamError | None = None
        """An error event; what came before it has been returned, nothing after it is."""

    def feed(self, data: bytes) -> bytes:
        """The bytes to pass on for ``data``; the final `[DONE]` is held back. Raises AnswerUnreadable for an endless event."""
        try:
            events = self._reader.feed(data)
        except EventTooLarge as error:
            raise AnswerUnreadable(str(error)) from error
        self.progressed = False
        out = []
        for event in events:
            if self.is_over:
                break
            passed = self._read(event)
            if passed:
                out.append(passed)
        if len(out) == 1:
            return self._without_secret(out[0])
        return self._without_secret(b"".join(out))

    @property
    def is_over(self) -> bool:
        """Whether nothing that follows matters any more: the stream is done, or told of an error."""
        return self.done or self.error is not None

    def produced_bytes(self) -> int:
        """UTF-8 bytes of the text that was produced so far; for an estimate where no usage is reported."""
        self._count_unread()
        return self._produced_bytes

    def _read(self, event: bytes) -> bytes:
        data = data_of(event)
        if data is None:
            return event
        self.progressed = True
        if self.begun and _is_plain(data):
            self._keep(data)
            return self._renamer.rename(event)
        if data.strip() == _DONE_DATA:
            self.done = True
            return b""
        return self._read_parsed(event, data)

    def _read_parsed(self, event: bytes, data: bytes) -> bytes:
        """An event that says more than a piece of text."""
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            # Not ours to judge while text flows; without any text it is no answer.
            return event
        if not isinstance(chunk, dict):
            return event
        self.error = self._dialect.read_hidden_error(chunk)
        if self.error is not None:
            return b""
        usage = self._take_usage(chunk)
        choices = chunk.get("choices")
        if isinstance(choices, list):
            for choice in choices:
                if isinstance(choice, dict):
                    self._take_choice(choice)
            if not choices and usage is not None and not self._wants_usage:
                return b""
        self._keep(data)
        event = self._renamer.rename(event)
        if usage is not None and self._wants_usage and (self.finished or not choices):
            return self._with_cost(event)
        return event

    def _take_usage(self, chunk: Mapping[str, Any]) -> object:
        """Read usage from the chunk, or from a choice as Kimi sends it; the top-level one, if any."""
        choices = chunk.get("choices")
        if isinstance(choices, list):
            for choice in choices:
                if isinstance(choice, dict) and choice.get("usage") is not None:
                    self._tally.take(choice["usage"])
        usage = chunk.get("usage")
        if usage is not None:
            self._tally.take(usage)
        return usage

    def _take_choice(self, choice: Mapping[str, Any]) -> None:
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            delta = choice.get("message")
        if isinstance(delta, dict) and has_content(delta):
            self.produced = self.begun = True
        if choice.get("finish_reason") is not None:
            self.finished = self.begun = True

    def _with_cost(self, event: bytes) -> bytes:
        """Our cost members put behind the last member of the event's usage object."""
        span = find_value(event, b"usage")
        if span is None or event[span[0] : span[0] + 1] != b"{":
            return event
        end = span[1] - 1
        comma = b"" if event[span[0] + 1 : end].strip() == b"" else b","
        return event[:end] + comma + self._usage_extra() + event[end:]

    def _without_secret(self, data: bytes) -> bytes:
        if self._secret and self._secret in data:
            return data.replace(self._secret, REDACTED)
        return data

    def _keep(self, data: bytes) -> None:
        self._unread.append(data)
        self._unread_bytes += len(data)
        if self._unread_bytes > TEXTS_KEPT_BYTES:
            self._count_unread()

    def _count_unread(self) -> None:
        self._produced_bytes += sum(map(text_bytes_of, self._unread))
        self._unread.clear()
        self._unread_bytes = 0


def _is_plain(data: bytes) -> bool:
    """Whether a chunk surely carries no usage, no finish reason and no error, so that it need not be parsed."""
    return (
        data.startswith(b"{")
        and b'"choices"' in data
        and b'"error"' not in data
        and b'"base_resp"' not in data
        and _only_null(data, b'"usage"')
        and _only_null(data, b'"finish_reason"')
    )


def _only_null(data: bytes, name: bytes) -> bool:
    times = data.count(name)
    return times == 0 or times == data.count(name + b":null") + data.count(name + b": null")


def has_content(message: Mapping[str, Any]) -> bool:
    """Whether a delta or message holds anything that was produced: text, reasoning or a tool call."""
    if any(message.get(field) for field in TEXT_FIELDS):
        return True
    return bool(message.get("tool_calls") or message.get("function_call") or message.get("audio"))


_TEXT: Final = re.compile(
    rb'"(?:' + b"|".join(field.encode() for field in TEXT_FIELDS) + rb')"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")'
)


def text_bytes_of(document: bytes) -> int:
    """UTF-8 bytes of the texts in a chunk or answer, escapes decoded."""
    total = 0
    for found in _TEXT.finditer(document):
        literal = found.group(1)
        if b"\\" in literal:
            try:
                total += len(json.loads(literal).encode("utf-8", "surrogatepass"))
                continue
            except ValueError:
                pass
        total += len(literal) - 2
    return total


def chunks_of_answer(answer: Mapping[str, Any], created: int) -> list[bytes]:
    """A plain answer as stream chunks (JSON): everything at once, then the finish, then usage with no choices.

    For upstreams that cannot stream, or that answered a stream request with plain JSON.
    """
    head = {
        "id": answer.get("id", ""),
        "object": "chat.completion.chunk",
        "created": answer.get("created", created),
        "model": answer.get("model", ""),
    }
    contents, finishes = [], []
    for position, choice in enumerate(answer.get("choices") or []):
        index = choice.get("index", position)
        said = choice.get("message")
        message = dict(said) if isinstance(said, Mapping) else {}
        message["role"] = "assistant"
        if isinstance(calls := message.get("tool_calls"), list):
            numbered = enumerate(call for call in calls if isinstance(call, Mapping))
            message["tool_calls"] = [{"index": number, **call} for number, call in numbered]
        contents.append({"index": index, "delta": message, "finish_reason": None})
        finishes.append({"index": index, "delta": {}, "finish_reason": choice.get("finish_reason") or "stop"})
    chunks = [{**head, "choices": contents}, {**head, "choices": finishes}]
    if answer.get("usage") is not None:
        chunks.append({**head, "choices": [], "usage": answer["usage"]})
    return [
        json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        for chunk in chunks
    ]
