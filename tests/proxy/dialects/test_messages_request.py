"""A request of Messages says the same as a chat completion, or is refused by the name of what it cannot say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middlewares.body import check_fields
from middlewares.errors import Refusal
from proxy.dialects.messages_request import chat_request
from tests.chat_streams import anything

TEXT = {"type": "text", "text": "Look:", "cache_control": {"type": "ephemeral"}}
BASE64 = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
LINKED = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
USE = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "ü"}}
TOOL = {
    "name": "look",
    "description": "Looks.",
    "input_schema": {"type": "object"},
    "cache_control": {"type": "ephemeral"},
}


def request(**fields: Any) -> dict[str, Any]:
    """A body of Messages."""
    return {"model": "standard", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}], **fields}


def messages(*content: Any, role: str = "user", **fields: Any) -> list[dict[str, Any]]:
    """The messages that one message of such content becomes."""
    made = chat_request(request(messages=[{"role": role, "content": list(content)}], **fields))["messages"]
    assert isinstance(made, list)
    return made


def test_the_fields_that_both_have() -> None:
    """They keep their names; our own fields pass; what is a hint for Anthropic's servers does not."""
    same = {"temperature": 0.5, "top_p": 0.9, "top_k": 4, "stream": True}
    ours = {
        "routing": "cheapest",
        "payer": "auto",
        "models": ["a"],
        "provider": {"only": ["a"]},
        "provider_key": {"provider": "a", "api_key": "b"},
        "session_id": "s",
    }
    hints = {"service_tier": "auto", "context_management": {}, "cache_control": {}, "api_key": "x", "n": 3, "stop": "x"}

    assert request(**same, **ours) == chat_request(request(**same, **ours, **hints, mcp_servers=[], container=None))


def test_the_fields_with_other_names() -> None:
    """Stop sequences, the user, thinking, the form of the answer."""
    schema = {"type": "object"}
    form = {"type": "json_schema", "schema": schema}
    chat = chat_request(
        request(
            stop_sequences=["END"],
            metadata={"user_id": "u-1"},
            thinking={"type": "enabled", "budget_tokens": 1024},
            output_config={"effort": "low", "format": form},
        )
    )

    assert (
        request(
            stop=["END"],
            user="u-1",
            thinking={"type": "enabled"},
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema, "strict": True},
            },
        )
        == chat
    )
    assert chat["response_format"] == chat_request(request(output_format=form))["response_format"]
    assert {"type": "disabled"} == chat_request(request(thinking={"type": "disabled"}))["thinking"]
    assert "thinking" not in chat_request(request(thinking={"type": "adaptive"}))


@pytest.mark.parametrize(
    "system", ["Be kind.\n\nBe brief.", [{**TEXT, "text": "Be kind."}, {**TEXT, "text": "Be brief."}]]
)
def test_a_system_prompt_is_the_first_message(system: object) -> None:
    """As a text or as blocks; none where it is empty."""
    user = {"role": "user", "content": "Hello"}

    assert [{"role": "system", "content": "Be kind.\n\nBe brief."}, user] == chat_request(request(system=system))[
        "messages"
    ]
    assert [user] == chat_request(request(system=[]))["messages"] == chat_request(request(system=""))["messages"]


def test_texts_and_pictures() -> None:
    """Texts alone become one text, which every vendor takes; with a picture among them they stay parts."""
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A page."}}

    assert [{"role": "user", "content": "Look:\n\nA page."}] == messages(TEXT, document)
    assert [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            ],
        }
    ] == messages(TEXT, BASE64, LINKED)
    assert [{"role": "user", "content": ""}] == messages()


def test_results_of_tools_come_before_what_the_user_says() -> None:
    """Each is a message of its own; a picture in one is the user's to show; an error is told by its text."""
    results = [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "12 degrees", "is_error": False},
        {"type": "tool_result", "tool_use_id": "toolu_2", "content": [TEXT, LINKED, {**TEXT, "text": "a map"}]},
        {"type": "tool_result", "tool_use_id": "toolu_3"},
    ]
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    told = [
        {"role": "tool", "tool_call_id": "toolu_1", "content": "12 degrees"},
        {"role": "tool", "tool_call_id": "toolu_2", "content": "Look:\n\na map"},
        {"role": "tool", "tool_call_id": "toolu_3", "content": ""},
    ]

    assert [told[0]] == messages(results[0])
    assert [*told, {"role": "user", "content": [{"type": "text", "text": "Look:"}, picture]}] == messages(
        TEXT, *results
    )


