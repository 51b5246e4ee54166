"""POST /v1/quote: what a call would cost, before it is made. Takes the body of a chat completion; nothing is called or held.

A quote is what the same body would meet at this moment: the same candidates in the same order, the same prices, the same
refusals. Another moment may have another price, another health and another balance.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from billing.bound import bound_and_bytes
from billing.matrix import BYOK
from billing.money import Money, format_usd
from billing.pricing import charge, charge_fee_only
from billing.usage import Usage
from middlewares.call import CALL
from middlewares.choice import Choice, nobody_can_serve
from middlewares.explaining import VERDICTS, offer_as_json, passed_over_as_json
from providers.considering import exact_cost, likely_prompt_tokens, likely_usage
from providers.covering import affordable_limit, within
from providers.selection import Offer, Selection, Terms
from storage.ledger import Ledger

QUOTED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "first": "it would be tried first",
        "stands_by": "it would be tried if those before it fail",
    }
)
"""What a quote says of candidates that may serve and are covered; docs/routing.md lists them."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one candidate would cost: at least, probably, and at most."""

    least: Money
    likely: Money
    most: Money


def quote(ledger: Ledger, choice: Choice) -> Handler:
    """The handler, behind the chain of a call up to who pays."""

    async def answer_quote(request: web.Request) -> web.StreamResponse:
        call = request[CALL]
        assert call.account_id is not None, "auth comes first"
        need = choice.need_of(call, *bound_and_bytes(call.request))
        call.explained = True
        selection = call.selection = choice.select(call, need)
        if not selection.offers:
            raise nobody_can_serve(call.model.id, need, selection.passed_over)
        available = (await ledger.balance(call.account_id)).available
        body: dict[str, Any] = {
            "object": "quote",
            "request_id": call.request_id,
            "model": call.model.id,
            "mode": call.mode,
            "routing": selection.terms.wish.strategy,
            "currency": "USD",
            "available_usd": format_usd(available),
            "prompt_tokens": {"likely": likely_prompt_tokens(need), "max": need.prompt_token_bound},
        }
        if call.mode == BYOK:
            body |= _quoted(selection, selection.offers)
            body["affordable_max_tokens"] = None
        else:
            shorter = choice.select(call, replace(need, max_tokens=1))
            body |= _quoted(selection, covered(selection, available))
            body["affordable_max_tokens"] = affordable_limit(shorter.offers, available, need, selection.terms.fee)
        return web.Response(body=json.dumps(body, ensure_ascii=False).encode(), content_type="application/json")

    return answer_quote


def covered(selection: Selection, available: Money) -> tuple[Offer, ...]:
    """The offers that a call made now would try: those that its hold would cover. None if it would be refused."""
    offers, terms = selection.offers, selection.terms
    need = terms.need
    amounts = [offer.most for offer in offers]
    if need.max_tokens is None:
        # As for a call: a cheaper stand-in does not shorten the answer of the first candidate.
        amounts = [amount for amount in amounts if amount >= offers[0].most]
    hold = max((amount for amount in amounts if amount <= available), default=None)
    if hold is None:
        hold = available if need.max_tokens is None else -1
    return within(offers, hold, need, need.prompt_token_bound, terms.fee)


def estimate(terms: Terms, offer: Offer) -> Estimate:
    """At least: the likely prompt out of the cache, and one token of each answer. At most: what is held."""
    prompt = likely_prompt_tokens(terms.need)
    least = min(
        _cost(terms, offer, Usage(prompt, terms.need.n, cached_tokens=cached, cache_write_tokens=written))
        for cached, written in ((0, 0), (prompt, 0), (0, prompt))
    )
    likely = _cost(terms, offer, likely_usage(terms, offer))
    if terms.key_provider is not None:
        least = 0  # A call on the caller's own key may be one of the month's free ones.
    return Estimate(min(least, offer.most), min(likely, offer.most), offer.most)


def _quoted(selection: Selection, offers: tuple[Offer, ...]) -> dict[str, Any]:
    """The candidates, and the whole of them: the first one's price, from the least to the most that any may cost."""
    terms = selection.terms
    ways = {offer.way: offer for offer in offers}
    shown = [ways.get(offer.way, offer) for offer in selection.offers]
    estimates = [estimate(terms, offer) for offer in shown]
    candidates = [
        _candidate(
            terms, offer, estimated, serves=offer.way in ways, first=offer.way == (offers[0].way if offers else None)
        )
        for offer, estimated in zip(shown, estimates, strict=True)
    ]
    counted = [one for one, offer in zip(estimates, shown, strict=True) if offer.way in ways] or estimates
    leading = offers[0] if offers else shown[0]
    return {
        "affordable": bool(offers),
        "price_version": leading.price.version,
        "max_tokens": leading.max_tokens,
        "min_cost": format_usd(min(one.least for one in counted)),
        "likely_cost": format_usd(counted[0].likely),
        "max_cost": format_usd(max(one.most for one in counted)),
        "candidates": candidates + [passed_over_as_json(terms, passed) for passed in selection.passed_over],
    }


def _candidate(terms: Terms, offer: Offer, estimated: Estimate, *, serves: bool, first: bool) -> dict[str, Any]:
    verdict = "not_covered"
    if serves:
        verdict = "first" if first else "stands_by"
    return {
        **offer_as_json(terms, offer),
        "min_cost": format_usd(estimated.least),
        "likely_cost": format_usd(estimated.likely),
        "verdict": verdict,
        "reason": QUOTED[verdict] if serves else VERDICTS[verdict],
    }


def _cost(terms: Terms, offer: Offer, usage: Usage) -> Money:
    """What ``usage`` would cost here now, fee included; with a provider key of one's own the fee alone."""
    take = charge if terms.key_provider is None else charge_fee_only
    return take(exact_cost(terms, offer, usage), terms.fee).cost
