"""Promises of the chunk stream: what comes in goes out byte for byte except what is named, and means what it says."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from billing.usage import Usage, UsageTally
from providers import errors
from providers.catalogue import DIALECTS
from providers.chunks import ChunkStream, chunks_of_answer, has_content, produced_bytes_of
from providers.sse import DONE, EVENT_LIMIT_BYTES, comment, encode
from simulator.answer import Answer, Choice, ToolCall
from simulator.answer import Usage as ReportedUsage
from simulator.frames import event
from simulator.request import read_request
from simulator.settings import Settings
from simulator.vendors import SHAPES

PUBLIC = "public-model"
SECRET = "sk-0123456789abcdef"
EXTRA = {"cost": 7, "is_byok": False}


def stream(
    dialect: str = "openai", *, wants_usage: bool = False, secret: str = SECRET, tally: UsageTally | None = None
) -> ChunkStream:
    return ChunkStream(
        DIALECTS[dialect],
        PUBLIC,
        tally=tally if tally is not None else UsageTally(),
        wants_usage=wants_usage,
        secret=secret,
        usage_extra=lambda: json.dumps(EXTRA)[1:-1].encode(),
    )


def chunk(delta: Any = None, *, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """A chunk in the usual form; ``fields`` come last."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"id": "c-1", "object": "chat.completion.chunk", "model": "up", "choices": choices, **fields}


def text(content: str, **fields: Any) -> bytes:
    return event(chunk({"content": content}, **fields))


def public(sent: bytes) -> bytes:
    return sent.replace(b'"model":"up"', b'"model":"public-model"')


# The whole stream of every provider, as its simulation sends it, against a model of what must become of it.


@dataclass(frozen=True)
class Form:
    """How a provider might write the same stream: spaces, escapes, line ends."""

    separators: tuple[str, str] = (",", ":")
    ensure_ascii: bool = False
    line_end: bytes = b"\n"

    def write(self, value: Any) -> bytes:
        written = json.dumps(value, separators=self.separators, ensure_ascii=self.ensure_ascii)
        return written.encode()

    def event(self, value: Any) -> bytes:
        return b"data: " + self.write(value) + 2 * self.line_end


@dataclass
class Expected:
    """What a stream must come to: computed by parsing and writing again, which the stream itself never does."""

    form: Form
    wants_usage: bool
    out: list[bytes] = field(default_factory=list)
    produced_bytes: int = 0
    finished: bool = False

    def take(self, sent: bytes) -> None:
        try:
            parsed = json.loads(sent.removeprefix(b"data: "))
            choices = parsed["choices"]
        except (ValueError, TypeError, KeyError):
            self.out.append(sent)
            return
        for choice in choices:
            self.produced_bytes += sum(len(said.encode()) for said in _texts(choice["delta"]))
            self.finished = self.finished or choice.get("finish_reason") is not None
        usage = parsed.get("usage")
        if usage is not None and not choices and not self.wants_usage:
            return
        passed = self.form.event({**parsed, "model": PUBLIC})
        if usage is not None and self.wants_usage and (self.finished or not choices):
            written = self.form.write(usage)
            before, found, behind = passed.rpartition(written)
            assert found
            passed = before + written[:-1] + b"," + json.dumps(EXTRA)[1:-1].encode() + b"}" + behind
        self.out.append(passed)


def _texts(delta: dict[str, Any]) -> list[str]:
    """Every text in a delta but MiniMax's repetition, ids and types."""
    texts = [delta[name] for name in ("content", "reasoning_content", "reasoning") if delta.get(name)]
    functions = [call["function"] for call in delta.get("tool_calls") or []]
    return texts + [function[name] for function in functions for name in ("name", "arguments") if function.get(name)]


