"""simulator/minimax.py: what only MiniMax does."""

from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from simulator.facts import KEYS
from simulator.server import Running

Ask = Callable[..., Awaitable[Any]]
Order = Callable[..., Awaitable[None]]

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"city": {}}}}}


async def test_thoughts_stand_in_the_text(ask: Ask) -> None:
    """Between `<think>` tags, which a stream may cut in two."""
    plain = (await ask("minimax")).json["choices"][0]["message"]["content"]
    streamed = await ask("minimax", stream=True)
    assert plain.startswith("<think>\n")
    assert "\n</think>\n\n" in plain
    assert plain == streamed.said()
    assert streamed.chunks[0]["choices"][0]["delta"]["content"] == "<thi"


async def test_thoughts_can_be_split_off(ask: Ask) -> None:
    """Then the same thought stands in two fields, and the text is clean."""
    plain = (await ask("minimax", reasoning_split=True)).json["choices"][0]["message"]
    assert plain["reasoning_content"] == plain["reasoning_details"][0]["text"] != ""
    assert "<think>" not in plain["content"]
    assert len(plain["content"]) == 20
    streamed = await ask("minimax", reasoning_split=True, stream=True)
    assert streamed.said("reasoning_content") == plain["reasoning_content"]
    assert streamed.said() == plain["content"]


async def test_a_plain_answer_has_the_vendors_flags(ask: Ask) -> None:
    """`base_resp` of success, a name, no logprobs; the model is named canonically."""
    body = (await ask("minimax", model="minimax-m2.5")).json
    assert body["base_resp"] == {"status_code": 0, "status_msg": ""}
    assert body["model"] == "MiniMax-M2.5"
    assert body["output_sensitive"] is False
    assert body["choices"][0]["message"]["name"] == "MiniMax AI"
    assert "logprobs" not in body["choices"][0]
    assert body["usage"]["total_characters"] == 0


async def test_a_stream_reports_usage_on_a_last_chunk(ask: Ask) -> None:
    """Null before it; the finish has an empty delta; every other delta repeats role and name."""
    chunks = (await ask("minimax", stream=True)).chunks
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert chunks[-1]["choices"] == [{"index": 0, "delta": {}}]
    assert chunks[-1]["usage"]["completion_tokens"] == 13
    assert chunks[-2]["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert {("assistant", "MiniMax AI")} == {
        (chunk["choices"][0]["delta"]["role"], chunk["choices"][0]["delta"]["name"]) for chunk in chunks[:-2]
    }


async def test_a_tool_call_begins_with_arguments(ask: Ask) -> None:
    """The first delta has the name and some arguments, later ones have no id."""
    reply = await ask("minimax", "call the tool", tools=[TOOL], stream=True)
    deltas = [d for chunk in reply.chunks for d in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert deltas[0]["id"].startswith("call_function_")
    assert deltas[0]["id"].endswith("_1")
    assert deltas[0]["function"]["arguments"] != ""
    assert all("id" not in delta for delta in deltas[1:])
    assert "".join(delta["function"]["arguments"] for delta in deltas) == '{"city": "word"}'


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "gpt-4"}, "unknown model 'gpt-4'"),
        ({"temperature": 0}, "temperature must be in (0, 1]"),
        ({"temperature": 2.5, "model": "MiniMax-M3"}, "temperature must be in [0, 2]"),
        ({"top_p": 0}, "top_p must be in (0, 1]"),
        ({"n": 2}, "n must be 1"),
        ({"tool_choice": "required"}, "tool_choice must be auto or none"),
        ({"messages": [{"role": "developer", "content": "x"}]}, "invalid message role"),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "tool", "content": "y"}]},
            "tool call result does not follow tool call",
        ),
        ({"messages": [{"role": "user", "content": "x" * 900_000}]}, "context window exceeds limit"),
    ],
)
async def test_refusals(ask: Ask, fields: dict[str, Any], words: str) -> None:
    """All 400 with code 2013 in parentheses; the HTTP status stands in the body as a string."""
    reply = await ask("minimax", **fields)
    assert reply.status == 400
    assert reply.json["type"] == "error"
    assert reply.json["error"] == {
        "type": "bad_request_error",
        "message": f"invalid params, {words} (2013)",
        "http_code": "400",
    }


async def test_tool_results_may_follow_each_other(ask: Ask) -> None:
    """Two calls in one turn have two results."""
    calls = [{"id": "1"}, {"id": "2"}]
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "1", "content": "y"},
        {"role": "tool", "tool_call_id": "2", "content": "z"},
    ]
    assert (await ask("minimax", messages=messages)).status == 200


async def test_m3_can_be_told_not_to_think(ask: Ask) -> None:
    """The old models cannot."""
    off = {"thinking": {"type": "disabled"}}
    assert "<think>" not in (await ask("minimax", model="MiniMax-M3", **off)).json["choices"][0]["message"]["content"]
    assert "<think>" in (await ask("minimax", **off)).json["choices"][0]["message"]["content"]


async def test_errors_hide_in_200(ask: Ask, order: Order) -> None:
    """The old envelope, plain and as the only event of a stream."""
    await order("minimax", "error_in_200", name="no_balance", times=2)
    plain, streamed = await ask("minimax"), await ask("minimax", stream=True)
    assert (plain.status, streamed.status) == (200, 200)
    assert plain.json["base_resp"] == {"status_code": 1008, "status_msg": "insufficient balance"}
    assert [plain.json["base_resp"]] == [chunk["base_resp"] for chunk in streamed.chunks]


async def test_keys_and_plan(simulator: Running, http: aiohttp.ClientSession) -> None:
    """1004 without a key, 2049 for a wrong one; a plan's remains instead of a balance."""
    address = f"{simulator.url}/minimax/v1/token_plan/remains"
    for headers, code in (({}, "(1004)"), ({"Authorization": "Bearer wrong"}, "(2049)")):
        async with http.get(address, headers=headers) as answer:
            assert answer.status == 401
            assert code in (await answer.json())["error"]["message"]
    async with http.get(address, headers={"Authorization": f"Bearer {KEYS['minimax']}"}) as answer:
        assert (await answer.json())["model_remains"][0]["current_interval_usage_count"] == 110


async def test_cached_tokens_are_named_when_there_are_some(
    ask: Ask, simulator: Running, http: aiohttp.ClientSession
) -> None:
    """Absent otherwise."""
    assert "prompt_tokens_details" not in (await ask("minimax")).json["usage"]
    async with http.put(f"{simulator.url}/_simulator/minimax/settings", json={"cached_tokens": 3}):
        pass
    assert (await ask("minimax")).json["usage"]["prompt_tokens_details"] == {"cached_tokens": 3}
