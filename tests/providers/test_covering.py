"""What a sum of money covers."""

from __future__ import annotations

from dataclasses import replace

from billing.pricing import bound
from providers.covering import affordable_limit, within
from providers.selection import Wish
from tests.candidates import (
    ALL,
    FEE,
    OPEN,
    SMALL,
    chosen,
    model,
)


def test_what_the_hold_covers() -> None:
    """A dearer offer is left out, or kept with fewer tokens where the caller set no limit; at least one for each answer."""
    offers = chosen(*ALL, need=OPEN, wish=Wish("fallback")).offers
    a, b, c, d = offers

    assert offers == within(offers, a.most, OPEN, 400, FEE)
    assert (b, d) == within(offers, b.most, SMALL, 400, FEE)
    shortened = within(offers, b.most, OPEN, 400, FEE)
    assert ["a", "b", "c", "d"] == [offer.provider_name for offer in shortened]
    assert (b, d) == (shortened[1], shortened[3])
    for offer, original in ((shortened[0], a), (shortened[2], c)):
        assert 0 < offer.max_tokens < original.max_tokens
        assert b.most == offer.most
        assert (
            bound(offer.rates, 400, offer.max_tokens, FEE)
            <= b.most
            < bound(offer.rates, 400, offer.max_tokens + 1, FEE)
        )
    assert () == within(offers, bound(d.rates, 400, 0, FEE) - 1, OPEN, 400, FEE)
    one_each = bound(d.rates, 400, 4, FEE)
    four = replace(OPEN, n=4)
    dear = replace(d, most=d.most * 4)
    assert [1] == [offer.max_tokens for offer in within([dear], one_each, four, 400, FEE)]
    assert () == within([dear], bound(d.rates, 400, 3, FEE), four, 400, FEE)


def test_the_largest_limit_that_is_affordable() -> None:
    """At the candidate that gives most for the money, its longest answer and its context included; 0 where nothing is."""
    (offer,) = chosen(model("m", max_output=50), need=OPEN).offers
    exactly = bound(offer.rates, 400, 20, FEE)

    assert (20, 19) == (
        affordable_limit([offer], exactly, SMALL, FEE),
        affordable_limit([offer], exactly - 1, SMALL, FEE),
    )
    assert 50 == affordable_limit([offer], exactly * 1000, SMALL, FEE)
    assert 5 == affordable_limit([offer], exactly, replace(SMALL, n=4), FEE)
    tight = replace(offer, model=replace(offer.model, context=110))
    assert 10 == affordable_limit([tight], exactly, SMALL, FEE)
    assert 20 == affordable_limit([tight, offer], exactly, SMALL, FEE)
    free = replace(offer, rates=replace(offer.rates, output=0))
    assert 50 == affordable_limit([free], exactly, SMALL, FEE)
    assert (0, 0) == (affordable_limit([], exactly, SMALL, FEE), affordable_limit([offer], 0, SMALL, FEE))