_PIECES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12) | st.sampled_from(
    [
        "Hello ",
        "你好",
        "😀",
        '"',
        "\\",
        '"model":"up"',
        '","finish_reason":"stop',
        "}]}",
        "\n\n",
        "\r",
        "data: [DONE]",
        SECRET,
        "x" * 50,
    ]
)
_CHOICES = st.builds(
    Choice,
    reasoning=st.lists(_PIECES, max_size=4).map(tuple),
    pieces=(st.lists(_PIECES, max_size=8) | st.lists(st.sampled_from(["a ", "b ", "你好"]), max_size=60)).map(tuple),
    tool_calls=st.lists(
        st.builds(ToolCall, st.just("f"), st.lists(_PIECES, min_size=1, max_size=3).map(tuple)), max_size=1
    ).map(tuple),
    finish=st.sampled_from(["stop", "length", "tool_calls", "content_filter"]),
)
_USAGES = st.builds(ReportedUsage, st.integers(1, 99), st.integers(0, 99), st.integers(0, 9), st.integers(0, 9))
_PLACES = st.sampled_from(
    [(), (), ("finish",), ("choice",), ("trailing",), ("trailing_choice",), ("choice", "trailing")]
)
_FORMS = st.builds(
    Form, st.sampled_from([(",", ":"), (", ", ": ")]), st.booleans(), st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])
)
_CUTS = st.lists(st.integers(0, 6000), max_size=20) | st.just(range(6000))
_BROKEN = st.sampled_from(
    [
        b": keep-alive",
        b"event: ping",
        b'data: {"choices":[{"delta":{"content":"cut',
        b"data: hello",
        b"data: [1]",
        b"data:",
    ]
)


@settings(deadline=None, print_blob=True)
@given(
    name=st.sampled_from(sorted(SHAPES)),
    choices=st.lists(_CHOICES, min_size=1, max_size=2).map(tuple),
    usage=_USAGES | st.none(),
    places=_PLACES,
    wants_usage=st.booleans(),
    form=_FORMS,
    cuts=_CUTS,
    broken=st.lists(st.tuples(st.integers(0, 20), _BROKEN), max_size=3),
)
def test_a_stream_passes_byte_for_byte_but_for_what_is_named(
    name: str,
    choices: tuple[Choice, ...],
    usage: ReportedUsage | None,
    places: tuple[str, ...],
    wants_usage: bool,
    form: Form,
    cuts: Iterable[int],
    broken: list[tuple[int, bytes]],
) -> None:
    """Every provider's stream, in any form, with comments and broken events in it, however it is cut: the model's name, the
    hidden usage chunk, our cost, an echoed key and `[DONE]` are all that changes; its texts and its usage are counted."""
    request = read_request(
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"stream_options":{"include_usage":true}}'
    )
    frames = SHAPES[name].frames(request, Answer("up", 1, choices, usage), Settings(usage_places=places))
    sent = [form.event(json.loads(frame.data[6:])) for frame in frames[:-1]]
    for place, line in broken:
        sent.insert(min(place, len(sent)), line + 2 * form.line_end)
    expected = Expected(form, wants_usage)
    for one in sent:
        expected.take(one)
    tally = UsageTally()
    chunks = stream(name, wants_usage=wants_usage, tally=tally)
    document = b"".join(sent) + b"data: [DONE]" + 2 * form.line_end + b"data: never read\n\n"
    out = b"".join(chunks.feed(part) for part in _split(document, cuts))

    wanted = b"".join(expected.out).replace(SECRET.encode(), b"[redacted]")
    assert wanted == out
    assert (True, expected.finished) == (chunks.done, chunks.finished)
    assert expected.produced_bytes == chunks.produced_bytes
    assert (expected.produced_bytes > 0) == chunks.produced
    if usage is None:
        assert None is tally.usage()
    else:
        counted = tally.usage()
        assert counted is not None
        assert (usage.prompt_tokens, usage.completion_tokens) == (counted.prompt_tokens, counted.completion_tokens)


def _split(document: bytes, cuts: Iterable[int]) -> list[bytes]:
    edges = sorted({0, len(document), *(cut for cut in cuts if cut < len(document))})
    return [document[start:end] for start, end in itertools.pairwise(edges)]


