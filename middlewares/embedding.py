"""What is asked of POST /v1/embeddings: OpenAI's fields, checked before anything is held or sent.

An input is a text, a list of texts, the tokens of a text, or a list of those. Another model's vectors are of no use beside
the ones a caller has, so nobody may stand in, not even by the caller's own list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from billing.bound import inputs_of
from middlewares.body import find_model
from middlewares.errors import invalid
from providers.catalogue import Catalogue, Model
from providers.embedding import FORMATS
from providers.selection import Wish

MOST_INPUTS: Final = 2_048
"""As OpenAI has it; most vendors take fewer."""
LARGEST_DIMENSIONS: Final = 100_000

EMBEDDING_FIELDS: Final[Mapping[str, tuple[str, type]]] = {
    "model": ("a text", str),
    "dimensions": ("a whole number", int),
    "encoding_format": ("a text", str),
    "user": ("a text", str),
}
"""How the kind of a field is called, and its type; null means absent. The input has several kinds."""
_OF_CHATS: Final = ("messages", "n", "max_tokens", "max_completion_tokens")


def check_embedding(document: Mapping[str, Any], wish: Wish, catalogue: Catalogue) -> Model:
    """The model that is asked for. Raises a Refusal that names the first field that is wrong."""
    for name, (kind, kind_type) in EMBEDDING_FIELDS.items():
        value = document.get(name)
        if value is not None and type(value) is not kind_type:
            raise invalid(name, f"{name} must be {kind}")
    model = _find(document.get("model"), catalogue)
    for position, name in enumerate(wish.models):
        if catalogue.find(name) is not model:
            raise invalid(
                f"models[{position}]",
                f"nobody stands in for {model.id}: vectors of two models cannot be compared; leave models out",
            )
    for name in _OF_CHATS:
        if document.get(name) is not None:
            raise invalid(name, f"{name} belongs to POST /v1/chat/completions; embeddings are made of input")
    if document.get("stream"):
        raise invalid("stream", "embeddings are not streamed")
    _check_form(document.get("dimensions"), document.get("encoding_format"))
    check_input(document.get("input"))
    return model


def _find(name: object, catalogue: Catalogue) -> Model:
    """The model of this name. Raises a Refusal for one that makes no embeddings, with those that do."""
    embed = [model.id for model in catalogue.models.values() if model.embeds]
    offered = f"use {', '.join(embed[:10])}" if embed else "this gateway has no model that does"
    if not isinstance(name, str) or not name:
        raise invalid("model", f"model is missing: name one that makes embeddings; {offered}")
    model = find_model(catalogue, name)
    if not model.embeds:
        raise invalid("model", f"{model.id} makes no embeddings; {offered}")
    return model


def _check_form(dimensions: int | None, encoding: str | None) -> None:
    if dimensions is not None and not 1 <= dimensions <= LARGEST_DIMENSIONS:
        raise invalid("dimensions", f"dimensions must be at least 1 and at most {LARGEST_DIMENSIONS}")
    if encoding is not None and encoding not in FORMATS:
        raise invalid("encoding_format", f"encoding_format must be {' or '.join(FORMATS)}")


def check_input(value: object) -> None:
    """Raise a Refusal for what no embeddings can be made of."""
    kinds = "input must be a text, a list of texts, a list of tokens, or a list of such lists"
    if value is None:
        raise invalid("input", f"input is missing: {kinds}")
    inputs = inputs_of(value) if isinstance(value, (str, list)) else []
    if not inputs and value != []:
        raise invalid("input", kinds)
    if not 1 <= len(inputs) <= MOST_INPUTS:
        raise invalid("input", f"input must have at least one and at most {MOST_INPUTS} entries")
    types = set(map(type, inputs))
    if types not in ({str}, {list}):
        raise invalid("input", kinds)
    for position, one in enumerate(inputs):
        place = f"input[{position}]" if inputs is value else "input"
        if not one:
            raise invalid(place, f"{place} is empty")
        if isinstance(one, list) and not _are_tokens(one):
            raise invalid(place, f"{place} must be a text, or a list of tokens, which are whole numbers")


def _are_tokens(values: list[Any]) -> bool:
    return set(map(type, values)) == {int} and min(values) >= 0
