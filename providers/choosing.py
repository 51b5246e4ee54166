"""Which candidates may serve a call, and in which order. Pure: no clock, no network.

The order of evidence: the caller's wishes narrow the field, then what the request needs, then health; the strategy sorts
what is left. Every candidate that is passed over is named with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from billing.pricing import Fee
from providers.catalogue import Catalogue, Model
from providers.considering import consider, exact_cost, likely_usage, passed_over
from providers.selection import Need, Offer, PassedOver, Selection, StandingOf, Terms, Way, Wish, no_share


def select(
    catalogue: Catalogue,
    model: Model,
    need: Need,
    wish: Wish,
    *,
    instant: datetime,
    fee: Fee,
    standing_of: StandingOf,
    key_provider: str | None = None,
    cached_share_of: Callable[[str, str], int] = no_share,
    served_last: Way | None = None,
) -> Selection:
    """The candidates that may serve ``model``, best first.

    ``key_provider``: in byok mode, the only provider the caller's key opens; ``most`` is then the fee alone.
    ``cached_share_of``: see `Terms`. ``served_last``: who served this session last; goes first while healthy.
    Healthy candidates come before unhealthy ones whatever the strategy, except that `fallback` keeps the listed order.
    """
    terms = Terms(model, need, wish, instant, fee, key_provider, cached_share_of)
    offers: list[Offer] = []
    others: list[PassedOver] = []
    # Vectors of two models do not mix, so nobody stands in for a model of embeddings.
    models = _models_in_order(catalogue, model, wish) if need.inputs is None else [(model, "")]
    for candidate, against in models:
        for upstream in candidate.upstreams:
            verdict = passed_over(candidate, upstream, against) if against else consider(terms, candidate, upstream)
            if isinstance(verdict, Offer):
                offers.append(verdict)
            else:
                others.append(verdict)
    offers = _sorted(offers, terms, standing_of, served_last)
    if not wish.allow_fallbacks and not wish.order:
        # As OpenRouter has it: the first provider, or the error it gives.
        others += [passed_over(offer.model, offer.upstream, "fallbacks_off") for offer in offers[1:]]
        del offers[1:]
    return Selection(tuple(offers), tuple(others), terms)


def _models_in_order(catalogue: Catalogue, model: Model, wish: Wish) -> list[tuple[Model, str]]:
    """The model asked for, then its stand-ins (the caller's own list, or the catalogue's equivalents), then those that
    the caller's wishes leave out, with the reason."""
    if not wish.models and not model.equivalents:
        return [(model, "")]
    chosen = {model.id: (model, "")}
    listed = "" if wish.allow_fallbacks else "fallbacks_off"
    for name in wish.models:
        found = catalogue.find(name)
        if found is not None:
            chosen.setdefault(found.id, (found, listed))
    unlisted = listed or ("not_listed" if wish.models else "")
    for name in model.equivalents:
        found = catalogue.find(name)
        if found is not None:
            chosen.setdefault(found.id, (found, unlisted))
    return list(chosen.values())


def _sorted(offers: list[Offer], terms: Terms, standing_of: StandingOf, served_last: Way | None) -> list[Offer]:
    """Stable sorts, least important first: listed order is what remains of equal offers."""
    if len(offers) < 2:
        return offers
    wish = terms.wish
    standings = {offer.health_key: standing_of(offer.health_key) for offer in offers}
    if wish.by_price:
        offers = sorted(offers, key=lambda offer: exact_cost(terms, offer, likely_usage(terms, offer)))
    elif wish.sort == "latency":
        offers = sorted(offers, key=lambda offer: _or_infinity(standings[offer.health_key].latency_seconds))
    elif wish.sort == "throughput":
        offers = sorted(offers, key=lambda offer: -(standings[offer.health_key].tokens_per_second or 0.0))
    if served_last is not None and not wish.by_price:
        # Where the price decides, a warm cache is in the price already.
        offers = sorted(
            offers, key=lambda offer: not (offer.way == served_last and standings[offer.health_key].healthy)
        )
    offers = _first(offers, wish.order)
    if wish.strategy == "fallback" and not wish.sort:
        return offers
    return sorted(offers, key=lambda offer: not standings[offer.health_key].healthy)


def _first(offers: list[Offer], providers: tuple[str, ...]) -> list[Offer]:
    if not providers:
        return offers
    rank = {name: position for position, name in enumerate(providers)}
    return sorted(offers, key=lambda offer: rank.get(offer.provider_name, len(rank)))


def _or_infinity(value: float | None) -> float:
    return float("inf") if value is None else value
