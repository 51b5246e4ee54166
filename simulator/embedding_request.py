"""A request for embeddings as a provider reads it: the fields every vendor looks at, checked for type and nothing more."""

from dataclasses import dataclass
from typing import Any

from simulator.request import Fields, UnreadableRequest, read_fields
from simulator.text import BYTES_PER_TOKEN

Input = str | list[int]


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """One request. `fields` is the whole JSON object as it was sent; the rest is read out of it."""

    fields: Fields
    model: str
    inputs: tuple[Input, ...]

    @property
    def dimensions(self) -> int | None:
        """How long the vectors are to be, if the request says so."""
        value = self.fields.get("dimensions")
        return value if isinstance(value, int) else None

    @property
    def last_text(self) -> str:
        """The last input, where orders may stand; empty when it is given as tokens."""
        last = self.inputs[-1]
        return last if isinstance(last, str) else ""

    @property
    def has_tokens(self) -> bool:
        """Whether an input is given as tokens."""
        return any(isinstance(one, list) for one in self.inputs)

    @property
    def tokens(self) -> tuple[int, ...]:
        """How many tokens each input has, as the simulator bills them."""
        return tuple(map(count_input_tokens, self.inputs))


def read_embedding_request(body: bytes) -> EmbeddingRequest:
    """The request in `body`. Raises UnreadableRequest, whose text names the field."""
    fields, model = read_fields(body)
    value = fields.get("input")
    inputs: list[Any] = value if isinstance(value, list) and not (value and isinstance(value[0], int)) else [value]
    if not inputs or not all(_is_input(one) for one in inputs):
        raise UnreadableRequest("input must be a string, a list of strings, or tokens")
    dimensions = fields.get("dimensions")
    if dimensions is not None and (isinstance(dimensions, bool) or not isinstance(dimensions, int) or dimensions < 1):
        raise UnreadableRequest("dimensions must be an integer of at least 1")
    return EmbeddingRequest(fields, model, tuple(inputs))


def _is_input(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(one, int) and not isinstance(one, bool) for one in value)
    return isinstance(value, str) and bool(value)


def count_input_tokens(one: Input) -> int:
    """A quarter of the bytes of a text, rounded up; tokens are counted already."""
    if isinstance(one, list):
        return len(one)
    return -(-len(one.encode("utf-8", "replace")) // BYTES_PER_TOKEN)
