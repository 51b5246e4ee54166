"""What the events of one stream mean, and the bytes that go on to the caller.

Every event goes on as it came, byte for byte, except what the contract names: the model's name, a provider key that is
echoed, the usage-only chunk nobody asked for, and our cost inside the usage chunk somebody did ask for.

Chunks of a stream agree byte for byte except for the piece of text they carry. So the first one that is nothing but text is
taken apart and becomes a pattern; whatever fits the pattern is known to be nothing but text as well, and is passed on
without being parsed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from billing.usage import UsageTally
from providers.errors import AnswerUnreadable, UpstreamError
from providers.json_bytes import as_json, find_value, parse_json, replace_text
from providers.provider import Provider
from providers.sse import EventReader, EventTooLarge, data_of

REDACTED: Final = b"[redacted]"
SHORTEST_SECRET: Final = 8
"""A provider key shorter than this could be a word of the answer, and is not looked for."""

# Where produced text stands in a delta or message; MiniMax's reasoning_details repeats reasoning_content and does not count.
TEXT_FIELDS: Final = ("content", "reasoning_content", "reasoning", "refusal")

SHORTEST_RUN: Final = 4
"""Fewer events than this in one read are looked at one by one."""

_DONE_DATA: Final = b"[DONE]"
_CARRIAGE_RETURN: Final = 13
_TEXT_START: Final = re.compile(rb'"(content|reasoning_content|reasoning)"\s*:\s*"')
_TEXT_BODY: Final = re.compile(rb'[^"\\\r\n]*(?:\\[^\r\n][^"\\\r\n]*)*')


@dataclass(frozen=True, slots=True)
class _Pattern:
    """What stands before and behind the text of every chunk that is nothing but text, as it comes and as it goes."""

    before: bytes
    behind: bytes
    renamed_before: bytes
    renamed_behind: bytes
    least: int
    """The length of an event without any text."""


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
        self._model = json.dumps(public_model).encode()
        self._tally = tally
        self._wants_usage = wants_usage
        self._secret = secret.encode() if len(secret) >= SHORTEST_SECRET else b""
        self._usage_extra = usage_extra
        self._pattern: _Pattern | None = None
        self._owed: bytes | None = None
        """What to pass on if the next byte is the LF of a CR LF that was cut in two; None where that cannot be."""
        self.produced_bytes = 0
        """UTF-8 bytes of the text that was produced so far; for an estimate where no usage is reported."""
        self._reported_bytes = 0
        """What of them a report of usage can have spoken of: one made at the finish, after it, or without choices."""
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
        self.progressed = False
        if self.is_over:
            return b""
        out: list[bytes] = []
        if self._owed is not None:
            if data.startswith(b"\n"):
                # It goes where its CR went: with the next event it could be hidden, or hide what should be.
                out.append(self._owed)
                data = data[1:]
            self._owed = None
        rest = data[self._read_burst(data, out) :]
        try:
            events = self._reader.feed(rest)
        except EventTooLarge as error:
            raise AnswerUnreadable(str(error)) from error
        passed = b""
        for event in events:
            if self.done or self.error is not None:
                break
            passed = self._read(event)
            if passed:
                out.append(passed)
        if events and data[-1] == _CARRIAGE_RETURN and not self._reader.rest():
            self._owed = b"\n" if passed else b""
        passed = out[0] if len(out) == 1 else b"".join(out)
        if self._secret and self._secret in passed:
            return passed.replace(self._secret, REDACTED)
        return passed

    def _read_burst(self, data: bytes, out: list[bytes]) -> int:
        """Many events at once, where a provider sends in bursts: how many bytes, from the first on, were read.

        They are not even taken apart: where the pattern's two ends meet there is the border of two events.
        """
        end = data.find(b"\n\n") + 2
        if end * SHORTEST_RUN > len(data) or end < 2 or b"\r" in data or not self._reader.is_empty:
            return 0
        position = 0
        for _ in range(SHORTEST_RUN):
            pattern = self._pattern
            if pattern is not None and data.startswith(pattern.before, position):
                return position + self._pass_run(data, position, pattern, out)
            # The first events of a stream are those that a pattern is learnt from.
            passed = self._read(data[position:end])
            if passed:
                out.append(passed)
            position, end = end, data.find(b"\n\n", end) + 2
            if end < 2 or self.is_over:
                break
        return position

    def _pass_run(self, data: bytes, start: int, pattern: _Pattern, out: list[bytes]) -> int:
        """The bytes of the events, from ``start`` on, that fit the pattern one after another, passed on together."""
        border = pattern.behind + pattern.before
        last = data.rfind(border, start)
        end = data.find(pattern.behind, last + len(border)) if last >= 0 else -1
        if end < 0:
            return 0
        texts = data[start + len(pattern.before) : end].split(border)
        text = b"".join(texts)
        if b'"' in text or b"\\" in text or b"\n" in text:
            return 0
        self.progressed = True
        self.produced_bytes += len(text)
        renamed = (pattern.renamed_behind + pattern.renamed_before).join(texts)
        out.append(pattern.renamed_before + renamed + pattern.renamed_behind)
        return end + len(pattern.behind) - start

    @property
    def unreported_bytes(self) -> int:
        """How much of the text no report of usage can have spoken of."""
        return self.produced_bytes - self._reported_bytes

    @property
    def is_over(self) -> bool:
        """Whether nothing that follows matters any more: the stream is done, or told of an error."""
        return self.done or self.error is not None

    def _read(self, event: bytes) -> bytes:
        """One event; empty where it is not passed on."""
        pattern = self._pattern
        if (
            pattern is not None
            and len(event) >= pattern.least
            and event.startswith(pattern.before)
            and event.endswith(pattern.behind)
        ):
            text = event[len(pattern.before) : len(event) - len(pattern.behind)]
            if _is_text(text):
                self.progressed = True
                self.produced_bytes += _decoded_length(text)
                return pattern.renamed_before + text + pattern.renamed_behind
        data = data_of(event)
        if data is None:
            return event
        self.progressed = True
        if data.strip() == _DONE_DATA:
            self.done = True
            return b""
        return self._read_chunk(event, data)

    def _read_chunk(self, event: bytes, data: bytes) -> bytes:
        """An event that fits no pattern: parsed."""
        try:
            chunk = parse_json(data)
        except (ValueError, RecursionError):
            chunk = None
        if not isinstance(chunk, dict):
            # Not ours to judge while text flows; without any text it is no answer.
            return event
        usage, told = self._take_usage(chunk)
        self.error = self._dialect.read_hidden_error(chunk)
        if self.error is not None:
            return b""
        choices = chunk.get("choices")
        if isinstance(choices, list):
            for choice in choices:
                if isinstance(choice, dict):
                    self._take_choice(choice)
            if told and (self.finished or not choices):
                self._reported_bytes = self.produced_bytes
            if not choices and usage is not None and not self._wants_usage:
                return b""
            if usage is None and len(choices) == 1 and not self.finished:
                self._pattern = self._learn(event, choices[0]) or self._pattern
        event = replace_text(event, b"model", self._model)
        if usage is not None and self._wants_usage and (self.finished or not choices):
            return self._with_cost(event)
        return event

    def _learn(self, event: bytes, choice: object) -> _Pattern | None:
        """The pattern of an event whose only news is a piece of text; None where it has other news, or none."""
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if not isinstance(delta, dict) or not event.startswith(b"data: {") or event.find(b"\n") != len(event) - 2:
            return None
        news = [name for name, value in delta.items() if value and name != "role"]
        starts = [found for found in _TEXT_START.finditer(event) if found[1].decode() in news]
        if len(news) != 1 or len(starts) != 1:
            return None
        start = starts[0].end()
        body = _TEXT_BODY.match(event, start)
        assert body is not None, "the empty text matches too"
        end = body.end()
        if json.loads(b'"' + event[start:end] + b'"') != delta[news[0]]:
            return None
        before, behind = event[:start], event[end:]
        span = find_value(event, b"model")
        renamed_before, renamed_behind = before, behind
        if span is not None and event[span[0] : span[0] + 1] == b'"':
            if span[1] <= start:
                renamed_before = event[: span[0]] + self._model + event[span[1] : start]
            else:
                renamed_behind = event[end : span[0]] + self._model + event[span[1] :]
        return _Pattern(before, behind, renamed_before, renamed_behind, len(before) + len(behind))

    def _take_usage(self, chunk: Mapping[str, Any]) -> tuple[object, bool]:
        """Read usage from the chunk, or from a choice as Kimi sends it; the top-level one, if any, and whether there was
        one anywhere."""
        told = False
        choices = chunk.get("choices")
        if isinstance(choices, list):
            for choice in choices:
                if isinstance(choice, dict) and choice.get("usage") is not None:
                    self._tally.take(choice["usage"])
                    told = True
        usage = chunk.get("usage")
        if usage is not None:
            self._tally.take(usage)
        return usage, told or usage is not None

    def _take_choice(self, choice: Mapping[str, Any]) -> None:
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            delta = choice.get("message")
        if isinstance(delta, dict) and has_content(delta):
            self.produced = self.begun = True
            self.produced_bytes += produced_bytes_of(delta)
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


def _is_text(text: bytes) -> bool:
    """Whether bytes are the inside of a JSON string, on one line."""
    if b"\\" not in text and b'"' not in text:
        return b"\n" not in text and b"\r" not in text
    return _TEXT_BODY.fullmatch(text) is not None


def _decoded_length(text: bytes) -> int:
    """UTF-8 bytes of the inside of a JSON string."""
    if b"\\" not in text:
        return len(text)
    try:
        return len(json.loads(b'"' + text + b'"').encode("utf-8", "surrogatepass"))
    except ValueError:
        return len(text)


def has_content(message: Mapping[str, Any]) -> bool:
    """Whether a delta or message holds anything that was produced: text, reasoning or a tool call."""
    if any(message.get(field) for field in TEXT_FIELDS):
        return True
    return bool(message.get("tool_calls") or message.get("function_call") or message.get("audio"))


def produced_bytes_of(message: Mapping[str, Any]) -> int:
    """UTF-8 bytes of what a delta or message holds: text, reasoning, the names and arguments of tool calls."""
    texts = [message.get(field) for field in TEXT_FIELDS]
    calls = message.get("tool_calls")
    functions = [call.get("function") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    for function in [*functions, message.get("function_call")]:
        if isinstance(function, dict):
            texts += [function.get("name"), function.get("arguments")]
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts if isinstance(text, str))


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
    return [as_json(chunk) for chunk in chunks]