# What is passed on, and what not.


def test_the_usage_chunk_nobody_asked_for_is_hidden() -> None:
    """Only that one: usage beside choices, however empty, stays where it is."""
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    tally = UsageTally()
    chunks = stream(tally=tally)

    assert b"" == chunks.feed(event(chunk(usage=usage)))
    assert Usage(1, 2) == tally.usage()
    assert public(text("", usage=usage)) == chunks.feed(text("", usage=usage))
    assert public(event(chunk())) == chunks.feed(event(chunk()))
    assert public(event(chunk(usage=None))) == chunks.feed(event(chunk(usage=None)))


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (b'{"prompt_tokens":1}', b'{"prompt_tokens":1,"cost": 7, "is_byok": false}'),
        (b'{"a":{"b":[1]} }', b'{"a":{"b":[1]} ,"cost": 7, "is_byok": false}'),
        (b"{}", b'{"cost": 7, "is_byok": false}'),
        (b"{ }", b'{ "cost": 7, "is_byok": false}'),
        (b"7", b"7"),
        (b'"many"', b'"many"'),
        (b"[]", b"[]"),
    ],
)
def test_the_cost_is_put_into_the_usage_that_was_asked_for(usage: bytes, expected: bytes) -> None:
    """As its last members, and only into an object."""
    actual = stream(wants_usage=True).feed(b'data: {"choices":[],"usage":' + usage + b',"model":"up"}\n\n')

    assert b'data: {"choices":[],"usage":' + expected + b',"model":"public-model"}\n\n' == actual.replace(b"{ ,", b"{ ")


def test_the_cost_waits_for_the_end() -> None:
    """StepFun reports what there is so far in every chunk; only from the finish on it is what will be charged."""
    chunks = stream("stepfun", wants_usage=True)
    usage = {"prompt_tokens": 1, "completion_tokens": 1}

    assert b"cost" not in chunks.feed(text("x", usage=usage))
    assert b'"cost": 7' in chunks.feed(event(chunk({}, finish="stop", usage=usage)))
    assert b"cost" not in chunks.feed(event(chunk({}, usage=None)))


def test_usage_is_read_wherever_it_stands() -> None:
    """Kimi puts it into the choice, where a null at the top must not hide it."""
    tally = UsageTally()
    chunks = stream("kimi", tally=tally)
    chunks.feed(text("Hello"))
    sent = chunk({}, finish="stop", usage=None)
    sent["choices"][0]["usage"] = {"prompt_tokens": 8, "completion_tokens": 9, "cached_tokens": 1}

    assert public(event(sent)) == chunks.feed(event(sent))
    assert Usage(8, 9, cached_tokens=1) == tally.usage()


def test_what_no_report_speaks_of() -> None:
    """Text after the last report of a completion, and text that came with one before the finish: a provider that sends
    zeros in every chunk has not told of it. What came before a report made at the finish, or without choices, it has."""
    zeros = {"prompt_tokens": 5, "completion_tokens": 0}
    chunks = stream()
    told = []
    for sent in (
        text("four", usage=zeros),
        text("four"),
        event(chunk({}, usage=zeros)),
        text("four"),
        event(chunk({"content": "four"}, finish="stop", usage=zeros)),
        event(chunk({}, usage={"prompt_tokens": 5})),
    ):
        chunks.feed(sent)
        told.append(chunks.unreported_bytes)
    alone = stream()
    for sent in (text("four"), event(chunk(usage=zeros))):
        alone.feed(sent)

    assert [4, 8, 8, 12, 0, 0] == told
    assert 0 == alone.unreported_bytes


def test_an_echoed_key_is_redacted() -> None:
    """Wherever it stands in an event, in one that is not parsed as well; a key too short to be one is not looked for."""
    said = f"your key {SECRET} and {SECRET}!"
    chunks = stream()
    chunks.feed(text("x"))

    assert public(text("your key [redacted] and [redacted]!")) == chunks.feed(text(said))
    assert b"data: [redacted]\n\n" == chunks.feed(b"data: " + SECRET.encode() + b"\n\n")
    assert b": [redacted]\n\n" == chunks.feed(comment(SECRET))
    assert public(text("short1")) == stream(secret="short1").feed(text("short1"))
    assert public(text("any")) == stream(secret="").feed(text("any"))


