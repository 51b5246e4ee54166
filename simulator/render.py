"""From a request to the finished words of its answer: composed, spoiled where a fault says so, and put into bytes."""

from dataclasses import dataclass, replace
from typing import Any

from simulator.answer import Answer, Choice, Limits, compose
from simulator.facts import Model
from simulator.faults import Order
from simulator.frames import Frame, to_json
from simulator.request import ChatRequest
from simulator.settings import Settings
from simulator.shape import Shape
from simulator.text import cut_to_pieces


@dataclass(frozen=True, slots=True)
class Rendered:
    """An answer in bytes, not yet stamped with an id (see `frames.stamp`).

    A stream has `frames`, and `whole` is all of them joined; a plain answer has its body in `whole` and no frames.
    """

    model: str
    asked_for_stream: bool
    pieces: int
    frames: tuple[Frame, ...]
    whole: bytes

    @property
    def is_stream(self) -> bool:
        """Whether this goes out as events."""
        return bool(self.frames)


def render(
    shape: Shape, model: Model, request: ChatRequest, settings: Settings, order: Order | None, key: str
) -> Rendered:
    """The answer of `model` to `request` in the provider's shape, with what `order` spoils in its words."""
    answer = _altered(replace(compose(request, _limits(shape, model, request, settings)), model=model.id), order, key)
    kind = order.kind if order is not None else ""
    is_stream = kind == "sse_to_plain" or (request.streamed and kind != "plain_json_to_stream")
    pieces = sum(choice.tokens for choice in answer.choices)
    if not is_stream:
        body = to_json(shape.body(request, answer))
        return Rendered(model.id, request.streamed, pieces, (), body)
    frames = tuple(shape.frames(request, answer, settings))
    return Rendered(model.id, request.streamed, pieces, frames, b"".join(frame.data for frame in frames))


def _limits(shape: Shape, model: Model, request: ChatRequest, settings: Settings) -> Limits:
    """How long the answer may be, and how many there are."""
    limit = request.whole_number(*shape.limit_fields)
    return Limits(
        tokens=min(limit or model.output_tokens, model.output_tokens),
        choices=min(request.whole_number("n") or 1, shape.most_choices),
        pieces=settings.pieces,
        reasoning_pieces=settings.reasoning_pieces if shape.thinks(request, model) else 0,
        cached_tokens=settings.cached_tokens,
    )


def _altered(answer: Answer, order: Order | None, key: str) -> Answer:
    """`answer` with what a fault puts into its words."""
    kind = order.kind if order is not None else ""
    options: dict[str, Any] = order.options if order is not None else {}
    if kind == "no_usage":
        return replace(answer, usage=None)
    if kind == "usage":
        return replace(answer, usage_override=options.get("usage"))
    if kind == "wrong_model":
        return replace(answer, model=options.get("answer_model", "another-model"))
    if kind == "finish":
        reason = options.get("finish_reason", "stop")
        return replace(answer, choices=tuple(replace(choice, finish=reason) for choice in answer.choices))
    if kind == "echo_key":
        middle = len(key) // 2
        said = (key[:middle], key[middle:]) if options.get("split") else (key,)
        return _said(answer, ("The key I received is ", *said, ". "))
    if kind == "huge_piece":
        return _said(answer, ("x" * options.get("bytes", 1_048_576),))
    return answer


def _said(answer: Answer, pieces: tuple[str, ...]) -> Answer:
    """`answer` with `pieces` before everything else it says. What it reports as usage stays as it was."""
    first, *others = answer.choices
    spoken = first.pieces or cut_to_pieces("Done.")
    changed = Choice(first.reasoning, (*pieces, *spoken), (), "stop")
    return replace(answer, choices=(changed, *others))
