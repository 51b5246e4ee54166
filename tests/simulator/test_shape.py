"""simulator/shape.py: OpenAI's own shape, which every vendor's is built on."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from simulator.facts import PROVIDERS
from simulator.settings import Settings
from simulator.vendors import SHAPES

Ask = Callable[..., Awaitable[Any]]

TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"properties": {"city": {}}}}}
USAGE = {
    "prompt_tokens": 8,
    "completion_tokens": 5,
    "total_tokens": 13,
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}


async def test_a_plain_answer(ask: Ask) -> None:
    """OpenAI's chat.completion, under whatever model name was asked for."""
    reply = await ask("openai", model="any-model-at-all")
    body = reply.json
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json"
    assert body["object"] == "chat.completion"
    assert body["model"] == "any-model-at-all"
    assert body["usage"] == USAGE
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "stop"
    assert len(choice["message"]["content"]) == 20


async def test_a_stream_says_what_the_plain_answer_says(ask: Ask) -> None:
    """Role first, a chunk a piece, the finish, then `[DONE]`; no usage unless asked for."""
    plain, streamed = await ask("openai"), await ask("openai", stream=True)
    assert streamed.headers["Content-Type"].startswith("text/event-stream")
    assert streamed.said() == plain.json["choices"][0]["message"]["content"]
    assert streamed.events[-1] == "[DONE]"
    assert len(streamed.chunks) == 7
    assert all("usage" not in chunk for chunk in streamed.chunks)
    assert streamed.chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [None] * 6 + ["stop"] == [chunk["choices"][0]["finish_reason"] for chunk in streamed.chunks]


async def test_usage_of_a_stream_when_asked_for(ask: Ask) -> None:
    """Null on every chunk, and once on a last one without choices."""
    chunks = (await ask("openai", stream=True, stream_options={"include_usage": True})).chunks
    assert [chunk["usage"] for chunk in chunks] == [None] * 7 + [USAGE]
    assert chunks[-1]["choices"] == []


async def test_several_choices_take_turns(ask: Ask) -> None:
    """Each choice has its own text and its own finish."""
    plain = await ask("openai", n=2)
    streamed = await ask("openai", n=2, stream=True)
    texts = ["", ""]
    for chunk in streamed.chunks:
        texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["delta"].get("content") or ""
    assert texts == [choice["message"]["content"] for choice in plain.json["choices"]]
    assert [0, 1, 0, 1] == [chunk["choices"][0]["index"] for chunk in streamed.chunks[:4]]
    assert [0, 1] == [chunk["choices"][0]["index"] for chunk in streamed.chunks if chunk["choices"][0]["finish_reason"]]