def test_what_an_assistant_said_and_called() -> None:
    """Calls become tool calls with their arguments as a text; thoughts go along only where tools were called."""
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "x"}
    secret = {"type": "redacted_thinking", "data": "x"}

    assert [{"role": "assistant", "content": "Look:"}] == messages(thought, secret, TEXT, role="assistant")
    (called,) = messages(thought, USE, role="assistant")
    function = called["tool_calls"][0].pop("function")
    assert {
        "role": "assistant",
        "content": None,
        "reasoning_content": "Hm.",
        "tool_calls": [{"id": "toolu_1", "type": "function"}],
    } == called
    assert ("look", {"at": "ü"}) == (function["name"], json.loads(function["arguments"]))
    assert [{"role": "assistant", "content": ""}] == messages(role="assistant")


def test_tools() -> None:
    """A tool is a function; Anthropic's hints in it are left out."""
    chat = chat_request(request(tools=[TOOL, {"type": "custom", "name": "bare", "strict": True}]))

    assert [
        {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}},
        {"type": "function", "function": {"name": "bare", "parameters": {}, "strict": True}},
    ] == chat["tools"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "tool", "name": "f"}, {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
        ({"type": "auto", "disable_parallel_tool_use": True}, {"tool_choice": "auto", "parallel_tool_calls": False}),
        ({"type": "auto", "disable_parallel_tool_use": False}, {"tool_choice": "auto"}),
        (None, {}),
    ],
)
def test_which_tools_are_called(choice: object, expected: dict[str, Any]) -> None:
    """In the words of chat completions."""
    assert request(**expected) == chat_request(request(tool_choice=choice))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"system": 1}, "system"),
        ({"system": [BASE64]}, "system"),
        ({"system": [{"type": "text"}]}, "system[0].text"),
        ({"messages": {}}, "messages"),
        ({"messages": ["Hello"]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [TEXT, 1]}]}, "messages[0].content[1]"),
        ({"messages": [{"role": "user", "content": [USE]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "assistant", "content": [BASE64]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "assistant", "content": [{**USE, "input": []}]}]}, "messages[0].content[0].input"),
        ({"messages": [{"role": "assistant", "content": [{**USE, "id": None}]}]}, "messages[0].content[0].id"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "messages[0].content[0].tool_use_id"),
        (
            {"messages": [{"role": "user", "content": [{**BASE64, "source": {"type": "file"}}]}]},
            "messages[0].content[0].source.type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "base64"}}]}]},
            "messages[0].content[0].type",
        ),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"stop_sequences": [1]}, "stop_sequences[0]"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"name": 1}]}, "tools[0].name"),
        ({"tool_choice": {"type": "all"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"thinking": {"type": "a lot"}}, "thinking.type"),
        ({"metadata": {"user_id": 1}}, "metadata.user_id"),
        ({"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
        ({"container": "x"}, "container"),
        ({"output_format": {"type": "text"}}, "output_config.format.type"),
    ],
)
def test_what_is_refused_is_named(fields: dict[str, Any], param: str) -> None:
    """By its place in the caller's own body."""
    with pytest.raises(Refusal) as refused:
        chat_request(request(**fields))

    assert (400, param) == (refused.value.problem.status, refused.value.problem.param)


THINGS = anything(
    ["user", "assistant", "text", "tool_use", "tool_result"],
    ["role", "content", "type", "text", "input", "source", "name"],
)
FIELDS = ["messages", "system", "tools", "tool_choice", "thinking", "metadata", "stop_sequences", "output_config"]


@settings(deadline=None, print_blob=True, max_examples=settings().max_examples // 5)
@given(st.dictionaries(st.sampled_from(FIELDS), THINGS, max_size=4))
def test_every_body_is_understood_or_refused(fields: dict[str, Any]) -> None:
    """Nothing else can happen, and what is understood has a chat completion's form."""
    problems = []
    try:
        check_fields(chat_request(request(**fields)))
    except Refusal as refused:
        problems.append(refused.problem.status)

    assert problems in ([], [400])
