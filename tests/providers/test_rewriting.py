"""Promises of the rewritings: the meaning is kept in other words, and nothing of the caller's is changed in place."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from providers import rewriting
from providers.errors import RequestRefused
from providers.provider import Ask

TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": {}}},
    {"type": "function", "function": {"name": "time", "parameters": {}}},
]
SCHEMA = {"type": "object", "properties": {"城市": {"type": "string"}}}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def test_merged_lays_objects_into_objects() -> None:
    """Deep where both sides are objects, over it where not; neither side changes."""
    base = {"thinking": {"type": "enabled", "keep": "all"}, "a": 1}
    over = {"thinking": {"type": "disabled"}, "a": {"b": 2}}
    before = copy.deepcopy((base, over))

    assert {"thinking": {"type": "disabled", "keep": "all"}, "a": {"b": 2}} == rewriting.merged(base, over)
    assert before == (base, over)


def test_a_pseudonym_is_stable_and_shows_nothing() -> None:
    """The same person has the same name of 64 hex digits, another person another, and the e-mail address is not in it."""
    name = rewriting.pseudonym("ann@example.com")

    assert name == rewriting.pseudonym("ann@example.com")
    assert name != rewriting.pseudonym("bob@example.com")
    assert 64 == len(name)
    assert set(name) <= set("0123456789abcdef")
    assert 64 == len(rewriting.pseudonym("\ud800"))


def test_developer_becomes_system() -> None:
    """Only the role changes, only of those messages."""
    body = {"messages": [{"role": "developer", "content": "x", "name": "n"}, user("hi"), "junk"]}
    rewriting.with_system_role_only(body)

    assert {"messages": [{"role": "system", "content": "x", "name": "n"}, user("hi"), "junk"]} == body


@pytest.mark.parametrize(("given", "expected"), [(-1, 0.01), (0, 0.01), (0.5, 0.5), (1.7, 1.0)])
def test_clamp_moves_numbers_into_range(given: float, expected: float) -> None:
    """Below and above the range lies its edge."""
    body: dict[str, Any] = {"temperature": given}
    rewriting.clamp(body, "temperature", 0.01, 1.0)

    assert {"temperature": expected} == body


@pytest.mark.parametrize("body", [{}, {"temperature": None}, {"temperature": "hot"}, {"temperature": True}])
def test_clamp_leaves_what_is_no_number(body: dict[str, Any]) -> None:
    """The vendor answers for what is no number."""
    before = dict(body)
    rewriting.clamp(body, "temperature", 0.01, 1.0)

    assert before == body


def test_no_choice_is_no_tools() -> None:
    """Where `none` is unknown, the tools are not sent."""
    body = {"tools": TOOLS, "tool_choice": "none", "parallel_tool_calls": False, "messages": []}
    rewriting.choose_tools(body, frozenset())

    assert {"messages": []} == body


def test_required_becomes_a_sentence() -> None:
    """Where `required` is unknown, the prompt says it."""
    body = {"tools": TOOLS, "tool_choice": "required", "messages": [user("hi")]}
    rewriting.choose_tools(body, frozenset({"none"}))

    assert "auto" == body["tool_choice"]
    assert TOOLS == body["tools"]
    assert {"role": "system", "content": "You must call at least one of the given tools."} == body["messages"][0]
    assert user("hi") == body["messages"][1]


def test_a_named_tool_is_the_only_one_sent() -> None:
    """Where names are unknown, only that tool is offered, and the prompt says that it must be called."""
    choice = {"type": "function", "function": {"name": "time"}}
    body = {"tools": TOOLS, "tool_choice": choice, "messages": [user("hi")]}
    rewriting.choose_tools(body, frozenset({"none", "required"}))

    assert [TOOLS[1]] == body["tools"]
    assert "auto" == body["tool_choice"]
    assert "You must call the given tool." == body["messages"][0]["content"]


@pytest.mark.parametrize(
    "choice", [{"type": "function", "function": {"name": "missing"}}, {"type": "function"}, {"function": {}}]
)
def test_a_name_without_a_tool_is_refused(choice: dict[str, Any]) -> None:
    """Nothing is guessed: the caller is told which parameter is wrong."""
    with pytest.raises(RequestRefused, match="tool_choice"):
        rewriting.choose_tools({"tools": TOOLS, "tool_choice": choice, "messages": []}, frozenset())


@pytest.mark.parametrize(
    "choice", ["none", "required", {"type": "function", "function": {"name": "time"}}, "auto", None]
)
def test_what_is_understood_stays(choice: Any) -> None:
    """A vendor that knows the choice gets it as it is."""
    body = {"tools": TOOLS, "tool_choice": choice, "messages": []}
    before = copy.deepcopy(body)
    rewriting.choose_tools(body, frozenset({"none", "required", "named"}))

    assert before == body


def test_a_schema_goes_into_the_prompt() -> None:
    """The format becomes an object, and the schema stands in the first system message, in plain characters."""
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA}}
    body = {"response_format": wanted, "messages": [{"role": "system", "content": "Be kind."}, user("hi")]}
    rewriting.schema_in_words(body)

    assert {"type": "json_object"} == body["response_format"]
    assert (
        "Be kind.\n\nAnswer with one JSON object of this JSON Schema:\n"
        '{"type": "object", "properties": {"城市": {"type": "string"}}}'
    ) == body["messages"][0]["content"]


def test_json_may_be_said_in_words_alone() -> None:
    """For vendors without a reliable format of their own nothing but the sentence is left."""
    body: dict[str, Any] = {"response_format": {"type": "json_object"}, "messages": [user("hi")]}
    rewriting.json_in_words(body)

    assert {"messages": [{"role": "system", "content": "Answer with one JSON object."}, user("hi")]} == body


@pytest.mark.parametrize("content", ["give me JSON", [{"type": "text", "text": "as Json please"}]])
def test_json_is_mentioned_only_where_it_is_not(content: Any) -> None:
    """A prompt that says it already stays as it is."""
    body = {"response_format": {"type": "json_object"}, "messages": [user(content)]}
    rewriting.mention_json(body)

    assert [user(content)] == body["messages"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a", "a\n\nb"),
        ("", "b"),
        (None, "b"),
        ([{"type": "text", "text": "a"}], [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
    ],
)
def test_an_instruction_joins_the_first_system_message(content: Any, expected: Any) -> None:
    """Text, parts, and nothing can all be added to."""
    body = {"messages": [user("x"), {"role": "system", "content": content}]}
    rewriting.add_instruction(body, "b")

    assert [user("x"), {"role": "system", "content": expected}] == body["messages"]


def test_missing_thoughts_are_filled_in() -> None:
    """Only assistant turns that called tools and carry no reasoning get the space that vendors accept."""
    call = {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}
    kept = {**call, "reasoning_content": "because"}
    body = {"messages": [call, kept, {"role": "assistant", "content": "no tools"}]}
    rewriting.fill_reasoning(body)

    assert [{**call, "reasoning_content": " "}, kept, {"role": "assistant", "content": "no tools"}] == body["messages"]


@pytest.mark.parametrize(
    ("force", "request_fields", "reasoning", "expected"),
    [
        ({}, {}, True, True),
        ({}, {}, False, False),
        ({}, {"thinking": {"type": "disabled"}}, True, False),
        ({}, {"thinking": {"type": "enabled"}}, False, True),
        ({"thinking": {"type": "disabled"}}, {"thinking": {"type": "enabled"}}, True, False),
    ],
)
def test_who_decides_about_thinking(
    force: dict[str, Any], request_fields: dict[str, Any], reasoning: bool, expected: bool
) -> None:
    """The catalogue before the caller before the model's nature."""
    ask = Ask(request_fields, "m", streamed=False, max_tokens=1, force=force, reasoning=reasoning)

    assert expected == rewriting.thinking_switched_on(request_fields, ask)


