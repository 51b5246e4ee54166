"""Promises of the prompt bound: no request makes more prompt tokens than it says, and none makes it fail."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.bound import (
    TOKENS_PER_IMAGE,
    TOKENS_PER_INPUT,
    TOKENS_PER_MEDIA_FILE,
    TOKENS_PER_MESSAGE,
    TOKENS_PER_REQUEST,
    bound_and_bytes,
    inputs_of,
    prompt_token_bound,
    text_bytes,
)

EMPTY_MESSAGE = TOKENS_PER_REQUEST + TOKENS_PER_MESSAGE + len("user")
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def bound_of(*messages: Any, **fields: Any) -> int:
    return prompt_token_bound({"model": "m", "messages": list(messages), **fields})


@pytest.mark.parametrize(
    ("text", "expected"), [("", 0), ("hello", 5), ("你好", 6), ("😀", 4), ("\ud800", 3), ('a\n"b', 4)]
)
def test_a_text_counts_by_its_bytes(text: str, expected: int) -> None:
    """One token per UTF-8 byte, half a surrogate pair included, besides what templates write around it."""
    assert EMPTY_MESSAGE + expected == bound_of(user(text))
    assert 4 + expected == text_bytes({"messages": [user(text)]})


@pytest.mark.parametrize(
    ("value", "inputs", "tokens", "text"),
    [
        ("", 1, 0, 0),
        ("hello", 1, 5, 5),
        (["hello", "你好"], 2, 11, 11),
        ([1, 2, 3], 1, 3, 12),
        ([[1], [2, 3]], 2, 3, 12),
        ([], 0, 0, 0),
        (None, 1, 0, 0),
        ([{"odd": 1}, None], 2, 0, 0),
    ],
)
def test_inputs_of_embeddings_count_by_bytes_or_tokens(value: object, inputs: int, tokens: int, text: int) -> None:
    """A token a byte, or as many as the caller counted, with an allowance for each; as an estimate a token is four bytes."""
    request = {"model": "m" * 99, "input": value, "dimensions": 64, "encoding_format": "float", "user": "someone"}

    assert (TOKENS_PER_REQUEST + TOKENS_PER_INPUT * inputs + tokens, text) == bound_and_bytes(request)


def test_an_instruction_may_go_before_every_input() -> None:
    """A field that we do not know counts once for each; beside messages, ``input`` is such a field itself and no prompt."""
    plain = prompt_token_bound({"input": ["a", "b", "c"]})

    assert plain + 3 * len('"Find."') == prompt_token_bound({"input": ["a", "b", "c"], "instruct": "Find."})
    assert bound_of(user("hi")) == bound_of(user("hi"), input="x" * 100)


@settings(max_examples=50)
@given(st.lists(st.text(), min_size=1))
def test_no_list_of_texts_has_less_room_than_its_bytes(texts: list[str]) -> None:
    """One by one or together."""
    bound, size = bound_and_bytes({"input": texts})

    assert sum(len(text.encode()) for text in texts) == size
    assert bound >= size + TOKENS_PER_INPUT * len(texts)
    assert [*texts] == inputs_of(texts)


def test_every_message_has_its_allowance() -> None:
    """Templates add a few tokens to each."""
    assert TOKENS_PER_REQUEST + 3 * (TOKENS_PER_MESSAGE + 6) == bound_of(*[user("hi")] * 3)
    assert TOKENS_PER_REQUEST == prompt_token_bound({})
    assert TOKENS_PER_REQUEST == prompt_token_bound({"messages": "junk"})


TEXT_PART = {"type": "text", "text": "hi"}
IMAGE_MESSAGE = {"type": "image_url", "image_url": "data:image/png;base64,AAAA", "text": "hi"}


@pytest.mark.parametrize(
    ("message", "bound", "sent"),
    [
        ("hello", 7, 5),
        (7, 1, 0),
        # Two braces, for each name its quotes, a colon, a comma and two spaces, then the values in quotes.
        ({"role": "user", "content": [TEXT_PART, TEXT_PART], "name": "bob"}, 4 + 2 * (2 + 10 + 10 + 6 + 4) + 3, 19),
        ({"role": "user", "content": ["hi", 12, TEXT_PART]}, 4 + 4 + 2 + 32, 4 + 2 + 6),
        ({"content": None, "tool_calls": [{"id": "a"}, "b"], "role": "assistant"}, 4 + (6 + 13 + 3) + 9, 11),
        ({"numbers": [1, True, None, 1.5], "role": "user", "more": {}}, 10 + 12 + 2 + 4, 4),
        (IMAGE_MESSAGE, 9 + 26 + 2, 11),
        ({"content": [{"type": 7, "text": "hi"}]}, 2 + 10 + 10 + 1 + 4, 2),
        ({"content": [IMAGE_MESSAGE]}, TOKENS_PER_IMAGE + 2 + 10 + 10 + 11 + 4, 11),
    ],
)
def test_a_message_counts_to_the_byte(message: Any, bound: int, sent: int) -> None:
    """The bound, and the text that was sent; a picture has its cap where providers see it, in a part of the content."""
    assert TOKENS_PER_REQUEST + TOKENS_PER_MESSAGE + bound == bound_of(message)
    assert sent == text_bytes({"messages": [message]})


def test_tools_are_text_that_was_sent() -> None:
    """What their values say is estimated like a message; their names are of the protocol."""
    assert 8 + 1 + 2 == text_bytes({"tools": [{"type": "function", "function": {"name": "f", "description": "is"}}]})


def test_characters_in_json_count_as_themselves() -> None:
    """Templates write them as they are and not as escapes, which would be held for twice."""
    assert bound_of() + len('"你好"'.encode()) == bound_of(tools="你好")
    assert bound_of() + len('["é", ]'.encode()) == bound_of(tools=["é"])


def test_tools_and_schemas_count_as_the_json_they_become() -> None:
    """Templates write tools as JSON with spaces, and a dialect writes a schema into the prompt: both with their escapes."""
    tools = [{"type": "function", "function": {"name": "f", "description": '\u0001\n"你" ' * 50, "parameters": {}}}]
    schema = {"type": "json_schema", "json_schema": {"schema": {"enum": [1] * 500 + [None, True, False, 1.5, -7]}}}

    assert bound_of() + _json_bytes(tools) <= bound_of(tools=tools)
    assert bound_of() + _json_bytes(tools) <= bound_of(functions=tools)
    assert bound_of() + _json_bytes(schema) <= bound_of(response_format=schema)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("image_url", TOKENS_PER_IMAGE),
        ("image", TOKENS_PER_IMAGE),
        ("input_image", TOKENS_PER_IMAGE),
        ("video_url", TOKENS_PER_MEDIA_FILE),
        ("video", TOKENS_PER_MEDIA_FILE),
        ("input_audio", TOKENS_PER_MEDIA_FILE),
        ("file", TOKENS_PER_MEDIA_FILE),
    ],
)
def test_pictures_and_the_like_count_by_their_cap(kind: str, expected: int) -> None:
    """A megabyte of base64 is no million tokens, and a short address may be a large picture."""
    name = "image_url" if kind == "input_image" else kind
    small, large = ({"type": kind, name: {"url": "https://x" * times}} for times in (1, 100_000))

    assert bound_of(user([small])) == bound_of(user([large]))
    assert expected <= bound_of(user([large])) - EMPTY_MESSAGE <= expected + 64
    assert 2 * expected <= bound_of(user([large, small])) - EMPTY_MESSAGE
    assert text_bytes({"messages": [user([small])]}) == text_bytes({"messages": [user([large])]})


def test_a_picture_hides_no_text() -> None:
    """Text beside a picture's data counts, and a tool whose schema calls itself an image is text from end to end."""
    text = "x" * 100_000
    hidden = {"type": "image_url", "image_url": {"url": ""}, "text": text}
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"type": "image", "image": text, "description": text}},
    }

    assert bound_of(user([hidden])) >= 100_000
    assert text_bytes({"messages": [user([hidden])]}) >= 100_000
    assert bound_of(tools=[tool]) >= 200_000


