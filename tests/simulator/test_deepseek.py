"""simulator/deepseek.py: what only DeepSeek does."""

from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from simulator.facts import KEYS
from simulator.server import Running

Ask = Callable[..., Awaitable[Any]]

OFF = {"type": "disabled"}


async def test_it_thinks_unless_told_not_to(ask: Ask) -> None:
    """Thoughts stand beside the text and are counted inside the completion; without them the detail is absent."""
    thinking = (await ask("deepseek")).json
    assert thinking["choices"][0]["message"]["reasoning_content"]
    assert thinking["usage"]["completion_tokens"] == 13
    assert thinking["usage"]["completion_tokens_details"] == {"reasoning_tokens": 8}
    silent = (await ask("deepseek", thinking=OFF)).json
    assert "reasoning_content" not in silent["choices"][0]["message"]
    assert silent["usage"] == {
        "prompt_tokens": 8,
        "completion_tokens": 5,
        "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 0},
        "prompt_cache_hit_tokens": 0,
        "prompt_cache_miss_tokens": 8,
    }


async def test_the_usage_chunk_still_has_a_choice(ask: Ask) -> None:
    """Seen live: an empty delta and a null finish reason beside the usage."""
    chunks = (await ask("deepseek", stream=True, stream_options={"include_usage": True})).chunks
    assert chunks[-1]["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": None}]
    assert chunks[-1]["usage"]["completion_tokens"] == 13
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": None, "reasoning_content": ""}
    assert all("usage" not in chunk for chunk in (await ask("deepseek", stream=True)).chunks)


async def test_thoughts_come_before_the_text(ask: Ask) -> None:
    """Never mixed."""
    reply = await ask("deepseek", stream=True)
    kinds = ["t" if "reasoning_content" in c["choices"][0]["delta"] else "c" for c in reply.chunks]
    assert "".join(kinds).lstrip("t").strip("c") == ""
    assert reply.said("reasoning_content")


async def test_max_completion_tokens_is_not_known_here(ask: Ask) -> None:
    """Unknown fields are ignored: who forgets to rename this one loses the limit."""
    body = (await ask("deepseek", max_completion_tokens=2, thinking=OFF)).json
    assert body["usage"]["completion_tokens"] == 5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"model": "deepseek-chat"},
            "The supported API model names are deepseek-flash, deepseek-v4-pro, but you passed deepseek-chat.",
        ),
        (
            {"messages": [{"role": "developer", "content": "x"}]},
            (
                "Failed to deserialize the JSON body into the target type: messages[0].role: unknown variant 'developer', "
                "expected one of 'system', 'user', 'assistant', 'tool', 'latest_reminder'"
            ),
        ),
        ({"max_tokens": 393_217}, "Invalid max_tokens value, the valid range of max_tokens is [1, 393216]"),
        ({"response_format": {"type": "json_schema"}}, "This response_format type is unavailable now"),
        (
            {"response_format": {"type": "json_object"}},
            "Prompt must contain the word 'json' in some form to use 'response_format' of type 'json_object'.",
        ),
        (
            {"tools": [{"type": "web_search"}]},
            (
                "Failed to deserialize the JSON body into the target type: tools[0].type: unknown variant 'web_search', "
                "expected 'function'"
            ),
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "x"},
                    {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]},
                    {"role": "tool", "tool_call_id": "1", "content": "y"},
                ]
            },
            "The `reasoning_content` in the thinking mode must be passed back to the API.",
        ),
    ],
)
async def test_refusals(ask: Ask, fields: dict[str, Any], message: str) -> None:
    """In the vendor's own words, with status 400."""
    reply = await ask("deepseek", **fields)
    assert reply.status == 400
    assert reply.json == {
        "error": {"message": message, "type": "invalid_request_error", "param": None, "code": "invalid_request_error"}
    }


async def test_a_prompt_too_long_is_refused_with_its_counts(ask: Ask) -> None:
    """Prompt and wanted completion are counted together."""
    reply = await ask("deepseek", "x" * 2_600_000, max_tokens=393_216)
    asked = 650_000 + 4 + 393_216
    assert reply.json["error"]["message"] == (
        f"This model's maximum context length is 1000000 tokens. However, you requested {asked} tokens "
        "(650004 in the messages, 393216 in the completion). Please reduce the length of the messages or completion."
    )


async def test_keys(simulator: Running, http: aiohttp.ClientSession) -> None:
    """A missing key is answered in plain text without a content type, a bad one with its last four characters."""
    address = f"{simulator.url}/deepseek/models"
    async with http.get(address) as missing:
        assert (missing.status, await missing.text()) == (401, "Authentication Fails (governor)")
        assert "Content-Type" not in missing.headers
    async with http.get(address, headers={"Authorization": "Bearer sk-wrong-fcc2"}) as bad:
        assert (await bad.json())["error"]["message"] == "Authentication Fails, Your api key: ****fcc2 is invalid"


async def test_balance_and_models(simulator: Running, http: aiohttp.ClientSession) -> None:
    """Amounts are strings; aliases answer without being listed."""
    headers = {"Authorization": f"Bearer {KEYS['deepseek']}"}
    async with http.get(f"{simulator.url}/deepseek/user/balance", headers=headers) as answer:
        assert (await answer.json())["balance_infos"][0]["total_balance"] == "110.00"
    async with http.get(f"{simulator.url}/deepseek/models", headers=headers) as answer:
        assert ["deepseek-flash", "deepseek-v4-pro"] == [row["id"] for row in (await answer.json())["data"]]


async def test_signs_of_life_while_one_waits(ask: Ask, simulator: Running, http: aiohttp.ClientSession) -> None:
    """Comments before a stream, empty lines before a plain body, when the wait is longer than their interval."""
    settings = {"latency_seconds": 0.07, "keep_alive_seconds": 0.02}
    async with http.put(f"{simulator.url}/_simulator/deepseek/settings", json=settings) as answer:
        assert answer.status == 200
    streamed = await ask("deepseek", stream=True)
    assert streamed.body.startswith(b": keep-alive\n\n" * 3 + b"data: ")
    plain = await ask("deepseek")
    assert plain.body.startswith(b"\n\n\n{")
    assert plain.json["choices"]


async def test_a_tool_call_has_its_own_kind_of_id(ask: Ask) -> None:
    """`call_00_…`, and an empty text beside it."""
    tool = {"type": "function", "function": {"name": "f"}}
    message = (await ask("deepseek", "call the tool", tools=[tool])).json["choices"][0]["message"]
    assert message["content"] == ""
    assert message["tool_calls"][0]["id"].startswith("call_00_")
