"""Which offers a sum of money covers, and how long an answer it can buy. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from billing.money import Money
from billing.pricing import Fee, affordable_completion_tokens
from providers.considering import likely_prompt_tokens
from providers.selection import Need, Offer


def within(offers: Iterable[Offer], hold: Money, need: Need, prompt_token_bound: int, fee: Fee) -> tuple[Offer, ...]:
    """The offers that ``hold`` covers; where the caller set no limit, an offer above it is kept with fewer tokens."""
    covered = []
    for offer in offers:
        if offer.most <= hold:
            covered.append(offer)
        elif need.max_tokens is None:
            tokens = affordable_completion_tokens(offer.rates, prompt_token_bound, hold, fee)
            if tokens is not None and tokens // need.n >= 1:
                covered.append(replace(offer, max_tokens=min(offer.max_tokens, tokens // need.n), most=hold))
    return tuple(covered)


def affordable_limit(offers: Iterable[Offer], available: Money, need: Need, fee: Fee) -> int:
    """The largest limit a caller may set so that one of ``offers`` can serve and ``available`` covers it; 0 if none can."""
    largest = 0
    for offer in offers:
        most = min(offer.model.max_output, offer.model.context - likely_prompt_tokens(need))
        tokens = affordable_completion_tokens(offer.rates, need.prompt_token_bound, available, fee)
        largest = max(largest, most if tokens is None else min(most, tokens // need.n))
    return largest
