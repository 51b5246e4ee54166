"""simulator/zhipu.py: what only Zhipu does."""

from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from simulator.facts import KEYS
from simulator.server import Running

Ask = Callable[..., Awaitable[Any]]

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"city": {}}}}}


async def test_a_stream_repeats_the_role_and_reports_usage_at_the_finish(ask: Ask) -> None:
    """No chunk for the role alone, no `object`, no finish reason before the last, usage unasked."""
    chunks = (await ask("zhipu", stream=True)).chunks
    assert len(chunks) == 6
    assert {"assistant"} == {chunk["choices"][0]["delta"]["role"] for chunk in chunks}
    assert all("finish_reason" not in chunk["choices"][0] for chunk in chunks[:-1])
    assert all("usage" not in chunk for chunk in chunks[:-1])
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["completion_tokens"] == 5
    assert "object" not in chunks[0]


async def test_thinking_by_model(ask: Ask) -> None:
    """Old models never think, those between when not told otherwise, the newest always."""

    async def thinks(model: str, **fields: Any) -> bool:
        return "reasoning_content" in (await ask("zhipu", model=model, **fields)).json["choices"][0]["message"]

    off = {"thinking": {"type": "disabled"}}
    assert not await thinks("glm-4-plus")
    assert await thinks("glm-4.7")
    assert not await thinks("glm-4.7", **off)
    assert await thinks("glm-5.3", **off)


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        ({"model": "gpt-4"}, "1211", "模型不存在，请检查模型代码"),
        ({"temperature": 0}, "1210", "API 调用参数有误，请检查文档"),
        ({"temperature": 1.5}, "1210", "API 调用参数有误，请检查文档"),
        ({"top_p": 0}, "1210", "API 调用参数有误，请检查文档"),
        ({"stop": ["a", "b"]}, "1214", "stop 参数非法。请检查文档"),
        ({"tool_choice": "required"}, "1214", "tool_choice 参数非法。请检查文档"),
        ({"max_tokens": 4_096}, "1214", "max_tokens 参数非法。请检查文档"),
        ({"messages": [{"role": "developer", "content": "x"}]}, "1214", "messages 参数非法。请检查文档"),
        ({"messages": [{"role": "user", "content": "x" * 600_000}]}, "1261", "Prompt 超长"),
    ],
)
async def test_refusals(ask: Ask, fields: dict[str, Any], code: str, message: str) -> None:
    """A number in a string and a sentence in Chinese, with status 400."""
    reply = await ask("zhipu", **fields)
    assert reply.status == 400
    assert reply.json == {"error": {"code": code, "message": message}}


async def test_do_sample_switches_the_temperature_off(ask: Ask) -> None:
    """The way to ask for a temperature of zero here."""
    assert (await ask("zhipu", temperature=0, do_sample=False)).status == 200


async def test_a_request_id_is_good_for_one_request(ask: Ask) -> None:
    """A retry must not send it again."""
    assert (await ask("zhipu", request_id="once")).status == 200
    again = await ask("zhipu", request_id="once")
    assert again.json == {"error": {"code": "1231", "message": "您已有请求：once"}}
    assert (await ask("zhipu", request_id="twice")).status == 200


async def test_a_tool_call_comes_whole_unless_streamed_by_wish(ask: Ask) -> None:
    """One delta with all arguments, or fragments with `tool_stream`."""

    async def deltas(**fields: Any) -> list[Any]:
        chunks = (await ask("zhipu", "call the tool", tools=[TOOL], stream=True, **fields)).chunks
        return [delta for chunk in chunks for delta in chunk["choices"][0]["delta"].get("tool_calls", [])]

    (whole,) = await deltas()
    assert whole["function"] == {"name": "f", "arguments": '{"city": "word"}'}
    fragments = await deltas(tool_stream=True)
    assert len(fragments) > 2
    assert whole["function"]["arguments"] == "".join(delta["function"]["arguments"] for delta in fragments)


async def test_keys(simulator: Running, http: aiohttp.ClientSession) -> None:
    """An id and a secret with a point between; 1001 without, code "401" for a bad one."""
    address = f"{simulator.url}/zhipu/models"
    for key, code in (("", "1001"), ("Bearer sk-sim1", "401"), ("Bearer simid", "401")):
        async with http.get(address, headers={"Authorization": key} if key else {}) as answer:
            assert answer.status == 401
            assert (await answer.json())["error"]["code"] == code
    async with http.get(address, headers={"Authorization": "Bearer simid.secret"}) as answer:
        assert answer.status == 200


async def test_the_balance_route_hides_its_failure_in_200(simulator: Running, http: aiohttp.ClientSession) -> None:
    """Success is told by the body."""
    address = f"{simulator.url}/zhipu/api/biz/account/query-customer-account-report"
    async with http.get(address, headers={"Authorization": "Bearer wrong"}) as answer:
        assert answer.status == 200
        assert (await answer.json())["success"] is False
    async with http.get(address, headers={"Authorization": f"Bearer {KEYS['zhipu']}"}) as answer:
        assert (await answer.json())["data"]["availableBalance"] == 110.0
