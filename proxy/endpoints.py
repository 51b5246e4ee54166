"""GET /v1/models/{id}/endpoints: who serves a model, at what price, and how well at this moment. No key needed.

OpenRouter's shape: what is not measured is null. Health is this process's own experience with its callers' traffic.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from providers.catalogue import Catalogue, Model, Upstream
from providers.health import UpstreamReport
from providers.selection import Standing, StandingOf
from proxy.models import as_response, find_shown, model_json, parameters_of, pricing_of

# What OpenRouter's clients read as up and as down.
_UP: Final = 0
_DOWN: Final = -1


ReportOf = Callable[[tuple[str, str]], UpstreamReport | None]


def list_endpoints(catalogue: Callable[[], Catalogue], standing_of: StandingOf, report_of: ReportOf) -> Handler:
    """The upstreams of one model, by public name or alias, in the order of preference."""

    async def handle(request: web.Request) -> web.StreamResponse:
        model = find_shown(catalogue(), request.match_info["id"])
        now = datetime.now(UTC)
        told = model_json(model, now)
        names = ("id", "name", "created", "description", "architecture")
        endpoints = [
            {**endpoint_json(model, upstream, standing_of(key), now), **report_json(report_of(key))}
            for upstream in model.upstreams
            for key in ((upstream.provider.name, upstream.upstream_model),)
        ]
        return as_response({"data": {**{name: told[name] for name in names}, "endpoints": endpoints}})

    return handle


def endpoint_json(model: Model, upstream: Upstream, standing: Standing, now: datetime) -> dict[str, Any]:
    """One upstream as a client sees it; prices in USD per token, before the fee."""
    provider = upstream.provider
    pricing = pricing_of(upstream, now)
    return {
        "name": f"{provider.name} | {model.id}",
        "model_id": model.id,
        "model_name": model.id,
        "provider_name": provider.name,
        "tag": provider.name,
        "upstream_model": upstream.upstream_model,
        "context_length": model.context,
        "max_completion_tokens": model.max_output or None,
        "max_prompt_tokens": None,
        "quantization": "unknown",
        "pricing": pricing,
        "supported_parameters": parameters_of(model, [upstream]),
        "supports_implicit_caching": pricing.get("input_cache_read") != pricing.get("prompt"),
        **standing_json(standing, usable=provider.usable),
    }


def standing_json(standing: Standing, *, usable: bool) -> dict[str, Any]:
    """What is known of an upstream's health; `off` is a provider for which the operator has no key."""
    state = "off" if not usable else "healthy" if standing.healthy else "unhealthy"
    return {
        "state": state,
        "status": _UP if state == "healthy" else _DOWN,
        "uptime_last_30m": None,
        "latency_last_30m": None,
        "throughput_last_30m": None,
        "latency_average_ms": _rounded(standing.latency_seconds, 1000),
        "throughput_average": _rounded(standing.tokens_per_second, 1),
    }


def report_json(report: UpstreamReport | None) -> dict[str, Any]:
    """What the last attempts there came to; null where nobody has tried it since the process began."""
    if report is None:
        return {"circuit": "closed", "uptime": None, "attempts": 0, "latency_p50_ms": None, "latency_p90_ms": None}
    return {
        "circuit": report.state,
        "uptime": None if report.uptime is None else round(report.uptime, 4),
        "attempts": report.samples,
        "latency_p50_ms": _rounded(report.latency_p50_seconds, 1000),
        "latency_p90_ms": _rounded(report.latency_p90_seconds, 1000),
    }


def _rounded(value: float | None, factor: int) -> float | None:
    return None if value is None else round(value * factor, 1)
