"""A response holds what was said as items, and why there is no more of it."""

from __future__ import annotations

from typing import Any

import pytest

from billing.usage import Usage
from middlewares.caller_dialect import Facts
from proxy.dialects.blocks import Blocks
from proxy.dialects.responses_answer import Envelope
from tests.fakes.raw_upstream import completion

FACTS = Facts("req_019a", 1, lambda: "standard")
CALLS = [{"index": 0, "id": "call_a", "type": "function", "function": {"name": "look", "arguments": '{"at": "ü"}'}}]


def ended(message: dict[str, Any], finish: str | None = "stop") -> dict[str, Any]:
    """The response to such an answer."""
    document = completion(finish=finish)
    document["choices"][0]["message"] = message
    blocks = Blocks()
    blocks.feed(document)
    blocks.close()
    return Envelope({}, FACTS).ended(blocks, Usage(100, 7, cached_tokens=30, cache_write_tokens=20, reasoning_tokens=3))


def test_everything_that_can_be_said() -> None:
    """Thoughts, a text, a refusal, a call: each an item with an id of its own, in order."""
    told = ended({"reasoning_content": "Hm.", "content": "Wait.", "refusal": "No.", "tool_calls": CALLS}, "tool_calls")
    message = {"type": "message", "status": "completed", "role": "assistant"}

    assert [
        {
            "id": "rs_019a_0",
            "type": "reasoning",
            "status": "completed",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "Hm."}],
        },
        {
            "id": "msg_019a_1",
            **message,
            "content": [{"type": "output_text", "text": "Wait.", "annotations": [], "logprobs": []}],
        },
        {"id": "msg_019a_2", **message, "content": [{"type": "refusal", "refusal": "No."}]},
        {
            "id": "fc_019a_3",
            "type": "function_call",
            "status": "completed",
            "call_id": "call_a",
            "name": "look",
            "arguments": '{"at": "ü"}',
        },
    ] == told["output"]
    assert ("resp_019a", "response", 1, "standard", "completed", None) == tuple(
        told[name] for name in ("id", "object", "created_at", "model", "status", "incomplete_details")
    )


def test_usage() -> None:
    """The cache is part of the input, thinking of the output."""
    assert {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 20},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 107,
    } == ended({"content": "x"})["usage"]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", None),
        (None, None),
        ("tool_calls", None),
        ("length", "max_output_tokens"),
        ("model_context_window_exceeded", "max_output_tokens"),
        ("content_filter", "content_filter"),
        ("sensitive", "content_filter"),
    ],
)
def test_whether_it_is_whole(finish: str | None, reason: str | None) -> None:
    """The last item is what was cut."""
    told = ended({"reasoning_content": "Hm.", "content": "x"}, finish)

    last = "incomplete" if reason else "completed"
    assert (last, {"reason": reason} if reason else None) == (told["status"], told["incomplete_details"])
    assert ["completed", last] == [item["status"] for item in told["output"]]


def test_one_that_broke() -> None:
    """Our code, and what had been said."""
    blocks = Blocks()
    blocks.feed({"choices": [{"delta": {"content": "Hel"}}]})
    blocks.close()
    told = Envelope({}, FACTS).failed(blocks, {"code": "bad_upstream_response", "message": "m", "type": "x"})

    assert ("failed", {"code": "bad_upstream_response", "message": "m"}) == (told["status"], told["error"])
    assert ("Hel", None) == (told["output"][0]["content"][0]["text"], told["usage"])
