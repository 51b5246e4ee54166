"""Which candidates may serve a call, in which order, and what each can cost at most. Pure: no clock, no network.

The order of evidence: the caller's wishes narrow the field, then what the request needs, then health; the strategy sorts
what is left. Every candidate that is passed over is named with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from billing.money import Money
from billing.pricing import Fee, Price, Rates, affordable_completion_tokens, bound, bound_of_fee, price_at
from billing.usage import BYTES_PER_TOKEN_ESTIMATE
from billing.values import value
from providers.catalogue import Catalogue, Model, Upstream

STRATEGIES: Final = ("auto", "cheapest", "fallback")

LIKELY_COMPLETION_TOKENS: Final = 512
"""What `cheapest` takes an answer to be when the caller sets no limit; only the comparison depends on it."""

# What a dialect can emulate or leave out: it does not exclude the model the caller asked for, only stand-ins.
_NEGOTIABLE: Final = frozenset({"json_schema", "json_object", "logprobs"})


@value
class Wish:
    """What the caller wants of routing."""

    strategy: str = "auto"
    models: tuple[str, ...] = ()
    """The caller's own list of stand-ins, in order; replaces the catalogue's equivalents."""
    order: tuple[str, ...] = ()
    """Providers to be tried first, in order."""
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    allow_fallbacks: bool = True
    """False: only the model asked for, and with ``order`` or ``only`` nothing beyond them."""
    sort: str = ""
    """price, latency or throughput: overrides the strategy's order."""
    max_input_price: int | None = None
    """10⁻¹⁸ USD per token."""
    max_output_price: int | None = None
    require_parameters: bool = False
    """True: a candidate must offer everything the request uses by itself, nothing is emulated."""


@value
class Need:
    """What a candidate must offer to serve the request."""

    prompt_token_bound: int
    prompt_bytes: int
    max_tokens: int | None
    """The caller's limit; None where the caller set none."""
    n: int
    capabilities: frozenset[str]


@value
class Offer:
    """A candidate with its price for this call."""

    model: Model
    upstream: Upstream
    price: Price
    rates: Rates
    """The dearest rates this request can meet."""
    max_tokens: int
    """The most completion tokens (per choice) the upstream may produce."""
    most: Money
    """The most this call can cost here, fee included."""

    @property
    def provider_name(self) -> str:
        """The provider, as the catalogue names it."""
        return self.upstream.provider.name

    @property
    def health_key(self) -> tuple[str, str]:
        """What the circuit breaker keeps apart."""
        return (self.upstream.provider.name, self.upstream.upstream_model)


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A candidate that cannot or may not serve, and why."""

    model: str
    provider: str
    reason: str
    """One of: not_wanted, provider_off, no_price, missing_capability, context_too_small, max_tokens_too_large, too_dear,
    provider_key."""
    detail: str = ""


@value
class Selection:
    """The candidates in order, and those that were passed over."""

    offers: tuple[Offer, ...]
    passed_over: tuple[PassedOver, ...]


@value
class Standing:
    """What is known of an upstream's health when a choice is made."""

    healthy: bool = True
    latency_seconds: float | None = None
    tokens_per_second: float | None = None


StandingOf = Callable[[tuple[str, str]], Standing]


