"""What is for sale: every model of the catalogue, in OpenAI's list shape with OpenRouter's fields, for everybody."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from providers.catalogue import DIALECTS, build, load_shipped
from proxy.models import model_json, parameters_of
from tests.gateway import Gateway, model, price


async def test_the_list(gateway: Gateway) -> None:
    """OpenAI's shape, without a key, on both bases, in the catalogue's order."""
    for base in ("/v1", "/api/v1"):
        reply = await gateway.get(f"{base}/models")
        assert (200, "application/json") == (reply.status, reply.headers["Content-Type"])
        assert "list" == reply.json["object"]
        assert ["standard", "alternative", "lonely", "dear"] == [one["id"] for one in reply.json["data"]]
        assert {"model"} == {one["object"] for one in reply.json["data"]}
    assert None is reply.header("Mode")


async def test_one_model_by_name_or_alias(gateway: Gateway) -> None:
    """An alias may have a slash in it, written plainly or escaped; the answer names the model itself."""
    replies = [await gateway.get(f"/v1/models/{name}") for name in ("standard", "vendor/standard", "vendor%2Fstandard")]

    assert [(200, "standard")] * 3 == [(reply.status, reply.json["id"]) for reply in replies]
    listed = (await gateway.get("/v1/models")).json["data"][0]
    assert listed == replies[0].json == replies[1].json


async def test_no_answer_to_a_key_is_kept_on_the_way(gateway: Gateway) -> None:
    """Whatever is asked with a key: models too, and what is not there."""
    for path in (
        "models",
        "models/standard",
        "models/standard/endpoints",
        "streams/req_0",
        "key",
        "generation?id=req_0",
    ):
        for base in ("/v1", "/api/v1"):
            reply = await gateway.send(b"", path=f"{base}/{path}", method="GET")
            assert "private, no-store" == reply.headers.get("Cache-Control"), path
    for refused in (await gateway.chat(model="nobody"), await gateway.send(b"{")):
        assert (True, "private, no-store") == (refused.status in (400, 404), refused.headers.get("Cache-Control"))


async def test_everything_that_is_told(gateway: Gateway) -> None:
    """Prices as decimal strings in USD per token, limits, parameters, what may stand in."""
    told = (await gateway.get("/v1/models/standard")).json

    created = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    assert {
        "id": "standard",
        "canonical_slug": "standard",
        "object": "model",
        "created": created,
        "owned_by": "alpha",
        "name": "standard",
        "description": "",
        "context_length": 131_072,
        "architecture": {
            "modality": "text->text",
            "input_modalities": ["text"],
            "output_modalities": ["text"],
            "tokenizer": "Other",
            "instruct_type": None,
        },
        "pricing": {
            "prompt": "0.00000014",
            "completion": "0.00000028",
            "input_cache_read": "0.000000014",
            "input_cache_write": "0.00000014",
            "request": "0",
            "image": "0",
        },
        "top_provider": {"context_length": 131_072, "max_completion_tokens": 8192, "is_moderated": False},
        "per_request_limits": None,
        "supported_parameters": [
            "max_tokens",
            "max_completion_tokens",
            "stream",
            "stop",
            "temperature",
            "top_p",
            "presence_penalty",
            "frequency_penalty",
            "logit_bias",
            "user",
            "response_format",
            "n",
            "tools",
            "tool_choice",
        ],
        "aliases": ["vendor/standard"],
        "equivalents": ["alternative"],
    } == told


@pytest.mark.parametrize(
    ("name", "suggestions"),
    [("standart", ["standard"]), ("Standard", ["standard"]), ("qqqqqqqq", []), ("x" * 3000, [])],
)
async def test_a_model_that_there_is_not(name: str, suggestions: list[str], gateway: Gateway) -> None:
    """404 with the nearest names, in the error shape of every other answer."""
    reply = await gateway.get(f"/v1/models/{name}")

    assert (404, "model_not_found") == reply.code
    assert suggestions == reply.error["suggestions"][:1]
    assert all(suggestion in reply.error["message"] for suggestion in suggestions)
    assert len(reply.error["message"]) < 300


def test_prices_are_those_of_the_moment() -> None:
    """A dated row and a window of the day apply when their time has come."""
    rows: list[dict[str, Any]] = [
        *price("1", "2"),
        {**price("3", "4")[0], "from": "2026-06-01T00:00:00Z"},
    ]
    rows[0]["windows"] = [{"days": [1], "from": "08:00", "to": "09:00", "input": "10", "output": "20"}]
    catalogue = build(
        {
            "providers": {"alpha": {"dialect": "openai", "base_url": "http://127.0.0.1:1", "keys": ["k"]}},
            "models": {"m": model("alpha", rows, capabilities=["vision", "json_schema"])},
        }
    )

    def prompt_price(*instant: int) -> str:
        told: str = model_json(catalogue.models["m"], datetime(*instant, tzinfo=UTC))["pricing"]["prompt"]  # type: ignore[arg-type, misc]
        return told

    assert "0.000001" == prompt_price(2026, 1, 6, 8, 30)
    assert "0.00001" == prompt_price(2026, 1, 5, 8, 30), "Monday between eight and nine"
    assert "0.000003" == prompt_price(2026, 6, 1)
    early = model_json(catalogue.models["m"], datetime(2025, 1, 1, tzinfo=UTC))
    assert {} == early["pricing"], "no price, no number"
    assert "text+image->text" == early["architecture"]["modality"]
    assert {"response_format", "structured_outputs"} <= set(early["supported_parameters"])


def test_a_parameter_is_told_where_a_provider_gets_it() -> None:
    """What every provider of the model leaves out is not supported; one that takes it is enough."""
    models = build(load_shipped()).models

    zhipu = model_json(models["glm-4-plus"], datetime.now(UTC))["supported_parameters"]
    assert {"temperature", "tools"} <= set(zhipu)
    assert set(zhipu).isdisjoint({"logit_bias", "presence_penalty", "seed", "n"})
    kimi = model_json(models["kimi-k2"], datetime.now(UTC))["supported_parameters"]
    assert "temperature" not in kimi, "pinned by the vendor"
    both = [DIALECTS["kimi"], DIALECTS["openai"]]
    ways = [
        replace(way, provider=replace(way.provider, dialect=dialect))
        for way, dialect in zip(models["kimi-k2"].upstreams * 2, both, strict=True)
    ]
    assert "temperature" in parameters_of(models["kimi-k2"], ways)


def test_a_model_of_embeddings_is_told_as_one() -> None:
    """No text comes out of it, no answer has a length or a price, and either format can be asked for."""
    catalogue = build(load_shipped())
    told = model_json(catalogue.models["text-embedding-v4"], datetime.now(UTC))

    assert ("text->embeddings", ["text"], ["embeddings"]) == tuple(
        told["architecture"][name] for name in ("modality", "input_modalities", "output_modalities")
    )
    assert ("0.00000007", "0") == (told["pricing"]["prompt"], told["pricing"]["completion"])
    assert (8_192, None) == (told["context_length"], told["top_provider"]["max_completion_tokens"])
    assert ["dimensions", "encoding_format"] == told["supported_parameters"]


def test_every_model_that_is_shipped_can_be_told() -> None:
    """No price is shown as an exponent, none is negative, none missing."""
    now = datetime.now(UTC)
    for one in build(load_shipped()).models.values():
        told = model_json(one, now)
        assert told["pricing"].keys() >= {"prompt", "completion"}
        assert all("E" not in amount and not amount.startswith("-") for amount in told["pricing"].values())
