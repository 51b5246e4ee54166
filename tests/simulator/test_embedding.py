"""simulator/embedding.py: vectors that are always the same, in each vendor's shape, with faults to order."""

import base64
import json
import math
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from simulator.embedding import in_base64, vector_of

Ask = Callable[..., Awaitable[Any]]
Order = Callable[..., Awaitable[None]]


def test_a_vector_is_of_its_model_and_input() -> None:
    """Of length 1, the same in every run, and a shorter one is the beginning of a longer one, made as long as it."""
    vector = vector_of("m", "Hello", 8)

    assert vector == vector_of("m", "Hello", 8)
    assert vector != vector_of("m", "Hello!", 8)
    assert vector != vector_of("n", "Hello", 8)
    assert 1.0 == pytest.approx(math.hypot(*vector), abs=1e-6)
    short = vector_of("m", "Hello", 2)
    assert short[0] / short[1] == pytest.approx(vector[0] / vector[1], rel=1e-5)
    assert vector == pytest.approx(struct.unpack("<8f", base64.b64decode(in_base64(vector))), rel=1e-6)


async def embed(ask: Ask, provider: str, value: Any = "Hello", **fields: Any) -> Any:
    """A request for embeddings; the fixture's own messages are no field that a vendor minds."""
    model = {"qwen": "text-embedding-v4", "zhipu": "embedding-3"}.get(provider, "any")
    return await ask(provider, path="embeddings", model=model, **{"input": value, **fields})


async def test_each_vendor_answers_in_its_shape(ask: Ask) -> None:
    """Qwen with an id, Zhipu with completion tokens; base64 where the vendor knows it."""
    qwen, zhipu = await embed(ask, "qwen", ["a", "b"]), await embed(ask, "zhipu", dimensions=256)
    openai = await embed(ask, "openai", encoding_format="base64")
    ignored = await embed(ask, "qwen", encoding_format="base64", dimensions=64)

    assert ["data", "id", "model", "object", "usage"] == sorted(qwen.json)
    assert {"prompt_tokens": 2, "total_tokens": 2} == qwen.json["usage"]
    assert [1_024] * 2 == [len(row["embedding"]) for row in qwen.json["data"]]
    assert {"prompt_tokens": 2, "completion_tokens": 0, "total_tokens": 2} == zhipu.json["usage"]
    assert 256 == len(zhipu.json["data"][0]["embedding"])
    assert 4 * 1_536 == len(base64.b64decode(openai.json["data"][0]["embedding"]))
    assert 64 == len(ignored.json["data"][0]["embedding"])


async def test_each_vendor_refuses_in_its_words(ask: Ask) -> None:
    """What is too many, too long, of tokens, of a dimension or a model that it has not; and who makes none has no route."""
    batch = await embed(ask, "qwen", ["a"] * 11)
    sentence = "Value error, batch size is invalid, it should not be larger than 10.: input.contents"
    assert (400, f"<400> InternalError.Algo.InvalidParameter: {sentence}") == (
        batch.status,
        batch.json["error"]["message"],
    )
    for fields in ({"value": [1]}, {"dimensions": 3}, {"value": "x" * 40_000}):
        assert [(400, "InvalidParameter"), (400, "1210")] == [
            (answer.status, answer.json["error"]["code"])
            for answer in [await embed(ask, name, **fields) for name in ("qwen", "zhipu")]
        ]
    assert "1210" == (await embed(ask, "zhipu", ["a"] * 65)).json["error"]["code"]
    assert 404 == (await ask("qwen", path="embeddings", model="text-embedding-v9", input="a")).status
    assert "context_length_exceeded" == (await embed(ask, "openai", [1] * 8_193)).json["error"]["code"]
    assert 400 == (await embed(ask, "openai", ["a"] * 2_049)).status
    assert 400 == (await embed(ask, "openai", "")).status
    assert 401 == (await embed(ask, "openai", key="sk-wrong")).status
    assert [404] * 4 == [(await embed(ask, name)).status for name in ("deepseek", "minimax", "kimi", "stepfun")]


async def test_faults_to_order(ask: Ask, order: Order) -> None:
    """By the control routes, or in the last input."""
    await order("qwen", "no_usage")
    await order("qwen", "usage", usage={"prompt_tokens": 0})
    await order("qwen", "usage", usage="none")
    await order("qwen", "wrong_model", answer_model="other")
    bare, zero, text, other = [(await embed(ask, "qwen", dimensions=64)).json for _ in range(4)]
    limited = await embed(ask, "zhipu", ["a", "SIM:" + json.dumps({"kind": "status", "name": "rate_limited"})])
    unclear = await embed(ask, "zhipu", 'SIM:{"kind": "nothing"}')

    assert "usage" not in bare
    assert ({"prompt_tokens": 0, "total_tokens": 2}, "none", "other") == (zero["usage"], text["usage"], other["model"])
    assert (429, "1302") == (limited.status, limited.json["error"]["code"])
    assert 400 == unclear.status