@pytest.mark.parametrize(
    "sent",
    [
        b"data: {broken\n\n",
        b"data: \n\n",
        b"data: null\n\n",
        b"data: [1]\n\n",
        b'data: "x"\n\n',
        b'data: {"\xff":1}\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
    ],
    ids=lambda sent: str(sent[:16]),
)
def test_what_is_no_chunk_is_passed_on(sent: bytes) -> None:
    """Before and after the first content; it is no content itself, but it is a sign of life."""
    chunks = stream()

    assert sent == chunks.feed(sent)
    assert (False, True) == (chunks.begun, chunks.progressed)
    chunks.feed(text("Hello"))
    assert sent == chunks.feed(sent)
    assert 5 == chunks.produced_bytes


@pytest.mark.parametrize(
    "choices", [None, "x", {}, [None, 7, "x"], [{"delta": "x"}], [{"delta": {"content": None}}], [{}]]
)
def test_odd_choices_are_passed_on(choices: Any) -> None:
    """What has no choices that we know is still a chunk of the provider's, and no content."""
    sent = event({"choices": choices, "model": "up"})
    chunks = stream()

    assert public(sent) == chunks.feed(sent)
    assert (False, False) == (chunks.begun, chunks.error is not None)


# What it means.


@pytest.mark.parametrize(
    "message",
    [
        {"content": "x"},
        {"content": [{"type": "text", "text": "x"}]},
        {"reasoning_content": "x"},
        {"reasoning": "x"},
        {"refusal": "x"},
        {"tool_calls": [{"function": {"name": "f"}}]},
        {"function_call": {"name": "f"}},
        {"audio": {"data": "x"}},
    ],
)
def test_what_counts_as_content(message: dict[str, Any]) -> None:
    """Text, thoughts, refusals, calls and sound begin a stream, in a delta as in a message."""
    for place in ("delta", "message"):
        chunks = stream()
        chunks.feed(event({"choices": [{"index": 0, place: message}]}))

        assert (True, True, False) == (chunks.begun, chunks.produced, chunks.finished)
    assert has_content(message)


@pytest.mark.parametrize(
    "message", [{}, {"role": "assistant", "content": ""}, {"content": None, "tool_calls": []}, {"name": "x"}]
)
def test_what_does_not(message: dict[str, Any]) -> None:
    """A role, a name, an empty text begin nothing."""
    chunks = stream()
    chunks.feed(event(chunk(message)))

    assert (False, False, False) == (chunks.begun, chunks.produced, chunks.finished)
    assert not has_content(message)


def test_a_finish_begins_but_produces_nothing() -> None:
    """A proper finish without a word is an answer."""
    chunks = stream()
    chunks.feed(event(chunk({}, finish="stop")))

    assert (True, False, True) == (chunks.begun, chunks.produced, chunks.finished)


def test_comments_and_halves_are_no_progress() -> None:
    """Only an event with data says that the provider is at work."""
    chunks = stream()
    progressed = []
    for data in (
        comment("keep-alive"),
        text("x"),
        text("x"),
        b"event: ping\n\n",
        text("x")[:9],
        text("x")[9:],
        b"\n\n",
        text("y") + b": c\n\n",
    ):
        chunks.feed(data)
        progressed.append(chunks.progressed)

    assert [False, True, True, False, False, True, False, True] == progressed


def test_nothing_is_read_behind_done() -> None:
    """`[DONE]` is held back for the bill to go before it; what follows it, in the same bytes or later, is dropped."""
    chunks = stream()

    assert public(text("x")) == chunks.feed(text("x") + b"data:[DONE] \n\n" + text("y"))
    assert (True, True) == (chunks.done, chunks.is_over)
    assert b"" == chunks.feed(text("z"))
    assert (False, 1) == (chunks.progressed, chunks.produced_bytes)