@pytest.mark.parametrize(
    "rewrite",
    [
        rewriting.with_system_role_only,
        rewriting.schema_in_words,
        rewriting.json_in_words,
        rewriting.mention_json,
        rewriting.fill_reasoning,
        lambda body: rewriting.choose_tools(body, frozenset()),
        lambda body: rewriting.add_instruction(body, "b"),
    ],
)
@pytest.mark.parametrize("messages", [None, "text", 7, [None, "text", 7, []], []])
def test_junk_is_left_to_the_vendor(rewrite: Callable[[dict[str, Any]], None], messages: Any) -> None:
    """Messages of no known form raise nothing here: the vendor refuses them in its own words."""
    body = {"messages": messages, "response_format": {"type": "json_schema"}, "tool_choice": "required"}
    before = copy.deepcopy(messages)
    rewrite(body)

    assert before == messages


@pytest.mark.parametrize(
    "rewrite",
    [
        rewriting.with_system_role_only,
        rewriting.schema_in_words,
        rewriting.json_in_words,
        rewriting.fill_reasoning,
        lambda body: rewriting.choose_tools(body, frozenset()),
    ],
)
def test_the_callers_request_is_never_changed(rewrite: Callable[[dict[str, Any]], None]) -> None:
    """What a rewriting changes inside, it copies first."""
    request: dict[str, Any] = {
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "x"}]},
            {"role": "system", "content": [{"type": "text", "text": "x"}]},
            {"role": "assistant", "tool_calls": [{"id": "1"}]},
        ],
        "response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}},
        "tools": TOOLS,
        "tool_choice": {"type": "function", "function": {"name": "time"}},
    }
    before = copy.deepcopy(request)
    body = dict(request)
    rewrite(body)

    assert before == request
    assert before != body