@pytest.mark.parametrize("kind", [["image"], {"a": 1}, None, 7, "text", "unknown"])
def test_a_part_of_unknown_type_is_text(kind: Any) -> None:
    """A type that is no text, or no known one, neither fails nor hides what stands beside it."""
    part = {"type": kind, "text": "x" * 1000}

    assert bound_of(user([part])) >= 1000
    assert text_bytes({"messages": [user([part])]}) >= 1000


def test_depth_is_no_matter() -> None:
    """A hundred thousand levels are walked without recursion, in lists and objects alike."""
    deep: Any = "x"
    for _ in range(50_000):
        deep = [{"a": deep}]

    # Four brackets, the name's two quotes, colon and letter: at least eight bytes a level.
    assert bound_of(user([deep]), tools=deep) >= 2 * 50_000 * 8
    assert 4 + 1 + 1 == text_bytes({"messages": [user([deep])], "tools": deep})


_TEXTS = st.text(st.characters(), max_size=30) | st.text('\u0000\n"\\a你😀', max_size=30)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS | st.just("type"), inner, max_size=4),
    max_leaves=12,
)
_PARTS = (
    st.builds(lambda text: {"type": "text", "text": text}, _TEXTS)
    | st.builds(lambda text: {"type": "image_url", "image_url": {"url": "https://x"}, "text": text}, _TEXTS)
    | _VALUES
)
_MESSAGES = st.builds(user, _TEXTS | st.none() | st.lists(_PARTS, max_size=4)) | st.dictionaries(
    st.sampled_from(["role", "content", "tool_calls", "name", "reasoning_content"]), _VALUES, max_size=4
)
_REQUESTS = st.fixed_dictionaries(
    {"messages": st.lists(_MESSAGES, max_size=4)},
    optional={"tools": _VALUES, "functions": _VALUES, "response_format": _VALUES, "tool_choice": _VALUES},
)


