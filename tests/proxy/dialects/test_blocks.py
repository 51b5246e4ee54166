"""Chat chunks become blocks one after another; nothing is lost, nothing is said twice, however a stream is cut."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.errors import AnswerUnreadable
from proxy.dialects import blocks as subject
from proxy.dialects.blocks import Block, Blocks, Step, arguments_as_object


def delta(**fields: Any) -> dict[str, Any]:
    """A chunk."""
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


def call(arguments: object = "", *, index: int = 0, id: str = "", name: str = "") -> dict[str, Any]:
    """A piece of a tool call, as a delta has it."""
    function: dict[str, Any] = {"arguments": arguments} | ({"name": name} if name else {})
    return {"index": index, "function": function} | ({"id": id} if id else {})


def read(chunks: Iterable[dict[str, Any]]) -> tuple[list[tuple[str, str, str, str]], Blocks]:
    """The blocks of a stream, put together from the steps alone; at no time are two of them open."""
    blocks, told, is_open = Blocks(), [], False
    steps: list[Step] = []
    for chunk in chunks:
        steps += blocks.feed(chunk)
    for step in steps + blocks.close():
        assert is_open != (step.more is None and not step.is_end), "one is open at a time"
        if step.is_end:
            is_open = False
        elif step.more is None:
            assert len(told) == step.block.number
            told.append([step.block.kind, step.block.call_id, step.block.name, ""])
            is_open = True
        else:
            assert step.more, "no step says nothing"
            told[-1][3] += step.more
    assert not is_open
    assert told == [[block.kind, block.call_id, block.name, block.text] for block in blocks.done]
    return [(kind, call_id, name, text) for kind, call_id, name, text in told], blocks


def test_thinking_text_and_calls_follow_one_another() -> None:
    """Each grows while it is open and ends when the next begins."""
    told, blocks = read(
        [
            delta(role="assistant", content=""),
            delta(reasoning_content="Let me"),
            delta(reasoning_content=" see.", content=None),
            delta(content="It"),
            delta(content=" is"),
            delta(tool_calls=[call(id="call_a", name="look")]),
            delta(tool_calls=[call('{"at":')]),
            delta(tool_calls=[call("1}")]),
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
        ]
    )

    assert [
        ("thinking", "", "", "Let me see."),
        ("text", "", "", "It is"),
        ("tool", "call_a", "look", '{"at":1}'),
    ] == told
    assert "tool_calls" == blocks.finish_reason


def test_a_text_leaves_at_once() -> None:
    """A block's growth is a step of the chunk that brings it, also of the first tool call."""
    blocks = Blocks()

    assert ["Hel"] == [step.more for step in blocks.feed(delta(content="Hel"))[1:]]
    assert ["lo"] == [step.more for step in blocks.feed(delta(content="lo"))]
    assert [None, None] == [step.more for step in blocks.feed(delta(tool_calls=[call(id="a", name="look")]))]
    assert ["{"] == [step.more for step in blocks.feed(delta(tool_calls=[call("{")]))]


def test_calls_that_are_mixed_are_told_one_after_another() -> None:
    """Whoever comes while another's arguments are no whole JSON waits; with whole arguments the next begins at once."""
    told, _ = read(
        [
            delta(tool_calls=[call(index=0, id="a", name="first"), call(index=1, id="b", name="second")]),
            delta(tool_calls=[call('{"x":', index=0), call('{"y"', index=1)]),
            delta(tool_calls=[call(":2}", index=1)]),
            delta(content="beside"),
            delta(tool_calls=[call("1}", index=0)]),
        ]
    )
    blocks = Blocks()
    blocks.feed(delta(tool_calls=[call('{"x":1}', id="a", name="first")]))
    next_one = blocks.feed(delta(tool_calls=[call('{"y"', index=1, id="b", name="second")]))

    assert [
        ("tool", "a", "first", '{"x":1}'),
        ("tool", "b", "second", '{"y":2}'),
        ("text", "", "", "beside"),
    ] == told
    assert [(True, None), (False, None), (False, '{"y"')] == [(step.is_end, step.more) for step in next_one]


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        pytest.param(
            [delta(tool_calls=[call("{}", id="a", name="f")]), delta(tool_calls=[call("{}", id="b", name="f")])],
            [("tool", "a", "f", "{}"), ("tool", "b", "f", "{}")],
            id="another id under the same index is another call",
        ),
        pytest.param(
            [delta(tool_calls=[call("{", id="a", name="f")]), delta(tool_calls=[call("}", id="a", name="f")])],
            [("tool", "a", "f", "{}")],
            id="id and name may be told again",
        ),
        pytest.param(
            [delta(tool_calls=[call("{", id="a")]), delta(tool_calls=[call("}", name="late")])],
            [("tool", "a", "late", "{}")],
            id="a call waits for its name",
        ),
        pytest.param(
            [delta(tool_calls=[call("{", name="f")]), delta(tool_calls=[call("}", id="late")])],
            [("tool", "late", "f", "{}")],
            id="a call waits for its id",
        ),
        pytest.param(
            [delta(tool_calls=[call("{}", id="a")])], [("tool", "a", "", "{}")], id="a name that never comes is empty"
        ),
        pytest.param(
            [delta(tool_calls=[call("{}", name="f")])],
            [("tool", "call_0", "f", "{}")],
            id="an id that never comes is made",
        ),
        pytest.param(
            [delta(tool_calls=[{"function": {"name": "f", "arguments": {"x": "ü"}}}])],
            [("tool", "call_0", "f", '{"x": "ü"}')],
            id="arguments as an object, no index",
        ),
        pytest.param(
            [delta(tool_calls=[call("{}", id="a", name="f")]), delta(content="x"), delta(tool_calls=[call(" ")])],
            [("tool", "a", "f", "{}"), ("text", "", "", "x")],
            id="what follows whole arguments belongs to nothing",
        ),
        pytest.param(
            [delta(reasoning="a", reasoning_content="a")], [("thinking", "", "", "a")], id="said under two names"
        ),
        pytest.param(
            [delta(content=[{"type": "text", "text": "a"}, 7, {"text": None}])], [("text", "", "", "a")], id="parts"
        ),
        pytest.param([delta(refusal="no")], [("refusal", "", "", "no")], id="a refusal"),
        pytest.param([{"choices": [{"index": 1, "delta": {"content": "x"}}]}], [], id="another answer"),
        pytest.param([{"choices": [{"message": {"content": "x"}}]}], [("text", "", "", "x")], id="a message"),
        pytest.param(
            [delta(content="x"), {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}],
            [("text", "", "", "x")],
            id="a message that repeats the stream",
        ),
    ],
)
def test_odd_streams(chunks: list[dict[str, Any]], expected: list[tuple[str, str, str, str]]) -> None:
    """What servers have been seen to send, and what could be read wrongly."""
    assert expected == read(chunks)[0]


