"""Vectors that depend on nothing but the model and the input, and the answer they stand in.

A vector has length 1. The first numbers of a longer one point where a shorter one of the same input does, as they do with
models that are trained for it.
"""

import base64
import math
import random
import struct
from collections.abc import Callable
from typing import Any

from simulator.embedding_request import EmbeddingRequest, Input
from simulator.facts import EmbeddingModel
from simulator.faults import Order
from simulator.frames import to_json
from simulator.render import Rendered
from simulator.request import Fields
from simulator.text import seed_of

Shaped = Callable[[str, list[Fields], int], Fields]
"""A vendor's answer, of the model's name, the vectors and the tokens of all inputs."""
DECIMALS = 8


def vector_of(model_id: str, one: Input, dimensions: int) -> list[float]:
    """The vector of one input: the same in every run."""
    source = random.Random(seed_of([model_id, one]))  # noqa: S311 - repeatable numbers, not secrets
    drawn = [source.gauss(0.0, 1.0) for _ in range(dimensions)]
    length = math.sqrt(sum(number * number for number in drawn))
    return [round(number / length, DECIMALS) for number in drawn]


def in_base64(vector: list[float]) -> str:
    """A vector as OpenAI writes it in base64: four bytes a number, the lowest first."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def render_embeddings(
    request: EmbeddingRequest, model: EmbeddingModel, order: Order | None, shaped: Shaped, *, knows_base64: bool
) -> Rendered:
    """The answer to `request` in the form that `shaped` gives it, with what `order` spoils in it."""
    dimensions = request.dimensions or model.default_dimensions
    vectors: list[Any] = [vector_of(model.id, one, dimensions) for one in request.inputs]
    if knows_base64 and request.fields.get("encoding_format") == "base64":
        vectors = [in_base64(vector) for vector in vectors]
    rows = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    body = shaped(model.id, rows, sum(request.tokens))
    kind, options = (order.kind, order.options) if order is not None else ("", {})
    if kind == "no_usage":
        del body["usage"]
    elif kind == "usage":
        given = options.get("usage")
        body["usage"] = {**body["usage"], **given} if isinstance(given, dict) else given
    elif kind == "wrong_model":
        body["model"] = options.get("answer_model", "another-model")
    return Rendered(model.id, False, len(rows), (), to_json(body))
