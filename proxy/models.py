"""GET /v1/models and /v1/models/{id}: what is for sale, in OpenAI's list shape with OpenRouter's fields. No key needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from billing.pricing import price_at
from middlewares.errors import Refusal
from middlewares.explaining import pricing_as_json
from providers.catalogue import Catalogue, Model, Upstream

# What every model takes unless its vendor does not, and what comes with a capability.
_COMMON_PARAMETERS: Final = (
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
)
_EMBEDDING_PARAMETERS: Final = ("dimensions", "encoding_format", "user")
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
        return as_response({"object": "list", "data": models})

    return handle


def show_model(catalogue: Callable[[], Catalogue]) -> Handler:
    """One model by public name or alias (which may contain a slash)."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return as_response(model_json(find_shown(catalogue(), request.match_info["id"]), datetime.now(UTC)))

    return handle


def model_json(model: Model, now: datetime) -> dict[str, Any]:
    """A model as a client sees it; prices in USD per token, before the routing fee, as they are at ``now``."""
    upstream = model.upstreams[0]
    pictures = "vision" in model.capabilities
    inputs = ["text", "image"] if pictures else ["text"]
    outputs = ["text"] * model.chats + ["embeddings"] * model.embeds
    return {
        "id": model.id,
        "canonical_slug": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": upstream.provider.name,
        "name": model.id,
        "description": model.description,
        "context_length": model.context,
        "architecture": {
            "modality": f"{'+'.join(inputs)}->{'+'.join(outputs)}",
            "input_modalities": inputs,
            "output_modalities": outputs,
            "tokenizer": "Other",
            "instruct_type": None,
        },
        "pricing": pricing_of(upstream, now),
        "top_provider": {
            "context_length": model.context,
            "max_completion_tokens": model.max_output or None,
            "is_moderated": False,
        },
        "per_request_limits": None,
        "supported_parameters": parameters_of(model, model.upstreams),
        "aliases": list(model.aliases),
        "equivalents": list(model.equivalents),
    }


def find_shown(catalogue: Catalogue, name: str) -> Model:
    """The model of this name or alias. Raises a 404 Refusal with the nearest names."""
    model = catalogue.find(name)
    if model is None:
        nearest = catalogue.suggest(name)
        hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
        raise Refusal("model_not_found", f"there is no model {name[:100]!r}{hint}", suggestions=nearest)
    return model


def parameters_of(model: Model, upstreams: Iterable[Upstream]) -> list[str]:
    """The request fields that at least one of ``upstreams`` is sent, capabilities of the model permitting."""
    upstreams = tuple(upstreams)
    vectors = _embedding_parameters(upstreams) if model.embeds else []
    if not model.chats:
        return vectors
    offered = [*_COMMON_PARAMETERS]
    for capability in sorted(model.capabilities):
        offered += _PARAMETERS.get(capability, ())
    dropped = frozenset.intersection(*(upstream.provider.dialect.dropped for upstream in upstreams))
    taken = [name for name in offered if name not in dropped]
    return list(dict.fromkeys([*taken, *vectors]))


def _embedding_parameters(upstreams: Iterable[Upstream]) -> list[str]:
    """Vectors come in either format, whoever makes them."""
    dropped = [terms.dropped for upstream in upstreams if (terms := upstream.provider.dialect.embeddings) is not None]
    return [name for name in _EMBEDDING_PARAMETERS if not all(name in names for names in dropped)]


def pricing_of(upstream: Upstream, now: datetime) -> dict[str, str]:
    """The prices in force at ``now`` for a short prompt; empty where there is none."""
    price = price_at(upstream.prices, now)
    if price is None:
        return {}
    return {**pricing_as_json(price.rates_at(now, 0)), "request": "0", "image": "0"}


def as_response(body: Mapping[str, Any]) -> web.Response:
    """``body`` as JSON that nobody keeps: prices and health are those of this moment."""
    return web.Response(
        body=json.dumps(body, ensure_ascii=False).encode(),
        content_type="application/json",
        headers={"Cache-Control": "private, no-store"},
    )
