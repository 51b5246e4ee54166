"""simulator/qwen.py: what only Qwen (DashScope) does."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

Ask = Callable[..., Awaitable[Any]]
Order = Callable[..., Awaitable[None]]

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"city": {}}}}}


async def test_usage_only_when_asked(ask: Ask) -> None:
    """Null on every chunk either way, and a last chunk without choices for who asked."""
    silent = (await ask("qwen", model="qwen-plus", stream=True)).chunks
    assert [None] * 7 == [chunk["usage"] for chunk in silent]
    asked = (await ask("qwen", model="qwen-plus", stream=True, stream_options={"include_usage": True})).chunks
    assert [None] * 7 == [chunk["usage"] for chunk in asked[:-1]]
    assert asked[-1]["choices"] == []
    assert asked[-1]["usage"]["completion_tokens"] == 5


async def test_thinking_is_switched_by_enable_thinking(ask: Ask) -> None:
    """Each model has its own default."""

    async def thinks(model: str, **fields: Any) -> bool:
        return "reasoning_content" in (await ask("qwen", model=model, **fields)).json["choices"][0]["message"]

    assert await thinks("qwen3.8-max")
    assert not await thinks("qwen3.8-max", enable_thinking=False)
    assert not await thinks("qwen-plus")
    assert await thinks("qwen-plus", enable_thinking=True)
    assert not await thinks("qwen3-coder-plus", enable_thinking=True)


async def test_first_and_last_chunk(ask: Ask) -> None:
    """The role comes with an empty text or an empty thought; the finish empties both."""
    plain = (await ask("qwen", model="qwen-plus", stream=True)).chunks
    thinking = (await ask("qwen", stream=True)).chunks
    assert plain[0]["choices"][0]["delta"] == {"content": "", "role": "assistant"}
    assert thinking[0]["choices"][0]["delta"] == {"content": None, "reasoning_content": "", "role": "assistant"}
    assert plain[-1]["choices"][0]["delta"] == {"content": "", "reasoning_content": None}
    assert plain[-1]["choices"][0]["finish_reason"] == "stop"


async def test_a_refused_stream_looks_like_a_stream(ask: Ask) -> None:
    """Status 400, and the error in one event; other statuses, and plain requests, get JSON."""
    streamed = await ask("qwen", stream=True, max_tokens=131_073)
    assert streamed.status == 400
    assert streamed.headers["Content-Type"].startswith("text/event-stream")
    assert streamed.chunks[0]["error"]["message"] == "Range of max_tokens should be [1, 131072]"
    plain = await ask("qwen", max_tokens=131_073)
    assert plain.json["error"] == streamed.chunks[0]["error"]
    assert plain.json["request_id"]
    assert (await ask("qwen", model="qwen-max", stream=True)).json["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n": 5}, "Range of n should be [1, 4]"),
        ({"n": 2, "tools": [TOOL]}, "The n parameter must be 1 when tools are used."),
        ({"temperature": 2}, "'temperature' must be in [0.0, 2.0)"),
        ({"top_p": 0}, "'top_p' must be in (0.0, 1.0]"),
        (
            {"messages": [{"role": "developer", "content": "x"}]},
            "developer is not one of ['system', 'assistant', 'user', 'tool', 'function'] - 'messages.0.role'",
        ),
        (
            {"tools": [TOOL], "tool_choice": "required"},
            (
                "<400> InternalError.Algo.InvalidParameter: The tool_choice parameter does not support being set to required "
                "or object in thinking mode"
            ),
        ),
        (
            {"response_format": {"type": "json_object"}, "model": "qwen-plus"},
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
        ),
        (
            {"response_format": {"type": "json_object"}, "messages": [{"role": "user", "content": "JSON"}]},
            "Json mode response is not supported when enable_thinking is true",
        ),
        ({"model": "qwen3-32b"}, "parameter.enable_thinking must be set to false for non-streaming calls"),
        (
            {"model": "qwq-plus"},
            "This model only support stream mode, please enable the stream parameter to access the model. ",
        ),
        ({"messages": [{"role": "user", "content": "x" * 4_000_000}]}, "Range of input length should be [1, 991808]"),
    ],
)
async def test_refusals(ask: Ask, fields: dict[str, Any], message: str) -> None:
    """In the vendor's own words, with status 400."""
    reply = await ask("qwen", **fields)
    assert reply.status == 400
    assert reply.json["error"]["message"] == message
    assert reply.json["error"]["code"] == "invalid_parameter_error"


@pytest.mark.parametrize("model", ["qwen-max", "qwen-turbo"])
async def test_retired_models(ask: Ask, model: str) -> None:
    """404 with the model's name."""
    reply = await ask("qwen", model=model)
    assert reply.status == 404
    assert reply.json["error"]["message"] == (f"The model `{model}` does not exist or you do not have access to it.")


async def test_later_tool_fragments_are_empty_where_the_first_was_full(ask: Ask) -> None:
    """An empty id and name must not overwrite the first ones."""
    reply = await ask("qwen", "call the tool", tools=[TOOL], stream=True)
    deltas = [d for chunk in reply.chunks for d in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert deltas[0]["id"].startswith("call_")
    assert deltas[0]["function"]["name"] == "f"
    assert all(delta["id"] == "" and delta["function"]["name"] == "" for delta in deltas[1:])
    plain = (await ask("qwen", "call the tool", tools=[TOOL])).json["choices"][0]["message"]
    assert plain["tool_calls"][0]["index"] == 0
    assert plain["content"] == ""


async def test_a_stream_may_break_off_flat(ask: Ask, order: Order) -> None:
    """Both frames the vendor is known for; neither is followed by `[DONE]`."""
    await order("qwen", "error_after", chunks=1, name="content_filter")
    await order("qwen", "error_after", chunks=1, name="content_filter", flat=True)
    framed, flat = await ask("qwen", stream=True), await ask("qwen", stream=True)
    assert framed.chunks[-1]["error"]["code"] == "data_inspection_failed"
    assert flat.chunks[-1]["code"] == "DataInspectionFailed"
    assert flat.chunks[-1]["request_id"]
    assert "[DONE]" not in framed.events + flat.events


async def test_no_money_is_a_400_and_no_quota_a_429(ask: Ask, order: Order) -> None:
    """The two codes that mean something else elsewhere."""
    await order("qwen", "status", code="Arrearage")
    await order("qwen", "status", code="insufficient_quota")
    assert (await ask("qwen")).status == 400
    assert (await ask("qwen")).status == 429
