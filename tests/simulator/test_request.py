"""simulator/request.py: reading a chat request, and refusing what is none."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.request import ChatRequest, UnreadableRequest, read_request

MESSAGES = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "JSON"),
        (b"[1]", "object"),
        (b"[" * 100_000, "JSON"),
        (b"{}", "model"),
        (b'{"model":""}', "model"),
        (b'{"model":"m"}', "messages"),
        (b'{"model":"m","messages":[]}', "messages"),
        (b'{"model":"m","messages":["x"]}', "message"),
        (b'{"model":"m","messages":[{"content":"x"}]}', "role"),
    ],
)
def test_what_is_no_chat_request_is_refused(body: bytes, named: str) -> None:
    """The message names what is wrong."""
    with pytest.raises(UnreadableRequest, match=named):
        read_request(body)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stream", "yes"),
        ("max_tokens", 0),
        ("max_tokens", True),
        ("max_completion_tokens", "9"),
        ("n", 1.5),
        ("temperature", "hot"),
        ("top_p", True),
        ("tools", {}),
        ("tools", ["x"]),
    ],
)
def test_fields_of_the_wrong_type_are_refused(field: str, value: Any) -> None:
    """The message names the field."""
    with pytest.raises(UnreadableRequest, match=field):
        read_request(json.dumps({"model": "m", "messages": MESSAGES, field: value}).encode())


FIELD_NAMES = st.sampled_from(["model", "messages", "role", "content", "stream", "n"])
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(FIELD_NAMES, inner),
    max_leaves=8,
)


@settings(deadline=None, print_blob=True, max_examples=300)
@given(ANY_JSON)
def test_any_json_is_read_or_refused(value: Any) -> None:
    """No body, however strange, raises anything else."""
    try:
        request = read_request(json.dumps(value).encode())
    except UnreadableRequest:
        return
    assert request.prompt_tokens >= 1


def test_what_is_read(chat_request: Callable[..., ChatRequest]) -> None:
    """Fields come out as the vendors' files need them."""
    request = chat_request(
        "pieces=12 and more",
        stream=True,
        stream_options={"include_usage": True},
        stop=["a", 7, "b"],
        max_tokens=9,
        tools=[{"type": "function", "function": {"name": "f"}}, {"type": "other"}],
    )
    assert request.streamed
    assert request.include_usage
    assert request.stops == ("a", "b")
    assert chat_request(stop="x").stops == ("x",)
    assert request.tools == ({"name": "f"},)
    assert request.pieces_wanted == 12
    assert request.whole_number("max_completion_tokens", "max_tokens") == 9
    assert request.whole_number("n") is None


def test_what_is_absent(chat_request: Callable[..., ChatRequest]) -> None:
    """A bare request asks for nothing special."""
    request = chat_request()
    assert not request.streamed
    assert not request.include_usage
    assert request.stops == ()
    assert request.tools == ()
    assert request.pieces_wanted is None


def test_the_last_user_message_counts(chat_request: Callable[..., ChatRequest]) -> None:
    """Not the last message, and not the first of the user."""
    request = chat_request(
        messages=[
            {"role": "user", "content": "first"},
            {"role": "user", "content": [{"type": "text", "text": "second"}]},
            {"role": "assistant", "content": "third"},
        ]
    )
    assert request.last_user_text == "second"
    assert chat_request(messages=[{"role": "system", "content": "x"}]).last_user_text == ""


def test_images_roles_and_words_are_found(chat_request: Callable[..., ChatRequest]) -> None:
    """Every message is looked at."""
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    odd = {"type": "image_url", "image_url": "data:x"}
    request = chat_request(
        messages=[{"role": "system", "content": "Say JSON"}, {"role": "user", "content": [image, odd]}]
    )
    assert request.image_urls == ("https://example.com/a.png", "data:x")
    assert request.role_at("user", "tool") == 1
    assert request.role_at("developer") is None
    assert request.mentions("json")
    assert not request.mentions("xml")
