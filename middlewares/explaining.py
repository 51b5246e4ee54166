"""Why this candidate and no other: a call's choice as JSON, for the caller who asks and for the log.

Candidates stand in the order in which they would be tried, those that were passed over behind them. Each has a verdict,
its price and the most that the call can cost there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from billing.money import format_usd
from billing.pricing import Rates, usd_per_token
from middlewares.call import Call
from providers.considering import likely_prompt_tokens, offer_of
from providers.selection import REASONS, Offer, PassedOver, Terms, Way
from storage.calls import AttemptRow

VERDICTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "served": "it gave the answer",
        "failed": "it was tried and gave no answer; attempts say what it said",
        "circuit_open": "it came first, but its circuit was open, so it was not tried",
        "not_needed": "another candidate answered before its turn came",
        "not_covered": "the balance does not cover the most the call can cost there",
        "not_tried": "the call ended before anybody was tried",
    }
)
"""What becomes of a candidate that may serve; the others have one of REASONS. docs/routing.md lists them all."""

_ANSWERED: Final = ("served", "client_left")
"""How an attempt ends that gave an answer."""


def explanation(call: Call) -> dict[str, Any]:
    """The choice that was made for ``call``, as far as it has come. The selection must be there."""
    selection = call.selection
    assert selection is not None, "budget comes first"
    verdicts = verdicts_of(call, selection.offers)
    offered = [
        {**offer_as_json(selection.terms, offer), **_verdict(verdict), "attempts": _attempts(call, offer)}
        for offer, verdict in zip(selection.offers, verdicts, strict=True)
    ]
    others = [passed_over_as_json(selection.terms, passed) for passed in selection.passed_over]
    return {
        "request_id": call.request_id,
        "model": call.model.id,
        "routing": selection.terms.wish.strategy,
        "sort": selection.terms.wish.sort or None,
        "candidates": offered + others,
    }


def outline(call: Call) -> list[tuple[str, str, str]]:
    """The same in short: model, provider and verdict of each candidate."""
    selection = call.selection
    assert selection is not None, "budget comes first"
    verdicts = verdicts_of(call, selection.offers)
    offered = [
        (offer.model.id, offer.provider_name, verdict)
        for offer, verdict in zip(selection.offers, verdicts, strict=True)
    ]
    return offered + [(passed.model, passed.provider, passed.reason) for passed in selection.passed_over]


def explanation_text(call: Call) -> str:
    """The same on one line."""
    return json.dumps(explanation(call), ensure_ascii=True, separators=(",", ":"))


def verdicts_of(call: Call, offers: tuple[Offer, ...]) -> list[str]:
    """What became of each of the offers, in their order."""
    covered: tuple[Offer, ...] | None = getattr(call, "offers", None)
    if covered is None:
        return ["not_tried"] * len(offers)
    ways = {offer.way for offer in covered}
    tried = {way_of(attempt) for attempt in call.attempts}
    final = call.attempts[-1] if call.attempts else None
    served = way_of(final) if final is not None and final.outcome in _ANSWERED else None
    last = max((position for position, offer in enumerate(offers) if offer.way in tried), default=-1)
    verdicts = []
    for position, offer in enumerate(offers):
        if offer.way not in ways:
            verdicts.append("not_covered")
        elif offer.way == served:
            verdicts.append("served")
        elif offer.way in tried:
            verdicts.append("failed")
        elif position < last:
            verdicts.append("circuit_open")
        else:
            verdicts.append("not_needed" if served is not None else "not_tried")
    return verdicts


def offer_as_json(terms: Terms, offer: Offer) -> dict[str, Any]:
    """A candidate with its price at the call's moment, per token and before the fee, and the most, fee included."""
    rule, rates = offer.price.applied_at(terms.instant, likely_prompt_tokens(terms.need))
    return {
        "model": offer.model.id,
        "provider": offer.provider_name,
        "upstream_model": offer.upstream.upstream_model,
        "price_version": offer.price.version,
        "price_rule": rule,
        "pricing": pricing_as_json(rates),
        "max_tokens": offer.max_tokens,
        "max_cost": format_usd(offer.most),
    }


def passed_over_as_json(terms: Terms, passed: PassedOver) -> dict[str, Any]:
    """A candidate that was passed over, with the price it would have had."""
    said: dict[str, Any] = {"model": passed.model, "provider": passed.provider}
    if passed.candidate is not None:
        offer = offer_of(terms, *passed.candidate)
        if offer is not None:
            said = offer_as_json(terms, offer)
    verdict = {"verdict": passed.reason, "reason": REASONS[passed.reason], "detail": passed.detail or None}
    return {**said, **verdict, "attempts": []}


def pricing_as_json(rates: Rates) -> dict[str, str]:
    """Prices in USD per token, under OpenRouter's names."""
    return {
        "prompt": usd_per_token(rates.input),
        "completion": usd_per_token(rates.output),
        "input_cache_read": usd_per_token(rates.cached_input),
        "input_cache_write": usd_per_token(rates.cache_write),
    }


def _verdict(verdict: str) -> dict[str, str]:
    return {"verdict": verdict, "reason": VERDICTS[verdict]}


def _attempts(call: Call, offer: Offer) -> list[dict[str, Any]]:
    return [
        {"outcome": attempt.outcome, "status": attempt.status, "code": attempt.code or None}
        for attempt in call.attempts
        if way_of(attempt) == offer.way
    ]


def way_of(attempt: AttemptRow) -> Way:
    """Which candidate was tried."""
    return (attempt.model, attempt.provider, attempt.upstream_model)
