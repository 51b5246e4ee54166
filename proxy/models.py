"""GET /v1/models and /v1/models/{id}: what is for sale, in OpenAI's list shape with OpenRouter's fields. No key needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from billing.pricing import price_at
from middlewares.errors import Refusal
from providers.catalogue import Catalogue, Model, Upstream

_RATE_UNITS_PER_USD: Final = Decimal(10) ** 18

# What every model takes, and what comes with a capability.
_COMMON_PARAMETERS: Final = ("max_tokens", "max_completion_tokens", "stream", "stop", "temperature", "top_p")
_PARAMETERS: Final[dict[str, tuple[str, ...]]] = {
    "tools": ("tools", "tool_choice"),
    "parallel_tools": ("parallel_tool_calls",),
    "json_object": ("response_format",),
    "json_schema": ("response_format", "structured_outputs"),
    "reasoning": ("reasoning",),
    "logprobs": ("logprobs", "top_logprobs"),
    "seed": ("seed",),
    "n": ("n",),
}


def list_models(catalogue: Callable[[], Catalogue]) -> Handler:
    """Every model of the catalogue in force, in its order."""

    async def handle(_request: web.Request) -> web.StreamResponse:
        now = datetime.now(UTC)
        models = [model_json(model, now) for model in catalogue().models.values()]
        return _json({"object": "list", "data": models})

    return handle


def show_model(catalogue: Callable[[], Catalogue]) -> Handler:
    """One model by public name or alias (which may contain a slash)."""

    async def handle(request: web.Request) -> web.StreamResponse:
        name = request.match_info["id"]
        model = catalogue().find(name)
        if model is None:
            nearest = catalogue().suggest(name)
            hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
            raise Refusal("model_not_found", f"there is no model {name[:100]!r}{hint}", suggestions=nearest)
        return _json(model_json(model, datetime.now(UTC)))

    return handle


def model_json(model: Model, now: datetime) -> dict[str, Any]:
    """A model as a client sees it; prices in USD per token, before the routing fee, as they are at ``now``."""
    upstream = model.upstreams[0]
    pictures = "vision" in model.capabilities
    inputs = ["text", "image"] if pictures else ["text"]
    parameters = dict.fromkeys(_COMMON_PARAMETERS)
    for capability in sorted(model.capabilities):
        parameters.update(dict.fromkeys(_PARAMETERS.get(capability, ())))
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": upstream.provider.name,
        "name": model.id,
        "description": model.description,
        "context_length": model.context,
        "architecture": {
            "modality": f"{'+'.join(inputs)}->text",
            "input_modalities": inputs,
            "output_modalities": ["text"],
            "tokenizer": "Other",
        },
        "pricing": _pricing(upstream, now),
        "top_provider": {
            "context_length": model.context,
            "max_completion_tokens": model.max_output,
            "is_moderated": False,
        },
        "supported_parameters": list(parameters),
        "aliases": list(model.aliases),
        "equivalents": list(model.equivalents),
    }


def _pricing(upstream: Upstream, now: datetime) -> dict[str, str]:
    price = price_at(upstream.prices, now)
    if price is None:
        return {}
    rates = price.rates_at(now, 0)
    return {
        "prompt": _usd_per_token(rates.input),
        "completion": _usd_per_token(rates.output),
        "input_cache_read": _usd_per_token(rates.cached_input),
        "input_cache_write": _usd_per_token(rates.cache_write),
        "request": "0",
        "image": "0",
    }


def _usd_per_token(rate_units: int) -> str:
    return f"{(Decimal(rate_units) / _RATE_UNITS_PER_USD).normalize():f}"


def _json(body: dict[str, Any]) -> web.Response:
    return web.Response(body=json.dumps(body, ensure_ascii=False).encode(), content_type="application/json")