def test_an_object_nested_beyond_what_can_be_written_says_nothing() -> None:
    """And is no error: the answer has been paid for."""
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}

    assert [("tool", "a", "f", "")] == read([delta(tool_calls=[call(deep, id="a", name="f")])])[0]


def test_which_stop_sequence_ended_it() -> None:
    """Under the names that servers have for it; a number is none."""
    finish = {"index": 0, "delta": {}, "finish_reason": "stop"}

    assert ["END", "END", None] == [
        read([{"choices": [finish | extra]}])[1].matched_stop
        for extra in ({"stop_reason": "END"}, {"matched_stop": "END"}, {"stop_reason": 151643})
    ]


def test_an_answer_beyond_all_measure_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept has a limit."""
    monkeypatch.setattr(subject, "ANSWER_LIMIT_BYTES", 10)
    blocks = Blocks()
    blocks.feed(delta(content="0123456789"))

    with pytest.raises(AnswerUnreadable):
        blocks.feed(delta(content="x"))


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text(max_size=3) | st.just(float("inf")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["index", "id", "function", "name", "arguments", "content", "reasoning", "tool_calls", "delta"]
            )
            | st.text(max_size=2),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None, print_blob=True, max_examples=settings().max_examples // 5)
@given(st.lists(anything.map(lambda thing: {"choices": [{"delta": thing, "finish_reason": thing}]}), max_size=3))
def test_nothing_that_a_provider_sends_is_an_error(chunks: list[dict[str, Any]]) -> None:
    """Whatever a delta holds."""
    read(chunks)


pieces = st.lists(
    st.tuples(st.sampled_from(["content", "reasoning_content", "refusal"]), st.text(min_size=1, max_size=4))
    | st.tuples(st.integers(0, 2), st.just("")),
    max_size=25,
)


@settings(deadline=None, print_blob=True, max_examples=settings().max_examples // 5)
@given(pieces, st.data())
def test_whatever_is_mixed_every_call_keeps_its_arguments_and_every_kind_its_text(
    order: list[tuple[Any, str]], data: st.DataObject
) -> None:
    """Texts of a kind, joined, are what was sent; so are the arguments of each call, in the order in which calls began."""
    arguments = {index: json.dumps({"n": index, "text": "}{" * index, "deep": {"x": {}}}) for index in range(3)}
    rest, chunks, texts, begun = dict(arguments), [], {"content": "", "reasoning_content": "", "refusal": ""}, []
    for kind, text in order:
        if isinstance(kind, str):
            chunks.append(delta(**{kind: text}))
            texts[kind] += text
        else:
            first = kind not in begun
            count = data.draw(st.integers(0, len(rest[kind])))
            begun += [kind] if first else []
            told = {"id": f"call_{kind}", "name": f"f{kind}"} if first else {}
            chunks.append(delta(tool_calls=[call(rest[kind][:count], index=kind, **told)]))
            rest[kind] = rest[kind][count:]
    chunks += [delta(tool_calls=[call(rest[index], index=index)]) for index in begun]

    told_blocks, _ = read(chunks)

    for kind, name in (("text", "content"), ("thinking", "reasoning_content"), ("refusal", "refusal")):
        assert texts[name] == "".join(text for told, _, _, text in told_blocks if told == kind)
    assert [(f"call_{index}", f"f{index}", arguments[index]) for index in begun] == [
        (call_id, name, text) for kind, call_id, name, text in told_blocks if kind == "tool"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        (" \n", {}),
        ('{"a": [1, "ü"]}', {"a": [1, "ü"]}),
        ('{"a": 1', {"arguments": '{"a": 1'}),
        ("[1]", {"arguments": "[1]"}),
        ('{"a": NaN}', {"arguments": '{"a": NaN}'}),
        ('{"a": 1e999}', {"arguments": '{"a": 1e999}'}),
        ("[" * 100_000, {"arguments": "[" * 100_000}),
    ],
)
def test_arguments_as_an_object(text: str, expected: dict[str, Any]) -> None:
    """Whatever is no JSON object is kept as it was said, so that nothing is lost."""
    assert expected == arguments_as_object(text)


def test_arguments_nested_to_the_limit_can_be_written_again() -> None:
    """At every depth the result is JSON, further in than it was read."""
    for depth in (10, 150, *range(900, 1000, 9)):
        text = '{"a":' * depth + "1" + "}" * depth
        written = json.dumps({"content": [{"input": arguments_as_object(text)}]}, separators=(",", ":"))
        assert text in written or json.dumps(text) in written, depth


def test_blocks_that_say_the_same_are_two() -> None:
    """A block is known by itself and not by what it says."""
    assert Block("text") != Block("text")
