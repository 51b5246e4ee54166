"""Who serves a model, at what price, and how well at this moment: OpenRouter's shape, without a key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from providers.selection import Standing
from proxy.endpoints import standing_json
from tests.fakes.raw_upstream import RawUpstream, failure
from tests.gateway import Gateway

Start = Callable[..., Awaitable[Gateway]]


async def test_everything_that_is_told(gateway: Gateway) -> None:
    """The model as the list tells it, and its upstreams in order of preference."""
    reply = await gateway.get("/v1/models/standard/endpoints")

    listed = (await gateway.get("/v1/models/standard")).json
    told = reply.json["data"]
    (endpoint,) = told.pop("endpoints")
    assert {name: listed[name] for name in ("id", "name", "created", "description", "architecture")} == told
    assert {
        "name": "alpha | standard",
        "model_id": "standard",
        "model_name": "standard",
        "provider_name": "alpha",
        "tag": "alpha",
        "upstream_model": "standard-upstream",
        "context_length": 131_072,
        "max_completion_tokens": 8_192,
        "max_prompt_tokens": None,
        "quantization": "unknown",
        "pricing": listed["pricing"],
        "supported_parameters": listed["supported_parameters"],
        "supports_implicit_caching": True,
        "state": "healthy",
        "status": 0,
        "uptime_last_30m": None,
        "latency_last_30m": None,
        "throughput_last_30m": None,
        "latency_average_ms": None,
        "throughput_average": None,
        "circuit": "closed",
        "uptime": None,
        "attempts": 0,
        "latency_p50_ms": None,
        "latency_p90_ms": None,
    } == endpoint


@pytest.mark.parametrize("name", ["standard", "vendor/standard", "vendor%2Fstandard"])
async def test_by_name_or_alias(name: str, gateway: Gateway) -> None:
    """On both bases, an alias with its slash."""
    for base in ("/v1", "/api/v1"):
        reply = await gateway.get(f"{base}/models/{name}/endpoints")
        assert (200, "standard") == (reply.status, reply.json["data"]["id"])


async def test_a_model_that_there_is_not(gateway: Gateway) -> None:
    """404 with the nearest names, as for the model itself."""
    reply = await gateway.get("/v1/models/standart/endpoints")

    assert (404, "model_not_found") == reply.code
    assert "standard" in reply.error["suggestions"]


async def test_health_is_what_callers_met(gateway: Gateway, alpha: RawUpstream) -> None:
    """An answer tells how fast it was; failures make it ill."""

    async def told() -> dict[str, object]:
        (endpoint,) = (await gateway.get("/v1/models/lonely/endpoints")).json["data"]["endpoints"]
        found: dict[str, object] = endpoint
        return found

    await gateway.chat(model="lonely")
    well = await told()
    alpha.otherwise = lambda _request: failure(500)
    for _ in range(4):
        await gateway.chat(model="lonely")
    ill = await told()

    assert isinstance(well["latency_average_ms"], float)
    assert (1.0, 1, "closed") == (well["uptime"], well["attempts"], well["circuit"])
    assert isinstance(well["latency_p50_ms"], float)
    assert well["latency_p50_ms"] == well["latency_p90_ms"]
    assert ("healthy", 0) == (well["state"], well["status"])
    assert ("unhealthy", -1, "open") == (ill["state"], ill["status"], ill["circuit"])


async def test_a_provider_without_a_key_is_off(start_gateway: Start) -> None:
    """Nobody is served there, whatever its health."""
    gateway = await start_gateway(providers={"alpha": {"keys": []}})
    (endpoint,) = (await gateway.get("/v1/models/standard/endpoints")).json["data"]["endpoints"]

    assert ("off", -1) == (endpoint["state"], endpoint["status"])


def test_a_standing_as_json() -> None:
    """Milliseconds and tokens per second, rounded; unknown is null."""
    told = standing_json(Standing(healthy=False, latency_seconds=0.12345, tokens_per_second=51.26), usable=True)

    assert ("unhealthy", 123.5, 51.3) == (told["state"], told["latency_average_ms"], told["throughput_average"])
