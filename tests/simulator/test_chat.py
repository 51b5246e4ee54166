"""simulator/chat.py: who is let in, which fault a call gets, and what is written down."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from simulator.facts import KEYS, PROVIDERS, base_url
from simulator.server import Running

Ask = Callable[..., Awaitable[Any]]
Order = Callable[..., Awaitable[None]]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_down_refuses_everything_with_503(
    ask: Ask, simulator: Running, http: aiohttp.ClientSession, provider: str
) -> None:
    """Chat and the list of models, in the vendor's shape, until it is up again."""
    address = f"{simulator.url}/_simulator/{provider}/down"
    async with http.put(address, json={"down": True}):
        pass
    reply = await ask(provider)
    assert reply.status == 503
    assert "error" in reply.json
    async with http.get(f"{base_url(simulator.url, provider)}/models") as models:
        assert models.status == 503
    async with http.put(address, json={"down": False}):
        pass
    assert (await ask(provider)).status == 200


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_any_key_of_the_right_form_is_let_in(ask: Ask, provider: str) -> None:
    """So that callers can bring their own; others are refused with 401."""
    good = "simcaller.secret" if provider == "zhipu" else "sk-sim-caller_7"
    assert (await ask(provider, key=good)).status == 200
    assert (await ask(provider, key="sk-real")).status == 401


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_what_is_no_request_is_a_400(simulator: Running, http: aiohttp.ClientSession, provider: str) -> None:
    """In the vendor's shape, with a sentence."""
    headers = {"Authorization": f"Bearer {KEYS[provider]}"}
    async with http.post(f"{base_url(simulator.url, provider)}/chat/completions", data=b"{", headers=headers) as answer:
        assert answer.status == 400
        assert "JSON" in json.dumps(await answer.json())


async def test_routes_with_and_without_version(ask: Ask) -> None:
    """`/v1` makes no difference."""
    plain, versioned = await ask("minimax"), await ask("minimax", path="v1/chat/completions")
    assert plain.json["choices"] == versioned.json["choices"]


async def test_orders_that_wait_come_one_after_another(ask: Ask, order: Order) -> None:
    """Three times 503, then an answer: what a retry meets."""
    await order("deepseek", "status", status=503, times=3)
    assert [503, 503, 503, 200] == [(await ask("deepseek")).status for _ in range(4)]


async def test_an_order_in_the_prompt_is_for_that_request_alone(ask: Ask) -> None:
    """Other requests go well, this one each time, or as often as it says."""
    ordered = 'Hello SIM:{"kind":"status","name":"overloaded","retry_after":7}'
    spoiled = await ask("kimi", ordered)
    assert (spoiled.status, spoiled.headers["Retry-After"]) == (429, "7")
    assert (await ask("kimi")).status == 200
    assert (await ask("kimi", ordered)).status == 429
    twice = 'Hello SIM:{"kind":"status","status":500,"times":2}'
    assert [500, 500, 200] == [(await ask("kimi", twice)).status for _ in range(3)]
    elsewhere = 'SIM:{"kind":"status","status":500,"provider":"qwen"}'
    assert [200, 500] == [(await ask(provider, elsewhere)).status for provider in ("kimi", "qwen")]


async def test_a_malformed_order_in_a_prompt_is_a_400(ask: Ask) -> None:
    """With the sentence that says what is wrong."""
    reply = await ask("openai", 'SIM:{"kind":"explode"}')
    assert reply.status == 400
    assert "explode" in reply.json["error"]["message"]


async def test_orders_change_the_speed_of_their_call(ask: Ask, order: Order) -> None:
    """Only of theirs."""
    await order("openai", "none", latency_seconds=0.15, pieces_per_second=100)
    clock = asyncio.get_running_loop().time
    began = clock()
    await ask("openai", "pieces=10", stream=True)
    assert clock() - began >= 0.25


async def test_the_echoed_key_is_the_one_received(ask: Ask, order: Order) -> None:
    """So that a gateway can be shown to hide it."""
    await order("openai", "echo_key", times=2)
    assert "sk-sim-canary" in (await ask("openai", key="sk-sim-canary")).body.decode()
    assert "sk-sim-canary" in (await ask("openai", key="sk-sim-canary", stream=True)).said()


async def test_forms_can_be_exchanged(ask: Ask, order: Order) -> None:
    """JSON for a stream, a stream for JSON, a redirect, a page, and nothing."""
    for kind in ("plain_json_to_stream", "sse_to_plain", "redirect", "html_200", "empty_200"):
        await order("openai", kind)
    plain = await ask("openai", stream=True)
    assert (plain.headers["Content-Type"], plain.json["object"]) == ("application/json", "chat.completion")
    streamed = await ask("openai")
    assert streamed.headers["Content-Type"].startswith("text/event-stream")
    assert streamed.events[-1] == "[DONE]"
    moved = await ask("openai")
    assert (moved.status, moved.headers["Location"]) == (307, "http://127.0.0.1:9/elsewhere")
    assert (await ask("openai")).body.startswith(b"<!DOCTYPE html>")
    empty = await ask("openai")
    assert (empty.status, empty.body) == (200, b"")


async def test_more_calls_at_once_than_the_limit_are_too_many(
    ask: Ask, simulator: Running, http: aiohttp.ClientSession
) -> None:
    """The vendor's rate limit answers the third of two."""
    limits = {"concurrent_limit": 2, "latency_seconds": 0.1}
    async with http.put(f"{simulator.url}/_simulator/deepseek/settings", json=limits):
        pass
    replies = await asyncio.gather(*(ask("deepseek") for _ in range(3)))
    assert [200, 200, 429] == sorted(reply.status for reply in replies)
    assert simulator.state.providers["deepseek"].calls_in_flight == 0


async def test_what_was_asked_is_written_down(ask: Ask, order: Order, simulator: Running) -> None:
    """Model, form, fault, status and body, and no key."""
    await order("qwen", "status", name="server_error")
    await ask("qwen", "first", stream=True)
    await ask("qwen", "second")
    first, second = simulator.state.journal.calls()
    assert (first.provider, first.model, first.streamed) == ("qwen", "qwen3.8-max", True)
    assert (first.fault, first.status, first.completed) == ("status", 500, True)
    assert (second.fault, second.status, second.path) == ("", 200, "/qwen/chat/completions")
    assert json.loads(second.body)["messages"][0]["content"] == "second"
    assert second.key_last_four == KEYS["qwen"][-4:]
    assert KEYS["qwen"] not in json.dumps([first.shown(), second.shown()])
    assert first.peer_port == second.peer_port


async def test_an_answer_given_before_is_given_again(ask: Ask, simulator: Running, order: Order) -> None:
    """Kept answers are recorded like others, and an order that waits is not passed over for them."""
    first, second = await ask("openai", stream=True), await ask("openai", stream=True)
    assert first.said() == second.said()
    assert first.chunks[0]["id"] != second.chunks[0]["id"]
    calls = simulator.state.journal.calls()
    assert [(call.model, call.streamed, call.pieces_sent) for call in calls] == [("gpt-sim", True, 5)] * 2
    await order("openai", "status", status=500)
    assert (await ask("openai", stream=True)).status == 500
