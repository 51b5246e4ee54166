"""What a choice among candidates is made of, and made into: wishes, needs, offers, and candidates that were passed over.

`providers/choosing.py` makes it, over `providers/considering.py`, which judges one candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from billing.money import Money
from billing.pricing import Fee, Price, Rates
from billing.values import value
from providers.catalogue import Model, Upstream

STRATEGIES: Final = ("auto", "cheapest", "fallback")

WHOLE_SHARE: Final = 1_000_000
"""A share of a prompt is told in millionths, so that prices are compared in whole numbers."""

REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "provider_key": "the caller's own provider key is for another provider",
        "not_wanted": "the caller's provider.only, provider.ignore or provider.order leaves it out",
        "not_listed": "the caller's models list replaces the catalogue's equivalents, and does not name it",
        "fallbacks_off": "provider.allow_fallbacks is false, and another candidate comes before it",
        "provider_off": "the operator has no key for the provider",
        "missing_capability": "it does not offer what the request needs",
        "max_tokens_too_large": "it gives shorter answers than the request asks for",
        "context_too_small": "the prompt and the answer do not fit",
        "too_many_inputs": "it makes fewer embeddings in one request than are asked for",
        "no_token_input": "it makes embeddings of texts only, not of tokens",
        "too_dear": "it is dearer than provider.max_price allows",
        "key_not_allowed": "the caller's API key may not use the model",
        "no_price": "the catalogue has no price for it at this moment",
    }
)
"""Why a candidate is passed over before anything is called; docs/routing.md lists them."""


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
    """False: one provider of the model asked for and nobody else; with ``order`` the providers named there."""
    sort: str = ""
    """price, latency or throughput: overrides the strategy's order."""
    max_input_price: int | None = None
    """10⁻¹⁸ USD per token."""
    max_output_price: int | None = None
    require_parameters: bool = False
    """True: a candidate must take every field of the request as it is, nothing is emulated or left out."""

    @property
    def by_price(self) -> bool:
        """Whether the price decides the order."""
        return self.sort == "price" or (self.strategy == "cheapest" and not self.sort)


@value
class Inputs:
    """What embeddings are asked of."""

    count: int
    are_tokens: bool
    longest_tokens: int
    """Of the longest input that is given as tokens; 0 for texts, whose tokens only the provider counts."""


@value
class Need:
    """What a candidate must offer to serve the request."""

    prompt_token_bound: int
    prompt_bytes: int
    max_tokens: int | None
    """The caller's limit; None where the caller set none."""
    n: int
    capabilities: frozenset[str]
    fields: frozenset[str] = frozenset()
    """The request's fields by name, where all of them must be taken as they are."""
    inputs: Inputs | None = None
    """What embeddings are asked of; None for a chat completion."""
    limit_field: str = "max_tokens"
    """The field that has the caller's limit."""


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

    @property
    def way(self) -> Way:
        """Which candidate it is."""
        return (self.model.id, self.upstream.provider.name, self.upstream.upstream_model)


Way = tuple[str, str, str]
"""A candidate by its names: our model, the provider, the upstream model."""


@value
class PassedOver:
    """A candidate that cannot or may not serve, and why."""

    model: str
    provider: str
    reason: str
    """One of REASONS."""
    detail: str = ""
    candidate: tuple[Model, Upstream] | None = None
    """The candidate itself, for whoever wants to know its price all the same."""


def no_share(_model: str, _provider: str) -> int:
    """Nothing is known of any provider's prompt cache."""
    return 0


@value
class Terms:
    """What is the same for every candidate of one call."""

    asked: Model
    need: Need
    wish: Wish
    instant: datetime
    """Whose prices count."""
    fee: Fee
    key_provider: str | None = None
    """With a provider key of the caller's own, the only provider it opens."""
    cached_share_of: Callable[[str, str], int] = no_share
    """How much of the caller's prompts a model's provider lately read from its cache, in millionths."""


@value
class Selection:
    """The candidates in order, and those that were passed over."""

    offers: tuple[Offer, ...]
    passed_over: tuple[PassedOver, ...]
    terms: Terms


@value
class Standing:
    """What is known of an upstream's health when a choice is made."""

    healthy: bool = True
    latency_seconds: float | None = None
    tokens_per_second: float | None = None


StandingOf = Callable[[tuple[str, str]], Standing]