def need_of(request: Mapping[str, Any], prompt_token_bound: int, prompt_bytes: int) -> Need:
    """What ``request`` (a checked chat completion body) asks of a candidate."""
    capabilities = set()
    if request.get("tools"):
        capabilities.add("tools")
    response_format = request.get("response_format")
    if isinstance(response_format, dict) and response_format.get("type") in ("json_object", "json_schema"):
        capabilities.add(response_format["type"])
    if request.get("logprobs"):
        capabilities.add("logprobs")
    n = request.get("n") or 1
    if n > 1:
        capabilities.add("n")
    if _has_pictures(request.get("messages")):
        capabilities.add("vision")
    limit = request.get("max_completion_tokens")
    if limit is None:
        limit = request.get("max_tokens")
    return Need(prompt_token_bound, prompt_bytes, limit, n, frozenset(capabilities))


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
) -> Selection:
    """The candidates that may serve ``model``, best first.

    ``key_provider``: in byok mode, the only provider the caller's key opens; ``most`` is then the fee alone.
    Healthy candidates come before unhealthy
    ones whatever the strategy, except that `fallback` keeps the listed order.
    """
    offers: list[Offer] = []
    passed_over: list[PassedOver] = []
    for candidate_model in _models_in_order(catalogue, model, wish):
        for upstream in candidate_model.upstreams:
            verdict = _consider(
                model, candidate_model, upstream, need, wish, instant=instant, fee=fee, key_provider=key_provider
            )
            if isinstance(verdict, Offer):
                offers.append(verdict)
            else:
                passed_over.append(verdict)
    return Selection(tuple(_sorted(offers, model, need, wish, standing_of, instant)), tuple(passed_over))


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
        most = min(offer.model.max_output, offer.model.context - need.prompt_bytes // BYTES_PER_TOKEN_ESTIMATE)
        tokens = affordable_completion_tokens(offer.rates, need.prompt_token_bound, available, fee)
        largest = max(largest, most if tokens is None else min(most, tokens // need.n))
    return largest


def _models_in_order(catalogue: Catalogue, model: Model, wish: Wish) -> list[Model]:
    """The model asked for, then its stand-ins: the caller's own list, or the catalogue's equivalents."""
    if not wish.models and not model.equivalents:
        return [model]
    chosen = {model.id: model}
    if wish.models:
        for name in wish.models:
            found = catalogue.find(name)
            if found is not None:
                chosen.setdefault(found.id, found)
    elif wish.allow_fallbacks:
        for name in model.equivalents:
            found = catalogue.find(name)
            if found is not None:
                chosen.setdefault(found.id, found)
    return list(chosen.values())


def _consider(
    asked: Model,
    model: Model,
    upstream: Upstream,
    need: Need,
    wish: Wish,
    *,
    instant: datetime,
    fee: Fee,
    key_provider: str | None,
) -> Offer | PassedOver:
    """An offer, or the first reason against this candidate."""
    provider = upstream.provider

    def no(reason: str, detail: str = "") -> PassedOver:
        return PassedOver(model.id, provider.name, reason, detail)

    if key_provider is not None and provider.name != key_provider:
        return no("provider_key", f"the provider key is for {key_provider}")
    if provider.name in wish.ignore or (wish.only and provider.name not in wish.only):
        return no("not_wanted")
    if wish.order and not wish.allow_fallbacks and provider.name not in wish.order:
        return no("not_wanted")
    if key_provider is None and not provider.usable:
        return no("provider_off", f"provider {provider.name} has no key")
    missing = _missing(need, model, strict=wish.require_parameters or model.id != asked.id)
    if missing:
        return no("missing_capability", ", ".join(missing))
    if need.max_tokens is not None and need.max_tokens > model.max_output:
        return no("max_tokens_too_large", str(model.max_output))
    likely_prompt = need.prompt_bytes // BYTES_PER_TOKEN_ESTIMATE
    if likely_prompt + (need.max_tokens or 0) > model.context:
        return no("context_too_small", str(model.context))
    price = price_at(upstream.prices, instant)
    if price is None:
        return no("no_price")
    rates = price.dearest_rates(instant, need.prompt_token_bound)
    if (wish.max_input_price is not None and rates.input > wish.max_input_price) or (
        wish.max_output_price is not None and rates.output > wish.max_output_price
    ):
        return no("too_dear")
    max_tokens = need.max_tokens
    if max_tokens is None:
        # A stand-in is not asked for a longer answer than the model it stands in for would give, and nobody for more than
        # the context leaves; the prompt's tokens are a guess here, so a quarter is added to them.
        room = model.context - likely_prompt * 5 // 4
        max_tokens = max(1, min(model.max_output, asked.max_output, room))
    bound_of = bound if key_provider is None else bound_of_fee
    most = bound_of(rates, need.prompt_token_bound, max_tokens * need.n, fee)
    return Offer(model, upstream, price, rates, max_tokens, most)


def _missing(need: Need, model: Model, *, strict: bool) -> list[str]:
    if need.capabilities <= model.capabilities:
        return []
    missing = need.capabilities - model.capabilities
    if not strict:
        missing -= _NEGOTIABLE
    return sorted(missing)


def _sorted(
    offers: list[Offer], asked: Model, need: Need, wish: Wish, standing_of: StandingOf, instant: datetime
) -> list[Offer]:
    """Stable sorts, least important first: listed order is what remains of equal offers."""
    if len(offers) < 2:
        return offers
    if wish.strategy == "fallback" and not wish.sort:
        return _first(offers, wish.order)
    standings = {offer.health_key: standing_of(offer.health_key) for offer in offers}
    if wish.sort == "price" or (wish.strategy == "cheapest" and not wish.sort):
        offers = sorted(offers, key=lambda offer: _likely_cost(offer, need, instant))
    elif wish.sort == "latency":
        offers = sorted(offers, key=lambda offer: _or_infinity(standings[offer.health_key].latency_seconds))
    elif wish.sort == "throughput":
        offers = sorted(offers, key=lambda offer: -(standings[offer.health_key].tokens_per_second or 0.0))
    else:
        # The model asked for comes first; among stand-ins the listed order holds.
        offers = sorted(offers, key=lambda offer: offer.model.id != asked.id)
    offers = _first(offers, wish.order)
    return sorted(offers, key=lambda offer: not standings[offer.health_key].healthy)


def _first(offers: list[Offer], providers: tuple[str, ...]) -> list[Offer]:
    if not providers:
        return offers
    rank = {name: position for position, name in enumerate(providers)}
    return sorted(offers, key=lambda offer: rank.get(offer.provider_name, len(rank)))


def _likely_cost(offer: Offer, need: Need, instant: datetime) -> int:
    """What the request would cost here, in 10⁻¹⁸ USD, taking the prompt at its likely length."""
    completion = need.max_tokens or min(offer.max_tokens, LIKELY_COMPLETION_TOKENS)
    prompt = need.prompt_bytes // BYTES_PER_TOKEN_ESTIMATE
    rates = offer.price.rates_at(instant, prompt)
    return prompt * rates.input + completion * need.n * rates.output


def _or_infinity(value: float | None) -> float:
    return float("inf") if value is None else value


def _has_pictures(messages: object) -> bool:
    if not isinstance(messages, list):
        return False
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list) and any(
            isinstance(part, dict) and part.get("type") in ("image_url", "input_image", "video_url") for part in content
        ):
            return True
    return False
