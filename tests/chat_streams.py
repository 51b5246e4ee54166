"""What the tests of callers' dialects read: a chat stream in which a model thinks, speaks and calls, and bodies of any kind."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.fakes.raw_upstream import chunk


def calls(last_arguments: str) -> list[dict[str, Any]]:
    """Two calls of tools; the second says so much."""
    return [
        {"index": 0, "id": "call_a", "type": "function", "function": {"name": "look", "arguments": '{"at": "ü"}'}},
        {"index": 1, "id": "call_b", "type": "function", "function": {"name": "wait", "arguments": last_arguments}},
    ]


def stream_of(made: list[dict[str, Any]], *more: dict[str, Any]) -> bytes:
    """Thinking and text in pieces, then deltas with ``more``, then the two calls, the first in pieces."""
    first, second = made
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "Hm, "},
        {"reasoning_content": "ja."},
        {"content": "Grüße "},
        {"content": "你好"},
        *more,
        {"tool_calls": [{**first, "function": {"name": "look", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"at": '}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"ü"}'}}]},
        {"tool_calls": [second]},
    ]
    return b"".join([*map(chunk, deltas), chunk({}, finish="tool_calls")])


def anything(words: list[str], names: list[str]) -> st.SearchStrategy[Any]:
    """JSON of any kind, in which these words and names of fields are likely."""
    return st.recursive(
        st.none() | st.booleans() | st.integers() | st.sampled_from(words),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(names), inner, max_size=3),
        max_leaves=10,
    )
