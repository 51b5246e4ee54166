"""A request of Responses says the same as a chat completion, or is refused by the name of what it cannot say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middlewares.body import check_fields
from middlewares.errors import Refusal
from proxy.dialects.responses_request import chat_request
from tests.chat_streams import anything

HELLO = {"role": "user", "content": "Hello"}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look", "arguments": '{"at": 1}'}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "12 degrees"}
TOOL = {"type": "function", "name": "look", "description": "Looks.", "parameters": {"type": "object"}, "strict": True}


def request(**fields: Any) -> dict[str, Any]:
    """A body of Responses."""
    return {"model": "standard", "input": "Hello", **fields}


def chat(**fields: Any) -> dict[str, Any]:
    """The body of the chat completion that says as much."""
    return {"model": "standard", "messages": [HELLO], **fields}


def messages(*items: Any) -> list[dict[str, Any]]:
    """The messages that such an input becomes."""
    made = chat_request(request(input=list(items)))["messages"]
    assert isinstance(made, list)
    return made


def called(*calls: str, content: str | None = None) -> dict[str, Any]:
    """A turn of the assistant's that calls functions."""
    function = {"name": "look", "arguments": '{"at": 1}'}
    made = [{"id": call, "type": "function", "function": dict(function)} for call in calls]
    return {"role": "assistant", "content": content, "tool_calls": made}


def test_the_fields_that_both_have() -> None:
    """They keep their names; our own fields pass; what is a hint for OpenAI's servers does not."""
    same = {"temperature": 0.5, "top_p": 0.9, "stream": True, "routing": "cheapest", "models": ["a"], "session_id": "s"}
    hints = {
        "service_tier": "auto",
        "prompt_cache_key": "x",
        "metadata": {"a": "b"},
        "stream_options": {"include_obfuscation": False},
        "max_tool_calls": 3,
        "store": False,
        "background": False,
        "truncation": "disabled",
        "include": ["reasoning.encrypted_content"],
        "n": 3,
    }

    assert chat(**same) == chat_request(request(**same, **hints))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_output_tokens": 9}, {"max_tokens": 9}),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
        ({"user": "u"}, {"user": "u"}),
        ({"safety_identifier": "u"}, {"user": "u"}),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
        ({"parallel_tool_calls": True}, {}),
        ({"text": {"format": {"type": "text"}, "verbosity": "low"}}, {}),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"a": 1}, "strict": True}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"a": 1}, "strict": True},
                }
            },
        ),
        ({"tool_choice": "required"}, {"tool_choice": "required"}),
        (
            {"tool_choice": {"type": "function", "name": "look"}},
            {"tool_choice": {"type": "function", "function": {"name": "look"}}},
        ),
        (
            {"tools": [TOOL, {"type": "function", "name": "bare", "parameters": None, "strict": None}]},
            {
                "tools": [
                    {"type": "function", "function": {name: TOOL[name] for name in TOOL if name != "type"}},
                    {"type": "function", "function": {"name": "bare", "parameters": {}}},
                ]
            },
        ),
    ],
)
def test_the_fields_with_other_names(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    """In the words of chat completions."""
    assert chat(**expected) == chat_request(request(**fields))


def test_instructions_are_the_first_message() -> None:
    """Before the input, whatever it begins with."""
    assert [{"role": "system", "content": "Be brief."}, HELLO] == chat_request(request(instructions="Be brief."))[
        "messages"
    ]


def test_messages_and_their_parts() -> None:
    """With and without a type; texts alone become one text, with a picture among them they stay parts."""
    picture = {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "low"}
    text = {"type": "input_text", "text": "Look:"}
    said = {"type": "output_text", "text": "I see.", "annotations": []}
    refused = {"type": "refusal", "refusal": "No."}

    assert [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": "Look:\n\nLook:"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
            ],
        },
        {"role": "assistant", "content": "I see.\n\nNo."},
    ] == messages(
        {"role": "developer", "content": "Be kind."},
        {"type": "message", "role": "user", "content": [text, text]},
        {"role": "user", "content": [text, picture]},
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [said, refused]},
    )


def test_calls_and_their_outputs() -> None:
    """Calls that follow one another, or a text, are one turn; thoughts are left out; outputs answer by their ids."""
    thought = {"type": "reasoning", "id": "rs_1", "summary": []}
    second, second_output = {**CALL, "call_id": "call_2"}, {**OUTPUT, "call_id": "call_2"}
    told = {"role": "tool", "tool_call_id": "call_1", "content": "12 degrees"}
    assistant = {"role": "assistant", "content": "Wait."}

    assert [HELLO, called("call_1", "call_2"), told, {**told, "tool_call_id": "call_2"}] == messages(
        HELLO, thought, CALL, second, OUTPUT, second_output
    )
    assert [HELLO, called("call_1"), told, called("call_2"), {**told, "tool_call_id": "call_2"}] == messages(
        HELLO, CALL, OUTPUT, thought, second, second_output
    )
    assert [HELLO, called("call_1", content="Wait."), told] == messages(HELLO, assistant, CALL, OUTPUT)
    assert [told] == messages({**OUTPUT, "output": [{"type": "input_text", "text": "12 degrees"}]})
    assert {"role": "assistant", "content": "Wait."} == assistant, "the caller's own message is not changed"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "x"}}, "prompt"),
        ({"store": True}, "store"),
        ({"truncation": "auto"}, "truncation"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"include": ["message.output_text.logprobs"]}, "include[0]"),
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": 1}, "input"),
        ({"input": ["Hello"]}, "input[0]"),
        ({"input": [{"type": "reasoning"}]}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"type": ["message"]}]}, "input[0].type"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "x"}]}]},
            "input[0].content[0].image_url",
        ),
        ({"input": [HELLO, {**CALL, "arguments": {}}]}, "input[1].arguments"),
        ({"input": [HELLO, {**CALL, "call_id": None}]}, "input[1].call_id"),
        ({"input": [{**OUTPUT, "output": None}]}, "input[0].output"),
        ({"input": [{**OUTPUT, "output": [{"type": "input_image", "image_url": "x"}]}]}, "input[0].output"),
        ({"instructions": [HELLO]}, "instructions"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": True}, "max_output_tokens"),
        ({"max_output_tokens": 10**9}, "max_output_tokens"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
        ({"reasoning": {"effort": 1}}, "reasoning.effort"),
        ({"metadata": 299}, "metadata"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "schema": 1}}}, "text.format.schema"),
        ({"user": 1}, "user"),
    ],
)
def test_what_is_refused_is_named(fields: dict[str, Any], param: str) -> None:
    """By its place in the caller's own body; what would need a memory says that there is none."""
    with pytest.raises(Refusal) as refused:
        chat_request(request(**fields))

    assert (400, param) == (refused.value.problem.status, refused.value.problem.param)
    if param in ("previous_response_id", "conversation", "background", "prompt"):
        assert "nothing is kept" in refused.value.problem.message


THINGS = anything(
    ["user", "message", "function_call", "function", "text"],
    ["role", "content", "type", "text", "name", "arguments", "call_id", "output", "format"],
)
FIELDS = ["input", "instructions", "tools", "tool_choice", "text", "reasoning", "include", "metadata", "store"]


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