@settings(deadline=None, print_blob=True)
@given(_REQUESTS)
def test_the_bound_covers_every_text(request: dict[str, Any]) -> None:
    """For any chat body: at least the bytes of all texts in it, and of the JSON of whatever stands beside the messages."""
    texts = sum(_text_length(message) for message in request["messages"])
    beside = sum(_json_bytes(value) for name, value in request.items() if name != "messages")

    assert texts + beside <= prompt_token_bound(request)


@pytest.mark.parametrize(
    "request_body",
    [
        {"messages": [user("hello"), {"role": "assistant", "content": "你好"}]},
        {"messages": [user("hello"), {**PICTURE, "text": "hi"}]},
        {"messages": [user("hello"), {"type": "image_url", "image_url": "data:image/png;base64,AAAA"}]},
        {"messages": [{"type": "image_url", "image_url": "data:image/png;base64,AAAA"}]},
        {"messages": [user("hello"), "hello"]},
        {"messages": ["hello", user("hello")]},
        {"messages": [user("hello"), user(["hello", {"a": "b"}])]},
        {"messages": [user("hello")], "tools": [{"type": "function"}]},
        {"messages": [user("hello")], "prompt": "hello"},
        {"messages": {"hello": "there"}},
        {},
    ],
)
def test_plain_messages_and_others_count_the_same_at_once(request_body: dict[str, Any]) -> None:
    """Texts alone, and whatever keeps a request from being only that."""
    assert (prompt_token_bound(request_body), text_bytes(request_body)) == bound_and_bytes(request_body)


@settings(deadline=None, print_blob=True)
@given(_REQUESTS)
def test_both_numbers_at_once_are_the_two_numbers(request: dict[str, Any]) -> None:
    """The quick way for plain messages agrees with the careful ways, and the others take those."""
    assert (prompt_token_bound(request), text_bytes(request)) == bound_and_bytes(request)


@settings(deadline=None, print_blob=True)
@given(_REQUESTS)
def test_an_estimate_is_never_above_the_bound(request: dict[str, Any]) -> None:
    """What is charged for a prompt that nobody counted lies within what was held for it."""
    assert 0 <= text_bytes(request) <= prompt_token_bound(request)


@settings(deadline=None, print_blob=True)
@given(st.dictionaries(st.sampled_from(["messages", "tools", "prompt", "functions"]), _VALUES))
def test_no_request_makes_it_fail(request: dict[str, Any]) -> None:
    """Any JSON under these names gives two numbers."""
    assert prompt_token_bound(request) >= TOKENS_PER_REQUEST
    assert text_bytes(request) >= 0


def _text_length(value: Any) -> int:
    """Bytes of all texts in ``value``, the address in a picture part left out: written without looking at the source."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, dict):
        media = value.get("type") == "image_url"
        return sum(_text_length(inner) for name, inner in value.items() if not (media and name == "image_url"))
    return sum(map(_text_length, value)) if isinstance(value, list) else 0


def _json_bytes(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