async def test_a_tool_call_plain_and_streamed(ask: Ask) -> None:
    """Name and id come first, then the arguments in fragments that join to the same JSON."""
    plain = (await ask("openai", "call the tool", tools=[TOOL])).json["choices"][0]
    streamed = (await ask("openai", "call the tool", tools=[TOOL], stream=True)).chunks
    (call,) = plain["message"]["tool_calls"]
    assert plain["finish_reason"] == "tool_calls"
    assert plain["message"]["content"] is None
    deltas = [d for chunk in streamed for d in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert deltas[0] == {"index": 0, **call, "function": {"name": "get_weather", "arguments": ""}}
    assert call["function"]["arguments"] == "".join(delta["function"]["arguments"] for delta in deltas)
    assert streamed[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_same_request_same_answer_under_another_id(ask: Ask, provider: str) -> None:
    """Everywhere: the words repeat, the id does not."""
    first, second = (await ask(provider)).json, (await ask(provider)).json
    assert first["id"] != second["id"]
    assert first["choices"] == second["choices"]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_streams_and_plain_answers_report_the_same_usage(ask: Ask, provider: str) -> None:
    """Everywhere: wherever it stands, the last usage of a stream is that of the plain answer."""
    plain = (await ask(provider)).json["usage"]
    chunks = (await ask(provider, stream=True, stream_options={"include_usage": True})).chunks
    found = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    assert found[-1] == plain
    assert plain["total_tokens"] == plain["prompt_tokens"] + plain["completion_tokens"]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_token_limit_ends_with_length(ask: Ask, provider: str) -> None:
    """Everywhere: `max_tokens` is obeyed and told."""
    body = (await ask(provider, "pieces=50", max_tokens=20)).json
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 20


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_chinese_survives_the_wire(ask: Ask, provider: str) -> None:
    """Everywhere: bytes are UTF-8, streamed and not."""
    plain = await ask(provider, "你好 pieces=20")
    streamed = await ask(provider, "你好 pieces=20", stream=True)
    content = plain.json["choices"][0]["message"]["content"]
    assert "。" in content
    assert content == streamed.said()


@pytest.mark.parametrize("provider", [name for name in PROVIDERS if name != "openai"])
async def test_models_that_are_not_sold_are_refused(ask: Ask, provider: str) -> None:
    """Everywhere but at the shape that takes any name: a refusal that names the model or says that it is unknown."""
    reply = await ask(provider, model="gpt-4")
    assert reply.status in (400, 404)
    assert "gpt-4" in reply.body.decode() or "模型不存在" in reply.body.decode()


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_an_image_is_refused_by_a_model_that_cannot_see(ask: Ask, provider: str) -> None:
    """Everywhere: a picture in base64 is let through to models with eyes only."""
    blind = {"deepseek": "deepseek-v4-pro", "zhipu": "glm-4.7", "minimax": "MiniMax-M2.5", "qwen": "qwen-plus"}
    seeing = {"zhipu": "glm-5.3-flash", "minimax": "MiniMax-M3"}
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    messages = [{"role": "user", "content": parts}]
    fields = {"model": seeing[provider]} if provider in seeing else {}
    assert (await ask(provider, messages=messages, **fields)).status == 200
    blind_model = {**blind, "stepfun": "step-3.5-flash"}.get(provider)
    if blind_model is not None:
        assert (await ask(provider, messages=messages, model=blind_model)).status == 400


def test_a_status_a_code_and_a_message_find_their_refusal() -> None:
    """Codes are the vendor's own, a bare status means what it means everywhere, 502 is the edge's page."""
    shape = SHAPES["zhipu"]
    assert shape.refusal_for(None, "1113", "").status == 429
    assert shape.refusal_for(None, "rate_limited", "").code == "1302"
    assert shape.refusal_for(402, "", "").message == "您的账户已欠费，请充值后重试"
    assert shape.refusal_for(402, "", "").status == 402
    assert shape.refusal_for(418, "", "short and stout").message == "short and stout"
    assert shape.refusal_for(502, "", "").content_type == "text/html"
    assert shape.refusal_for(None, "9999", "").code == "9999"


def test_a_vendor_without_a_balance_route_has_no_page() -> None:
    """Nothing is told where the vendor tells nothing."""
    shape = SHAPES["openai"]
    assert shape.balance_path == ""
    assert shape.balance_page(Settings()) is None


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_tool_call_everywhere(ask: Ask, provider: str) -> None:
    """However its deltas are cut, a stream calls the same function with the same arguments as the plain answer."""
    fields = {"tools": [TOOL], "reasoning_split": True}
    plain = (await ask(provider, "call the tool", **fields)).json["choices"][0]
    (call,) = plain["message"]["tool_calls"]
    assert plain["finish_reason"] == "tool_calls"
    assert not plain["message"]["content"]
    chunks = (await ask(provider, "call the tool", stream=True, **fields)).chunks
    deltas = [d for chunk in chunks for c in chunk["choices"] for d in c["delta"].get("tool_calls", [])]
    assert deltas[0]["id"] == call["id"]
    assert deltas[0]["function"]["name"] == "get_weather"
    assert call["function"]["arguments"] == "".join(delta["function"]["arguments"] for delta in deltas)


@pytest.mark.parametrize("authorization", ["", "sk-sim1", "Basic sk-sim1", "Bearer "])
def test_a_missing_key_is_no_key(authorization: str) -> None:
    """Only `Bearer` and a key will do."""
    refusal = SHAPES["openai"].authorize(authorization)
    assert refusal is not None
    assert refusal.message == "You didn't provide an API key."