_ERRORS = [
    (name, refusal)
    for name, shape in SHAPES.items()
    for refusal in ("overloaded", "server_error", "rate_limited")
    if refusal in shape.refusals
]


@pytest.mark.parametrize(("name", "refusal"), _ERRORS)
@pytest.mark.parametrize("begun", [False, True])
def test_an_error_event_ends_the_stream(name: str, refusal: str, begun: bool) -> None:
    """In every provider's own form: what came before it is passed on, it and what follows is not."""
    chunks = stream(name)
    before = text("Hello") * 2 if begun else b""
    out = chunks.feed(before + SHAPES[name].error_event(SHAPES[name].refusal(refusal)) + text("never"))

    assert public(before) == out
    assert isinstance(chunks.error, errors.UpstreamError)
    assert (False, True, 10 * begun) == (chunks.done, chunks.is_over, chunks.produced_bytes)
    assert b"" == chunks.feed(text("never"))


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (chunk({}, finish="insufficient_system_resource"), errors.ProviderOverloaded),
        (chunk({}, finish="network_error"), errors.ProviderFailed),
        ({"code": "InternalError", "message": "m"}, errors.ProviderFailed),
        ({"choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}}, errors.ProviderFailed),
        (chunk({"content": "x"}, error={"message": "m", "code": 503}), errors.ProviderOverloaded),
    ],
)
def test_errors_that_look_like_chunks(sent: dict[str, Any], expected: type[errors.UpstreamError]) -> None:
    """A finish reason by which the provider gives up, a flat error, an error beside choices: found after text as well."""
    for before in (b"", text("x") * 3):
        chunks = stream()

        assert public(before) == chunks.feed(before + event(sent))
        assert expected is type(chunks.error)


def test_an_event_without_end_is_refused() -> None:
    """A provider that never ends an event cannot fill our memory."""
    with pytest.raises(errors.AnswerUnreadable, match="more than"):
        stream().feed(b"data: " + b"x" * EVENT_LIMIT_BYTES)


# Chunks that look like the ones before.

_LATER: dict[str, Callable[[bytes], bytes]] = {
    "another text": lambda sent: sent.replace(b'"A"', b'"B"'),
    "no text": lambda sent: sent.replace(b'"A"', b'""'),
    "an escaped text": lambda sent: sent.replace(b'"A"', b'"\\"\\u4f60\\\\"'),
    "a finish in the text's place": lambda sent: sent.replace(
        b'"A"', b'"A"},"finish_reason":"stop","x":{"content":"B"'
    ),
    "a second choice": lambda sent: sent.replace(
        b'"A"', b'"A"}},{"index":1,"finish_reason":"stop","delta":{"content":"B"'
    ),
    "an error behind the text": lambda sent: sent.replace(
        b'"A"', b'"A"}}],"error":{"message":"m"},"x":[{"x":{"content":"B"'
    ),
    "usage behind the text": lambda sent: sent.replace(
        b'"A"', b'"A"}}],"usage":{"prompt_tokens":1,"completion_tokens":2},"x":[{"x":{"content":"B"'
    ),
    "another model": lambda sent: sent.replace(b'"up"', b'"up-2"'),
    "no model": lambda sent: sent.replace(b'"up"', b"null"),
    "a model inside": lambda sent: sent.replace(b'"A"', b'"A","model":"up"'),
    "a text that is not closed": lambda sent: sent.replace(b'"A"', b'"A\\"'),
    "a quote too few": lambda sent: sent.replace(b'"A"', b'"'),
    "a raw line end": lambda sent: sent.replace(b'"A"', b'"A\ndata: B"'),
    "another finish": lambda sent: sent.replace(b"null", b'"stop"'),
}


