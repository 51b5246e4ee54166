"""simulator/answer.py: the same request gets the same answer, and the answer obeys the request."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.answer import Choice, Limits, ToolCall, compose, sample_of
from simulator.request import ChatRequest, read_request

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    },
}
OTHER_TOOL = {"type": "function", "function": {"name": "get_time"}}

MakeRequest = Callable[..., ChatRequest]


def test_same_request_same_answer(chat_request: MakeRequest) -> None:
    """And another prompt, or another model, gets another one."""
    assert compose(chat_request("a"), Limits()) == compose(chat_request("a"), Limits())
    assert compose(chat_request("a"), Limits()).choices != compose(chat_request("b"), Limits()).choices
    assert compose(chat_request("a"), Limits()).choices != compose(chat_request("a", model="n"), Limits()).choices


def test_length_by_itself_is_forty_to_sixty_pieces(chat_request: MakeRequest) -> None:
    """The default that tests and benchmarks can count on."""
    lengths = {len(compose(chat_request(str(number)), Limits()).choices[0].pieces) for number in range(40)}
    assert min(lengths) >= 40
    assert max(lengths) <= 60
    assert len(lengths) > 5


def test_length_by_the_prompt_wins_over_the_setting(chat_request: MakeRequest) -> None:
    """`pieces=N` is exact, also for nothing at all."""
    assert len(compose(chat_request("pieces=7"), Limits(pieces=3)).choices[0].pieces) == 7
    assert len(compose(chat_request("Hi"), Limits(pieces=3)).choices[0].pieces) == 3
    assert compose(chat_request("pieces=0"), Limits()).choices[0].pieces == ()


@settings(deadline=None, print_blob=True, max_examples=200)
@given(limit=st.integers(1, 30), pieces=st.integers(0, 20), reasoning=st.integers(0, 12))
def test_the_limit_cuts_thinking_first(limit: int, pieces: int, reasoning: int) -> None:
    """Never more tokens than allowed; `length` exactly when something was cut."""
    body = {"model": "m", "messages": [{"role": "user", "content": f"pieces={pieces}"}]}
    answer = compose(read_request(json.dumps(body).encode()), Limits(tokens=limit, reasoning_pieces=reasoning))
    (choice,) = answer.choices
    assert min(limit, pieces + reasoning) == choice.tokens
    assert min(limit, reasoning) == len(choice.reasoning)
    assert ("length" if pieces + reasoning > limit else "stop") == choice.finish
    assert answer.usage is not None
    assert choice.tokens == answer.usage.completion_tokens
    assert len(choice.reasoning) == answer.usage.reasoning_tokens


def test_a_stop_ends_the_text_before_it(chat_request: MakeRequest) -> None:
    """The first of several counts, and the text up to it is kept whole."""
    whole = "".join(compose(chat_request("x", model="n"), Limits()).choices[0].pieces)
    early, late = whole[20:25], whole[60:66]
    choice = compose(chat_request("x", model="n", stop=[late, early]), Limits()).choices[0]
    assert "".join(choice.pieces) == whole[: whole.index(early)]
    assert choice.finish == "stop"


def test_several_choices_differ_and_add_up(chat_request: MakeRequest) -> None:
    """Completion tokens are those of all choices."""
    answer = compose(chat_request("pieces=10"), Limits(choices=3))
    assert len(set(answer.choices)) == 3
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 30


def test_cached_tokens_are_never_more_than_the_prompt(chat_request: MakeRequest) -> None:
    """A setting cannot make the usage nonsense; that is what faults are for."""
    usage = compose(chat_request("Hi"), Limits(cached_tokens=10_000)).usage
    assert usage is not None
    assert usage.cached_tokens == usage.prompt_tokens


def test_the_words_call_the_tool_call_the_tool(chat_request: MakeRequest) -> None:
    """The arguments fit the function's schema; without the words, or without a tool, the model talks."""
    call = compose(chat_request("Please call the tool", tools=[TOOL]), Limits()).choices[0]
    assert call.finish == "tool_calls"
    assert call.pieces == ()
    assert call.tool_calls[0].name == "get_weather"
    assert json.loads("".join(call.tool_calls[0].fragments)) == {"city": "word", "days": 7}
    assert compose(chat_request("Hello", tools=[TOOL]), Limits()).choices[0].tool_calls == ()
    assert compose(chat_request("call the tool"), Limits()).choices[0].tool_calls == ()
    assert len(compose(chat_request("call the tool twice", tools=[TOOL]), Limits()).choices[0].tool_calls) == 2


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("required", ["get_weather"]),
        ({"type": "function", "function": {"name": "get_time"}}, ["get_time"]),
        ({"type": "function", "function": "odd"}, ["get_weather"]),
        ("none", []),
        ("auto", []),
    ],
)
def test_tool_choice_demands_or_forbids(chat_request: MakeRequest, choice: Any, called: list[str]) -> None:
    """A demanded tool is called whatever the words are."""
    answer = compose(chat_request("Hello", tools=[TOOL, OTHER_TOOL], tool_choice=choice), Limits())
    assert called == [call.name for call in answer.choices[0].tool_calls]


def test_after_a_tool_result_the_model_talks(chat_request: MakeRequest) -> None:
    """A tool loop comes to an end."""
    messages = [{"role": "user", "content": "call the tool"}, {"role": "tool", "content": "sunny", "tool_call_id": "1"}]
    assert compose(chat_request(messages=messages, tools=[TOOL]), Limits()).choices[0].tool_calls == ()


def test_a_call_that_does_not_fit_is_not_begun(chat_request: MakeRequest) -> None:
    """Too little room ends with `length` and no call."""
    choice = compose(chat_request("call the tool", tools=[TOOL]), Limits(tokens=2)).choices[0]
    assert choice.tool_calls == ()
    assert choice.finish == "length"


def test_tokens_of_a_call_are_its_fragments_and_its_name() -> None:
    """Counted as the stream sends them: the name first, then each fragment."""
    assert Choice(("a",), ("b", "c"), (ToolCall("f", ("{", "}")),), "tool_calls").tokens == 6


def test_json_is_said_when_json_is_wanted(chat_request: MakeRequest) -> None:
    """An object for `json_object`, and one that fits for `json_schema`."""
    plain = compose(chat_request("json", response_format={"type": "json_object"}), Limits()).choices[0]
    assert list(json.loads("".join(plain.pieces))) == ["answer"]
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    shaped = compose(chat_request("Hi", response_format=form), Limits()).choices[0]
    assert json.loads("".join(shaped.pieces)) == {"ok": True}


@pytest.mark.parametrize(
    ("schema", "sample"),
    [
        (None, {}),
        ({"type": "object"}, {}),
        ({"properties": {"a": {"enum": ["x", "y"]}}}, {"a": "x"}),
        ({"properties": {"a": {"type": "array", "items": {"type": "number"}}}}, {"a": [1.5]}),
        ({"properties": {"a": {"type": ["string", "null"]}}}, {"a": "word"}),
        ({"properties": {"a": {"type": "null"}}}, {"a": None}),
        ({"properties": {"a": "odd"}}, {"a": "word"}),
    ],
)
def test_samples_fit_their_schema(schema: Any, sample: Any) -> None:
    """Plain schemas, and no crash on odd ones."""
    assert sample == sample_of(schema)
