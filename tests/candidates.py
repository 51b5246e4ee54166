"""Models, upstreams and prices of a test's own, and what is selected among them. Round prices, no clock, no network."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from billing.pricing import Fee, Price, Rates, rate
from providers.catalogue import DIALECTS, Catalogue, Model, ProviderEntry, Upstream
from providers.choosing import select
from providers.selection import Need, Selection, Standing, Wish

NOW = datetime(2026, 11, 2, tzinfo=UTC)
FEE = Fee.percent(Decimal("5.5"))
SMALL = Need(prompt_token_bound=400, prompt_bytes=400, max_tokens=100, n=1, capabilities=frozenset())
OPEN = replace(SMALL, max_tokens=None)


def provider(name: str, **fields: Any) -> ProviderEntry:
    plain = {"dialect": DIALECTS["openai"], "base_url": "https://x.example", "keys": ("key",)}
    return ProviderEntry(name, **{**plain, **fields})


def price(usd: str, output: str | None = None, **fields: Any) -> Price:
    """A price per million tokens; output costs as much as input unless said."""
    per_input, per_output = rate(Decimal(usd)), rate(Decimal(output or usd))
    rates = Rates(per_input, per_output, per_input, per_input)
    return Price("v", datetime(2026, 1, 1, tzinfo=UTC), rates, **fields)


def upstream(name: str, usd: str = "1", **fields: Any) -> Upstream:
    prices = fields.pop("prices", (price(usd),))
    return Upstream(provider(name, **fields), f"{name}-model", {}, prices, reasoning=False)


def model(name: str, *upstreams: Upstream, **fields: Any) -> Model:
    return Model(
        id=name,
        upstreams=upstreams or (upstream(f"p-{name}"),),
        **{
            "context": 10_000,
            "max_output": 1_000,
            "capabilities": frozenset(),
            "aliases": (),
            "equivalents": (),
            "created": 0,
            **fields,
        },
    )


def chosen(
    *models: Model,
    need: Need = SMALL,
    wish: Wish | None = None,
    standings: dict[str, Standing] | None = None,
    **fields: Any,
) -> Selection:
    """What is selected for the first of ``models``; standings by provider."""
    names = {name: found for found in models for name in (found.id, *found.aliases)}
    catalogue = Catalogue("v", {}, {found.id: found for found in models}, names)
    return select(
        catalogue,
        models[0],
        need,
        wish if wish is not None else Wish(),
        **{
            "instant": NOW,
            "fee": FEE,
            "standing_of": lambda key: (standings or {}).get(key[0], Standing()),
            **fields,
        },
    )


def order(*models: Model, **fields: Any) -> list[str]:
    """The providers of the offers, in order."""
    return [offer.provider_name for offer in chosen(*models, **fields).offers]


def reason(*models: Model, **fields: Any) -> tuple[str, str]:
    """Why the first model's only upstream was passed over."""
    selection = chosen(*models, **fields)
    assert () == selection.offers
    (passed,) = selection.passed_over
    assert (models[0].id, models[0].upstreams[0].provider.name) == (passed.model, passed.provider)
    return passed.reason, passed.detail


# A model with two ways to it, and two stand-ins; "a" and "c" are dear, "b" is cheap, "d" costs nothing worth naming.
ASKED = model("asked", upstream("a", "3"), upstream("b", "1"), equivalents=("first", "gone", "second"))
FIRST = model("first", upstream("c", "2"), aliases=("nickname",))
SECOND = model("second", upstream("d", "0.1"))
ALL = (ASKED, FIRST, SECOND)
SICK = Standing(healthy=False)