@pytest.mark.parametrize("later", _LATER.values(), ids=_LATER.keys())
@pytest.mark.parametrize(
    "first",
    [
        b'data: {"id":"1","model":"up","choices":[{"delta":{"content":"A"},"finish_reason":null}]}\n\n',
        b'data: {"choices":[{"finish_reason":null,"delta":{"content":"A"}}],"model":"up"}\n\n',
        b'data: {"choices": [{"delta": {"content" : "A", "role": "assistant"}, "finish_reason": null}], "model":"up"}\n\n',
        b'data: {"choices":[{"delta":{"reasoning_content":"A","content":""},"finish_reason":null}],"model":"up"}\n\n',
        b'data: {"choices":[{"delta":{"content":"A"},"finish_reason":null}]}\n\n',
        b'data: {"content":"A","choices":[{"delta":{"content":"A"},"finish_reason":null}],"model":"up"}\n\n',
        b'data: {"choices":[{"delta":{"content":"A","name":"N"},"finish_reason":null}],"model":"up"}\n\n',
        b'data: {"choices":[{"delta":{"content":["A"]},"finish_reason":null}],"model":"up"}\n\n',
        b'data: {"choices":[{"delta":{"content":"A","refusal":"no"},"finish_reason":null}],"model":"up"}\n\n',
        b'data: {"content":"A","choices":[{"delta":{"content":["A"]},"finish_reason":null}],"model":"up"}\n\n',
        b'data: {"choices":[{"delta":{"content":"A"},"finish_reason":null}],\ndata: "model":"up"}\n\n',
        b'data:{"choices":[{"delta":{"content":"A"},"finish_reason":null}],"model":"up"}\n\n',
        b'data: {"choices":[{"delta":{"cont\\u0065nt":"A","x\\"content":"A"},"finish_reason":null}],"model":"up"}\n\n',
    ],
)
def test_what_was_seen_before_never_misleads(first: bytes, later: Callable[[bytes], bytes]) -> None:
    """A chunk after others of its kind comes to the same as it would alone: in bytes, in text, in usage, in errors."""
    seen, alone = UsageTally(), UsageTally()
    chunks, fresh = stream(tally=seen), stream(tally=alone)
    chunks.feed(first * 2)
    before = chunks.produced_bytes
    sent = later(first)

    assert fresh.feed(sent) == chunks.feed(sent)
    assert fresh.produced_bytes == chunks.produced_bytes - before
    assert (fresh.finished, type(fresh.error)) == (chunks.finished, type(chunks.error))
    assert alone.usage() == seen.usage()


_FIRST = b'data: {"id":"1","model":"up","choices":[{"delta":{"content":"A"},"finish_reason":null}]}\n\n'
_IN_A_BURST = st.sampled_from(
    [_FIRST] * 6
    + [
        _FIRST.replace(b'"A"', b'"' + said + b'"')
        for said in (b"", "你".encode(), b'\\"', b"\\u4f60", b"\\x", b"\r", b"\r\r", b"\t", b"\n")
    ]
    + [later(_FIRST) for later in _LATER.values()]
    + [b": keep-alive\n\n", b"\n\n", b"data: {broken\n\n", DONE, _FIRST.replace(b"\n\n", b"\r\n\r\n")]
)


@settings(deadline=None, print_blob=True)
@given(st.lists(_IN_A_BURST, min_size=1, max_size=12), st.integers(0, 40), st.integers(0, 40), st.booleans())
@example(odd=[_FIRST.replace(b'"A"', b'"\r\r"')], before=4, behind=4, wants_usage=False)
def test_a_burst_comes_to_the_same_as_its_events(odd: list[bytes], before: int, behind: int, wants_usage: bool) -> None:
    """Many events in one read, whatever stands among them: the same bytes, text, usage and end as one by one."""
    sent = [_FIRST, *[_FIRST] * before, *odd, *[_FIRST] * behind]
    at_once, one_by_one = UsageTally(), UsageTally()
    burst, single = (stream(tally=tally, wants_usage=wants_usage) for tally in (at_once, one_by_one))
    out = burst.feed(b"".join(sent))

    assert b"".join(single.feed(one) for one in sent) == out
    assert single.produced_bytes == burst.produced_bytes
    assert (single.finished, single.done, type(single.error)) == (burst.finished, burst.done, type(burst.error))
    assert one_by_one.usage() == at_once.usage()


