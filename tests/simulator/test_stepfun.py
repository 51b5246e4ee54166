"""simulator/stepfun.py: what only StepFun does."""

from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from simulator.facts import KEYS
from simulator.server import Running

Ask = Callable[..., Awaitable[Any]]
Order = Callable[..., Awaitable[None]]


async def test_every_chunk_counts_usage_up(ask: Ask) -> None:
    """And the last holds text, finish reason and usage together."""
    reply = await ask("stepfun", stream=True)
    assert list(range(1, 14)) == [chunk["usage"]["completion_tokens"] for chunk in reply.chunks]
    assert all(chunk["agent"] == "" for chunk in reply.chunks)
    assert all("finish_reason" not in chunk["choices"][0] for chunk in reply.chunks[:-1])
    last = reply.chunks[-1]["choices"][0]
    assert last["finish_reason"] == "stop"
    assert last["delta"]["content"] != ""
    assert reply.events[-1] == "[DONE]"


async def test_thoughts_are_named_by_format(ask: Ask) -> None:
    """`reasoning` by default, `reasoning_content` in DeepSeek's style; plain and streamed."""
    plain = (await ask("stepfun")).json["choices"][0]["message"]
    assert "reasoning" in plain
    assert "reasoning_content" not in plain
    style = {"reasoning_format": "deepseek-style"}
    assert (await ask("stepfun", **style)).json["choices"][0]["message"]["reasoning_content"] == plain["reasoning"]
    assert (await ask("stepfun", stream=True)).said("reasoning") == plain["reasoning"]
    assert (await ask("stepfun", stream=True, **style)).said("reasoning_content") == plain["reasoning"]


async def test_an_answer_of_nothing_still_finishes(ask: Ask) -> None:
    """One chunk, with the finish on it."""
    (chunk,) = (await ask("stepfun", "pieces=0", model="step-2-mini", stream=True)).chunks
    assert chunk["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "gpt-4"}, "model gpt-4 not supported"),
        ({"messages": [{"role": "function", "content": "x"}]}, "invalid msg role: function"),
        ({"messages": [{"role": "developer", "content": "x"}]}, "invalid msg role: developer"),
        ({"temperature": 3}, "invalid temperature: must be in [0, 2]"),
        (
            {"model": "step-2-mini", "messages": [{"role": "user", "content": "x" * 40_000}]},
            "input_invalid: prompt exceeds the context length of 8000",
        ),
    ],
)
async def test_refusals(ask: Ask, fields: dict[str, Any], message: str) -> None:
    """400 with a message and a type."""
    reply = await ask("stepfun", **fields)
    assert reply.status == 400
    assert reply.json == {"error": {"message": message, "type": "request_params_invalid"}}


async def test_blocked_content_is_a_451_or_a_frame(ask: Ask, order: Order) -> None:
    """Before the stream a status, in it an error frame."""
    await order("stepfun", "status", name="content_filter")
    await order("stepfun", "error_after", name="content_filter", chunks=2)
    before, within = await ask("stepfun", stream=True), await ask("stepfun", stream=True)
    assert before.status == 451
    assert before.json["error"]["type"] == "censorship_blocked"
    assert within.status == 200
    assert within.chunks[-1] == before.json


async def test_a_fault_in_the_usage_shows_on_every_chunk(ask: Ask, order: Order) -> None:
    """What is laid over it, and none at all."""
    await order("stepfun", "usage", usage={"prompt_tokens": -1})
    await order("stepfun", "no_usage")
    odd = (await ask("stepfun", stream=True)).chunks
    assert {-1} == {chunk["usage"]["prompt_tokens"] for chunk in odd}
    assert all("usage" not in chunk for chunk in (await ask("stepfun", stream=True)).chunks)


async def test_balance_and_cache(ask: Ask, simulator: Running, http: aiohttp.ClientSession) -> None:
    """`/accounts` tells the balance; cached tokens stand at the top of usage."""
    headers = {"Authorization": f"Bearer {KEYS['stepfun']}"}
    async with http.get(f"{simulator.url}/stepfun/v1/accounts", headers=headers) as answer:
        assert (await answer.json())["balance"] == 110.0
    async with http.put(f"{simulator.url}/_simulator/stepfun/settings", json={"cached_tokens": 4}):
        pass
    assert (await ask("stepfun")).json["usage"]["cached_tokens"] == 4
