"""What a call must cost, worked out anew from docs/billing.md in fractions, from what the provider and the caller saw."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import floor

from tests.simulation.upstreams import Attempt, Tokens

PRICES = {
    "standard": ("0.14", "0.28", "0.014"),
    "lonely": ("0.14", "0.28", "0.014"),
    "alternative": ("1", "2", "1"),
    "dear": ("10", "30", "10"),
}
"""USD per million tokens: input, output, cached input."""
MARKUP, ROUTING_FEE = Fraction("1.055"), Fraction("0.05")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a call besides its attempts."""

    prompt_bytes: int
    hold: int
    byok: bool
    free: bool
    left_at: float | None
    died: bool


def verdicts(facts: Facts, attempts: list[Attempt]) -> set[tuple[str, int]]:
    """The endings that are right, each with its cost; more than one only where two things happened at the same instant."""
    last = attempts[-1]
    texts = sum(piece.text_bytes for piece in last.said)
    finished = any(piece.finish for piece in last.said)
    reported = next((piece.tokens for piece in reversed(last.said) if piece.tokens is not None), None)
    estimate = (_quarter(facts.prompt_bytes), min(_quarter(texts), last.max_tokens), 0)
    paid = _cost(facts, last.model, reported or estimate)
    left = facts.left_at
    known = reported if reported is not None and (reported[1] or not texts) else estimate
    paid_by_left = ("client_left", _cost(facts, last.model, known))
    found: set[tuple[str, int]] = set()
    if facts.died:
        found.add(("gateway_died", 0))
    if last.status != 200:
        return found | {("failed", 0)} | ({("client_left_before_first_byte", 0)} if left is not None else set())
    error = any(piece.error for piece in last.said)
    if not last.streamed:
        if last.broke_at is not None and last.handed and not error:
            found.add(("complete", paid) if finished or texts else ("nothing_produced", 0))
        else:
            found.add(("failed", 0))
            if left is not None:
                found.add(("client_left_before_first_byte", 0))
        return found
    begun = bool(texts) or finished
    if not begun:
        found.add(("failed", 0))
        if left is not None:
            found.add(("client_left_before_first_byte", 0))
        return found
    over = any(piece.done for piece in last.said) or (finished and last.broke_at is not None)
    if left is not None:
        found.add(paid_by_left)
    if over and not error:
        found.add(("complete", paid))
    elif left is None or (last.broke_at is not None and last.broke_at <= left) or last.kind == "late hang":
        found.add(("cut_by_provider", 0))
    if left is not None and last.broke_at is not None and last.broke_at < left and not over:
        found.discard(paid_by_left)
    return found


def _cost(facts: Facts, model: str, tokens: Tokens) -> int:
    if facts.byok and facts.free:
        return 0
    price, output, cached_price = (Fraction(text) for text in PRICES[model])
    prompt, completion, cached = tokens
    exact = ((prompt - cached) * price + cached * cached_price + completion * output) * 100
    share = ROUTING_FEE if facts.byok else MARKUP
    return min(floor(exact * share + Fraction(1, 2)), facts.hold)


def _quarter(size: int) -> int:
    return -(-size // 4)