def test_a_broken_escape_counts_as_it_came() -> None:
    """No JSON reader takes it, but amid text it is passed on like its neighbours and counted by its bytes."""
    chunks = stream()
    chunks.feed(text("A"))
    sent = text("A").replace(b'"A"', b'"\\x"')

    assert public(sent) == chunks.feed(sent)
    assert 1 + 2 == chunks.produced_bytes


# Plain answers.


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"content": "你好", "reasoning_content": "hm", "refusal": "no"}, 10),
        ({"content": None, "tool_calls": [{"function": {"name": "f", "arguments": '{"a":"é"}'}}]}, 11),
        ({"function_call": {"name": "f", "arguments": "{}"}}, 3),
        ({"content": "\ud800"}, 3),
        ({"content": ["x"], "reasoning": 7, "tool_calls": [None, {"function": None}, {}], "function_call": "x"}, 0),
        ({"tool_calls": "x"}, 0),
        ({"reasoning_details": [{"text": "a repetition"}], "reasoning_content": "hm"}, 2),
        ({}, 0),
    ],
)
def test_the_bytes_of_a_message(message: dict[str, Any], expected: int) -> None:
    """Texts and calls in UTF-8; whatever has another type counts nothing and fails nothing."""
    assert expected == produced_bytes_of(message)


def test_a_plain_answer_becomes_a_stream() -> None:
    """Content, then the finish, then the usage without choices; tool calls get the index a stream needs."""
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    answer = {
        "id": "a-1",
        "created": 7,
        "model": "up",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "你\ud800", "tool_calls": [call]},
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }
    head = {"id": "a-1", "object": "chat.completion.chunk", "created": 7, "model": "up"}
    delta = {"role": "assistant", "content": "你\ud800", "tool_calls": [{"index": 0, **call}]}

    assert [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
        {**head, "choices": [], "usage": answer["usage"]},
    ] == [json.loads(one.decode("utf-8", "surrogatepass")) for one in chunks_of_answer(answer, 99)]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"choices": None},
        {"choices": [{}]},
        {"choices": [{"message": "x"}, {"message": {"tool_calls": [None, {}]}}]},
    ],
)
def test_an_answer_with_gaps_becomes_a_stream_too(answer: dict[str, Any]) -> None:
    """What is missing is filled in: a time, an index, a finish; without usage there is no third chunk."""
    content, finish = map(json.loads, chunks_of_answer(answer, 99))
    count = len(answer.get("choices") or [])

    assert (99, 99) == (content["created"], finish["created"])
    assert list(range(count)) == [choice["index"] for choice in content["choices"]]
    assert ["stop"] * count == [choice["finish_reason"] for choice in finish["choices"]]


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_the_stream_of_a_plain_answer_reads_as_the_answer(name: str) -> None:
    """Every provider's plain answer, made a stream and read as one: the same text, usage and finish."""
    request = read_request(b'{"model":"m","messages":[{"role":"user","content":"x"}]}')
    choice = Choice(("hm", " so"), ("Hello", " 你好"), (), "stop")
    answer = SHAPES[name].body(request, Answer("up", 1, (choice,), ReportedUsage(5, 6, 2, 1)))
    tally = UsageTally()
    chunks = stream(name, tally=tally)
    out = chunks.feed(b"".join(map(encode, chunks_of_answer(answer, 99))) + DONE)

    assert 2 == out.count(b'"model":"public-model"')
    assert produced_bytes_of(answer["choices"][0]["message"]) == chunks.produced_bytes >= 12
    assert (True, True, None) == (chunks.done, chunks.finished, chunks.error)
    counted = tally.usage()
    assert counted is not None
    assert (5, 6) == (counted.prompt_tokens, counted.completion_tokens)
