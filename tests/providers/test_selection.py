"""The words of a choice: what decides its order, how a candidate is named, which reasons there are."""

from __future__ import annotations

import pytest

from providers.selection import REASONS, Wish, no_share
from tests.candidates import chosen, model, upstream


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (Wish(), False),
        (Wish("cheapest"), True),
        (Wish("fallback"), False),
        (Wish(sort="price"), True),
        (Wish("fallback", sort="price"), True),
        (Wish("cheapest", sort="latency"), False),
    ],
)
def test_when_the_price_decides(wish: Wish, expected: bool) -> None:
    """By strategy, unless a sort says otherwise."""
    assert expected == wish.by_price


def test_a_candidate_has_a_name() -> None:
    """Our model, the provider, its own model: one model may be served in several ways, one upstream serve several models."""
    (offer,) = chosen(model("m", upstream("p"))).offers

    assert ("m", "p", "p-model") == offer.way
    assert ("p", "p-model") == offer.health_key


def test_nothing_is_known_of_a_cache_unless_somebody_says_so() -> None:
    """No share of any prompt."""
    assert 0 == no_share("m", "p")


def test_every_reason_is_a_sentence() -> None:
    """What a caller reads where the candidate has no detail of its own."""
    assert all(sentence and not sentence.endswith(".") for sentence in REASONS.values())
