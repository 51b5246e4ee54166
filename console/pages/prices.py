"""Prices for people: what each model costs now per million tokens, when it costs something else, and what a month would cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import Field

from billing.money import Money, format_usd
from billing.pricing import Charge, Fee, Price, Rates, Window, charge, charge_fee_only, format_rate, price_at
from billing.usage import Usage
from console.answers import Query
from middlewares.errors import Refusal, invalid
from providers.catalogue import Catalogue, Model

LARGEST_TOKENS: Final = 10_000_000
LARGEST_CALLS: Final = 1_000_000_000
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class PriceLine:
    """What a million tokens cost, in dollars before the fee, and when."""

    when: str
    input: str
    cached_input: str
    output: str
    now: bool


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """A model for sale, and its prices."""

    model: Model
    provider: str
    lines: tuple[PriceLine, ...]

    @property
    def current(self) -> PriceLine:
        """What a short prompt costs now."""
        return next(line for line in self.lines if line.now)


def models_for_sale(catalogue: Catalogue, now: datetime) -> list[ModelPrice]:
    """Every model with a price in force, in the order of the catalogue."""
    found = []
    for model in catalogue.models.values():
        first = model.upstreams[0]
        price = price_at(first.prices, now)
        if price is not None:
            found.append(ModelPrice(model, first.provider.name, tuple(_lines(price, now))))
    return found


def _lines(price: Price, now: datetime) -> Iterator[PriceLine]:
    in_window = any(window.covers(now) for window in price.windows)
    yield _line("otherwise" if price.windows else "", price.rates, now=not in_window)
    for window in price.windows:
        yield _line(_when(window), window.rates, now=window.covers(now))
    for tier in price.tiers:
        yield _line(f"prompts over {tier.above_prompt_tokens:,} tokens", tier.rates, now=False)


def _line(when: str, rates: Rates, *, now: bool) -> PriceLine:
    return PriceLine(when, format_rate(rates.input), format_rate(rates.cached_input), format_rate(rates.output), now)


def _when(window: Window) -> str:
    days = sorted(window.days)
    following = days == list(range(days[0], days[-1] + 1))
    names = [_DAYS[day - 1] for day in days]
    shown = f"{names[0]}–{names[-1]}" if following and len(names) > 2 else ", ".join(names)
    start, end = divmod(window.start_minute, 60), divmod(window.end_minute, 60)
    return f"{shown} {start[0]:02d}:{start[1]:02d}–{end[0]:02d}:{end[1]:02d} {window.zone}"


class Plan(Query):
    """What the calculator is asked."""

    model: str = Field(default="", max_length=200)
    prompt_tokens: int = Field(default=1_000, ge=0, le=LARGEST_TOKENS)
    cached_tokens: int = Field(default=0, ge=0, le=LARGEST_TOKENS)
    completion_tokens: int = Field(default=500, ge=0, le=LARGEST_TOKENS)
    calls: int = Field(default=10_000, ge=1, le=LARGEST_CALLS)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one call of a plan costs, and all of them; with a provider key of one's own only the fee is due here."""

    model: Model
    call: Charge
    month: Money
    own_key_month: Money

    def to_json(self) -> dict[str, Any]:
        """Dollars as decimal texts."""
        return {
            "provider_cost": format_usd(self.call.provider_cost),
            "fee": format_usd(self.call.fee),
            "cost": format_usd(self.call.cost),
            "month": format_usd(self.month),
            "own_key_month": format_usd(self.own_key_month),
        }


def estimate(catalogue: Catalogue, plan: Plan, fee: Fee, byok_fee: Fee, free_calls: int) -> Estimate:
    """What a plan costs at the prices of now, rounded call by call as calls are charged. Raises a Refusal."""
    model = catalogue.find(plan.model)
    if model is None:
        raise Refusal("model_not_found", f"there is no model {plan.model[:100]!r}", param="model")
    if plan.cached_tokens > plan.prompt_tokens:
        raise invalid("cached_tokens", "no more tokens can come from the cache than the prompt has")
    now = datetime.now(UTC)
    price = price_at(model.upstreams[0].prices, now)
    if price is None:
        raise Refusal("model_not_found", f"{model.id} has no price now", param="model")
    usage = Usage(plan.prompt_tokens, plan.completion_tokens, cached_tokens=plan.cached_tokens)
    exact = price.rates_at(now, plan.prompt_tokens).exact_cost(usage)
    one = charge(exact, fee)
    own = charge_fee_only(exact, byok_fee).cost * max(plan.calls - free_calls, 0)
    return Estimate(model, one, one.cost * plan.calls, own)
