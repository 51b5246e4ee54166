"""What a request needs of whoever serves it."""

from __future__ import annotations

from typing import Any

import pytest

from providers.needing import need_of
from providers.selection import Inputs, Need

# What a request needs.


def content(kind: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text"}, {"type": kind}]}]}


@pytest.mark.parametrize(
    ("request_body", "expected"),
    [
        ({}, set()),
        ({"tools": [], "logprobs": False, "n": 1, "response_format": {"type": "text"}}, set()),
        ({"tools": [{}]}, {"tools"}),
        ({"response_format": {"type": "json_object"}}, {"json_object"}),
        ({"response_format": {"type": "json_schema"}}, {"json_schema"}),
        ({"response_format": {"type": ["json_schema"]}}, set()),
        ({"response_format": "json_object", "n": None}, set()),
        ({"logprobs": True}, {"logprobs"}),
        ({"n": 2}, {"n"}),
        ({"functions": [{}]}, {"tools"}),
        ({"tools": [{}], "parallel_tool_calls": False}, {"tools", "parallel_tools"}),
        ({"parallel_tool_calls": True}, set()),
        ({"seed": 0}, {"seed"}),
        ({"seed": None}, set()),
        ({"reasoning_effort": "high"}, {"reasoning"}),
        ({"reasoning_effort": "none"}, set()),
        ({"reasoning": {"effort": "low"}}, {"reasoning"}),
        ({"reasoning": {"max_tokens": 500}}, {"reasoning"}),
        ({"reasoning": {"enabled": True}}, {"reasoning"}),
        ({"reasoning": {"enabled": False, "effort": "high"}}, set()),
        ({"reasoning": {"exclude": True}}, set()),
        ({"reasoning": {"effort": "none"}}, set()),
        ({"reasoning": "yes", "thinking": "yes", "enable_thinking": "yes"}, set()),
        ({"thinking": {"type": "enabled"}}, {"reasoning"}),
        ({"thinking": {"type": "disabled"}}, set()),
        ({"enable_thinking": True}, {"reasoning"}),
        ({"enable_thinking": False}, set()),
        (content("image_url"), {"vision"}),
        (content("input_image"), {"vision"}),
        (content("video_url"), {"vision"}),
        (content("image"), {"vision"}),
        (content("video"), {"vision"}),
        (content("text"), set()),
        ({"messages": [None, {"content": "x"}, {"content": [None, {"type": ["image_url"]}]}]}, set()),
        ({"messages": "junk"}, set()),
    ],
)
def test_what_a_request_needs(request_body: dict[str, Any], expected: set[str]) -> None:
    """Only what it uses: an empty list of tools is no tool, a text part is no picture."""
    assert expected == need_of(request_body, 1, 1).capabilities


@pytest.mark.parametrize(
    ("request_body", "expected"),
    [
        ({}, (None, 1)),
        ({"max_tokens": 5}, (5, 1)),
        ({"max_completion_tokens": 6}, (6, 1)),
        ({"max_tokens": 5, "max_completion_tokens": 6, "n": 3}, (6, 3)),
        ({"max_tokens": 5, "max_completion_tokens": None, "n": None}, (5, 1)),
    ],
)
def test_the_limits_of_a_request(request_body: dict[str, Any], expected: tuple[int | None, int]) -> None:
    """The newer name of the limit first; no n is one answer; the sizes are passed on."""
    need = need_of(request_body, 7, 8)

    assert (*expected, 7, 8) == (need.max_tokens, need.n, need.prompt_token_bound, need.prompt_bytes)
    assert need.max_tokens == request_body.get(need.limit_field)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Hello", Inputs(1, are_tokens=False, longest_tokens=0)),
        (["Hello", "you"], Inputs(2, are_tokens=False, longest_tokens=0)),
        ([1, 2, 3], Inputs(1, are_tokens=True, longest_tokens=3)),
        ([[1], [2, 3]], Inputs(2, are_tokens=True, longest_tokens=2)),
    ],
)
def test_what_embeddings_need(value: object, expected: Inputs) -> None:
    """A model that makes them, for so many inputs, and no answer at all."""
    need = need_of({"model": "m", "input": value, "user": "me", "seed": 1}, 7, 8, every_field=True)

    assert Need(7, 8, 0, 1, frozenset({"embeddings"}), frozenset({"model", "input", "user", "seed"}), expected) == need


def test_the_fields_of_a_request_are_told_only_where_all_must_be_taken() -> None:
    """Null is absent, and one answer is no wish."""
    request = {"model": "m", "seed": 1, "user": None, "n": 1}

    assert frozenset() == need_of(request, 1, 1).fields
    assert {"model", "seed"} == need_of(request, 1, 1, every_field=True).fields
    assert {"model", "n"} == need_of({"model": "m", "n": 2}, 1, 1, every_field=True).fields
