"""A chat stream becomes the typed events of Responses, the same however it is cut."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from billing.usage import Usage
from middlewares.caller_dialect import Facts
from proxy.dialects.blocks import Blocks
from proxy.dialects.responses_answer import Envelope
from proxy.dialects.responses_stream import ResponsesStream
from tests.chat_streams import calls, stream_of
from tests.fakes.raw_upstream import DONE, chunk
from tests.reading_messages import typed_events
from tests.reading_responses import response_of

FACTS = Facts("req_019a", 1, lambda: "standard")
USAGE = Usage(100, 7)
CALLS = calls(last_arguments="{}")
MESSAGE = {"reasoning_content": "Hm, ja.", "content": "Grüße 你好", "refusal": "Nein.", "tool_calls": CALLS}
STREAM = stream_of(CALLS, {"refusal": "Nein."})


def translation() -> ResponsesStream:
    """A stream of its own."""
    return ResponsesStream(Envelope({"instructions": "x"}, FACTS))


@settings(deadline=None, print_blob=True, max_examples=settings().max_examples // 5)
@given(st.lists(st.integers(0, len(STREAM + DONE)), max_size=6))
def test_a_stream_is_the_same_however_it_is_cut(cuts: list[int]) -> None:
    """Its events join to the response that the plain answer would have been, to the letter."""
    blocks, stream = Blocks(), translation()
    blocks.feed({"choices": [{"message": MESSAGE, "finish_reason": "tool_calls"}]})
    blocks.close()
    places = [0, *sorted(cuts), len(STREAM + DONE)]
    out = b"".join(stream.feed((STREAM + DONE)[start:end]) for start, end in itertools.pairwise(places))

    assert Envelope({"instructions": "x"}, FACTS).ended(blocks, USAGE) == response_of(
        out + stream.end(USAGE, b": x\n\n")
    )


def test_each_delta_is_told_with_its_event() -> None:
    """Nothing is kept back, and the items end with the finish reason, not with the bill."""
    stream = translation()
    told = [
        [event["type"] for event in typed_events(stream.feed(event + b"\n\n"))] for event in STREAM.split(b"\n\n")[:-1]
    ]

    began = ["response.output_item.added", "response.content_part.added"]
    ended = ["response.content_part.done", "response.output_item.done"]
    arguments = "response.function_call_arguments"
    assert [
        ["response.created", "response.in_progress"],
        [*began, "response.reasoning_text.delta"],
        ["response.reasoning_text.delta"],
        ["response.reasoning_text.done", *ended, *began, "response.output_text.delta"],
        ["response.output_text.delta"],
        ["response.output_text.done", *ended, *began, "response.refusal.delta"],
        ["response.refusal.done", *ended, began[0]],
        [f"{arguments}.delta"],
        [f"{arguments}.delta"],
        [f"{arguments}.done", ended[1], began[0], f"{arguments}.delta"],
        [f"{arguments}.done", ended[1]],
    ] == told
    assert stream.end(USAGE, b": bill\n\n").startswith(b": bill\n\nevent: response.completed\n")


def test_one_that_was_too_long() -> None:
    """It ends with another event, and its last item is incomplete, also where that came together with the reason."""
    stream = translation()
    out = stream.feed(chunk({"reasoning_content": "Hm."}) + chunk({"content": "Hel"}, finish="length"))
    response = response_of(out + stream.end(USAGE, b""))

    assert ("incomplete", ["completed", "incomplete"]) == (
        response["status"],
        [item["status"] for item in response["output"]],
    )


def test_one_that_breaks() -> None:
    """It ends with what had been said until then; before anything was said it still begins properly."""
    body = {"error": {"message": "m", "code": "c"}}
    begun, silent = translation(), translation()
    broken = begun.feed(STREAM[: STREAM.index(b"refusal")]) + begun.fail(502, body)

    told = response_of(broken)
    assert ("failed", ["Hm, ja.", "Grüße 你好"]) == (
        told["status"],
        [item["content"][0]["text"] for item in told["output"]],
    )
    told = response_of(silent.fail(502, body))
    assert ("failed", []) == (told["status"], told["output"])


def test_a_sign_of_life_is_a_comment() -> None:
    """There is no event for it."""
    assert b": keep-alive\n\n" == translation().feed(b": keep-alive\n\n: x\n\n")
