"""simulator/kimi.py: what only Kimi (Moonshot) does."""

from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from simulator.facts import KEYS
from simulator.server import Running

Ask = Callable[..., Awaitable[Any]]
Order = Callable[..., Awaitable[None]]

TOOL = {"type": "function", "function": {"name": "f"}}
OFF = {"thinking": {"type": "disabled"}}


async def test_usage_stands_inside_the_choice(ask: Ask) -> None:
    """Always on the finish chunk's choice, and once more on a chunk of its own for who asked."""
    usage = (await ask("kimi")).json["usage"]
    assert usage == {"prompt_tokens": 8, "completion_tokens": 13, "total_tokens": 21, "cached_tokens": 0}
    silent = (await ask("kimi", stream=True)).chunks
    assert silent[-1]["choices"][0]["usage"] == usage
    asked = (await ask("kimi", stream=True, stream_options={"include_usage": True})).chunks
    assert asked[-2]["choices"][0]["usage"] == usage
    assert (asked[-1]["choices"], asked[-1]["usage"]) == ([], usage)
    assert all("usage" not in chunk for chunk in asked[:-1])


async def test_reasoning_can_eat_the_limit(ask: Ask) -> None:
    """Then the text is empty and the finish is `length`."""
    choice = (await ask("kimi", max_completion_tokens=5)).json["choices"][0]
    assert choice["message"]["content"] == ""
    assert choice["message"]["reasoning_content"]
    assert choice["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 0.7}, "invalid temperature: only 1 is allowed for this model"),
        ({"temperature": 1, **OFF}, "invalid temperature: only 0.6 is allowed for this model"),
        ({"top_p": 1}, "invalid top_p: only 0.95 is allowed for this model"),
        ({"n": 2}, "invalid n: only 1 is allowed for this model"),
        ({"presence_penalty": 0.5}, "invalid presence_penalty: only 0 is allowed for this model"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
            "tool_choice 'specified' is incompatible with thinking enabled",
        ),
        ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice 'required' is incompatible with thinking enabled"),
        ({"tools": [TOOL, TOOL]}, "Invalid request: function name must be unique"),
        ({"stop": ["a"] * 6}, "Invalid request: stop must be at most 5 strings of at most 32 bytes"),
        ({"messages": [{"role": "developer", "content": "x"}]}, "Invalid request: invalid role"),
        (
            {"messages": [{"role": "user", "content": ""}]},
            "Invalid request: message at position 0 with role 'user' must not be empty",
        ),
        (
            {"messages": [{"role": "tool", "content": "x", "tool_call_id": "7"}]},
            "Invalid request: tool_call_id  is not found",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/x"}}]}
                ]
            },
            "Invalid request: unsupported image url, only base64 and ms:// are supported",
        ),
        (
            {"max_tokens": 262_144},
            "Invalid request: Your request exceeded model token limit: 262144 (requested: 262152)",
        ),
        ({"model": "kimi-k2.7-code", **OFF}, "invalid thinking: only type=enabled is allowed for this model"),
    ],
)
async def test_refusals(ask: Ask, fields: dict[str, Any], message: str) -> None:
    """400 with a type and a message, and nothing else."""
    reply = await ask("kimi", **fields)
    assert reply.status == 400
    assert reply.json == {"error": {"type": "invalid_request_error", "message": message}}


async def test_the_pinned_values_themselves_are_let_through(ask: Ask) -> None:
    """And a demanded tool at k3."""
    assert (await ask("kimi", temperature=1, top_p=0.95, n=1)).status == 200
    assert (await ask("kimi", temperature=0.6, **OFF)).status == 200
    assert (await ask("kimi", model="kimi-k3", tools=[TOOL], tool_choice="required")).status == 200


async def test_function_names_are_checked(ask: Ask) -> None:
    """They must begin with a letter."""
    reply = await ask("kimi", tools=[{"type": "function", "function": {"name": "1st"}}])
    assert "function name is invalid" in reply.json["error"]["message"]


@pytest.mark.parametrize("model", ["kimi-k2", "moonshot-v1-8k"])
async def test_retired_models(ask: Ask, model: str) -> None:
    """404 in the vendor's words."""
    reply = await ask("kimi", model=model)
    assert reply.status == 404
    assert reply.json == {
        "error": {"type": "resource_not_found_error", "message": f"Not found the model {model} or Permission denied"}
    }


async def test_tool_calls_are_named_after_the_function(ask: Ask) -> None:
    """`get_weather:0`."""
    message = (await ask("kimi", "call the tool twice", tools=[TOOL])).json["choices"][0]["message"]
    assert ["f:0", "f:1"] == [call["id"] for call in message["tool_calls"]]


async def test_a_tool_result_finds_its_call(ask: Ask) -> None:
    """The whole loop is accepted."""
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "f:0"}]},
        {"role": "tool", "tool_call_id": "f:0", "content": "y"},
    ]
    assert (await ask("kimi", messages=messages)).status == 200


async def test_three_kinds_of_429(ask: Ask, order: Order) -> None:
    """No money, too fast, too busy: told apart by the type, and only the last says when to come back."""
    seen = []
    for name in ("no_balance", "rate_limited", "overloaded"):
        await order("kimi", "status", name=name)
        reply = await ask("kimi")
        assert reply.status == 429
        seen.append((reply.json["error"]["type"], reply.headers.get("Retry-After")))
    assert seen == [
        ("exceeded_current_quota_error", None),
        ("rate_limit_reached_error", None),
        ("engine_overloaded_error", "1"),
    ]


async def test_keys_headers_models_and_balance(simulator: Running, http: aiohttp.ClientSession) -> None:
    """Two kinds of 401, the vendor's trace header, and lists that tell more than others'."""
    address = f"{simulator.url}/kimi/v1"
    async with http.get(f"{address}/models") as answer:
        assert (await answer.json())["error"]["type"] == "invalid_authentication_error"
    async with http.get(f"{address}/models", headers={"Authorization": "Bearer x"}) as answer:
        assert (await answer.json())["error"]["type"] == "incorrect_api_key_error"
    headers = {"Authorization": f"Bearer {KEYS['kimi']}"}
    async with http.get(f"{address}/models", headers=headers) as answer:
        assert answer.headers["Msh-Request-Id"]
        row = (await answer.json())["data"][0]
        assert (row["id"], row["context_length"], row["supports_image_in"]) == ("kimi-k2.6", 262_144, True)
    async with http.get(f"{address}/users/me/balance", headers=headers) as answer:
        assert (await answer.json())["data"]["available_balance"] == 110.0
