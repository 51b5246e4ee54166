"""What tokens cost: dated prices, the tier and the window that apply, the fee, and one rounding.

A price is an exact decimal in USD per million tokens, kept as a whole number of 10⁻¹⁸ USD per token (twelve decimals
of a price per million fit). A request's cost is summed in that unit, the fee is applied, and the result is rounded
once, half up, to 10⁻⁸ USD.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from functools import cached_property
from typing import Final

from billing.money import Money, divide_half_up, divide_up
from billing.usage import Usage
from billing.values import value

RATE_UNITS_PER_MONEY_UNIT: Final = 10**10
"""A rate unit is 10⁻¹⁸ USD, a unit of Money 10⁻⁸ USD."""

_RATE_UNITS_PER_USD_PER_MILLION: Final = 10**12


LARGEST_PRICE: Final = 10**9
"""USD per million tokens. More is a mistake, and callers name prices too: a number of a million digits would cost minutes."""

_SMALLEST: Final = Decimal(1).scaleb(-12)

PLAIN_RULE: Final = "plain"
"""How receipts name a price that depends neither on the hour nor on the prompt's length."""

ORIGINAL: Final = 1
"""The revision of a price that corrects no other."""


class InvalidPrice(ValueError):
    """A price or percentage that is no exact number, negative, too large, or finer than 12 decimals."""


def rate(usd_per_million_tokens: Decimal | int) -> int:
    """A price in USD per million tokens as 10⁻¹⁸ USD per token, exactly. Raises InvalidPrice."""
    price = _exact(usd_per_million_tokens, LARGEST_PRICE, "a price")
    return int(price * _RATE_UNITS_PER_USD_PER_MILLION)


def format_rate(rate_units: int) -> str:
    """A rate as USD per million tokens, exactly, without trailing zeros: the inverse of `rate`."""
    return f"{(Decimal(rate_units) / _RATE_UNITS_PER_USD_PER_MILLION).normalize():f}"


def usd_per_token(rate_units: int) -> str:
    """A rate as USD per token, exactly, without an exponent and trailing zeros: how OpenRouter's clients read prices."""
    return f"{Decimal(rate_units).scaleb(-18).normalize():f}"


def _exact(value: Decimal | int, largest: int, what: str) -> Decimal:
    """``value`` with 12 decimals, unrounded. Decimals are compared exactly, while operations round: so compare first."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise InvalidPrice(f"{what} is a decimal number, not {value!r}")
    number = Decimal(value)
    if not number.is_finite() or not 0 <= number <= largest:
        raise InvalidPrice(f"{what} is a number between 0 and {largest}, not {number}")
    exact = number.quantize(_SMALLEST)
    if exact != number:
        raise InvalidPrice(f"{what} has at most 12 decimals, {number} has more")
    return exact


@dataclass(frozen=True, slots=True)
class Rates:
    """What one token costs, by kind, in 10⁻¹⁸ USD."""

    input: int
    output: int
    cached_input: int
    cache_write: int

    def exact_cost(self, usage: Usage) -> int:
        """The cost of ``usage`` in 10⁻¹⁸ USD, before the fee and before rounding."""
        uncached = usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens
        return (
            uncached * self.input
            + usage.cached_tokens * self.cached_input
            + usage.cache_write_tokens * self.cache_write
            + usage.completion_tokens * self.output
        )

    @property
    def dearest_input(self) -> int:
        """The most one prompt token can cost, whatever the provider's cache does."""
        return max(self.input, self.cached_input, self.cache_write)


@dataclass(frozen=True, slots=True)
class Tier:
    """Rates for requests whose prompt is longer than ``above_prompt_tokens``; they apply to every token of the request."""

    above_prompt_tokens: int
    rates: Rates

    @property
    def rule(self) -> str:
        """How receipts name it: ``tier:256000``."""
        return f"tier:{self.above_prompt_tokens}"


@dataclass(frozen=True, slots=True)
class Window:
    """Rates for certain minutes of certain weekdays, as clocks in ``zone`` show them.

    Where clocks are put forward, the hour that is skipped is in no window; where they are put back, the hour that comes
    twice is in its window both times.
    """

    days: frozenset[int]
    """ISO weekdays, Monday is 1."""
    start_minute: int
    """Minutes since midnight, inclusive."""
    end_minute: int
    """Minutes since midnight, exclusive; after start_minute."""
    except_dates: frozenset[date]
    """Dates in ``zone`` on which the window does not apply (public holidays)."""
    rates: Rates
    zone: tzinfo = UTC
    """Whose clocks, weekdays and dates count."""

    @property
    def rule(self) -> str:
        """How receipts name it: ``window:01:00-04:00`` in UTC, elsewhere ``window:09:00-12:00@Asia/Shanghai``."""
        start, end = divmod(self.start_minute, 60), divmod(self.end_minute, 60)
        hours = f"window:{start[0]:02d}:{start[1]:02d}-{end[0]:02d}:{end[1]:02d}"
        return hours if str(self.zone) == "UTC" else f"{hours}@{self.zone}"

    def covers(self, instant: datetime) -> bool:
        """Whether ``instant`` (aware) lies in the window."""
        local = instant.astimezone(self.zone)
        minute = local.hour * 60 + local.minute
        return (
            self.start_minute <= minute < self.end_minute
            and local.isoweekday() in self.days
            and local.date() not in self.except_dates
        )


@dataclass(frozen=True, slots=True)
class Schedule:
    """Plain rates, and others for long prompts or for certain hours."""

    rates: Rates
    tiers: tuple[Tier, ...] = ()
    """Ascending by length."""
    windows: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True)
class Price:
    """One dated row of the price book: what we sell at, and what it costs us where that differs."""

    version: str
    """Names the row for good: model, provider and date."""
    effective_from: datetime
    rates: Rates
    tiers: tuple[Tier, ...] = ()
    windows: tuple[Window, ...] = ()
    cost: Schedule | None = None
    """What the provider charges us, where that differs from what we sell at; with tiers and windows of its own."""
    revision: int = ORIGINAL
    """Above 1 for a row that corrects what an earlier one said."""

    @property
    def schedule(self) -> Schedule:
        """What we sell at, without its date."""
        return Schedule(self.rates, self.tiers, self.windows)

    def rates_at(self, instant: datetime, prompt_tokens: int) -> Rates:
        """The rates of a request that starts at ``instant`` with ``prompt_tokens``: window first, then tier, then plain."""
        return self.applied_at(instant, prompt_tokens)[1]

    def applied_at(self, instant: datetime, prompt_tokens: int) -> tuple[str, Rates]:
        """The same, with the name of the rule that chose them: ``plain``, ``tier:256000`` or ``window:01:00-04:00``."""
        return _applied(self, instant, prompt_tokens)

    def dearest_rates(self, instant: datetime, prompt_token_bound: int) -> Rates:
        """For every kind of token the most it can cost if the prompt has at most ``prompt_token_bound`` tokens.

        A prompt below its bound may fall into a lower tier, which need not be the cheaper one, so all reachable tiers count.
        """
        for window in self.windows:
            if window.covers(instant):
                return window.rates
        reachable = [self.rates, *(tier.rates for tier in self.tiers if prompt_token_bound > tier.above_prompt_tokens)]
        if len(reachable) == 1:
            return self.rates
        return Rates(
            input=max(rates.input for rates in reachable),
            output=max(rates.output for rates in reachable),
            cached_input=max(rates.cached_input for rates in reachable),
            cache_write=max(rates.cache_write for rates in reachable),
        )

    def upstream_rates_at(self, instant: datetime, prompt_tokens: int) -> Rates:
        """What the provider charges us for such a request."""
        return _applied(self.cost or self, instant, prompt_tokens)[1]


def _applied(schedule: Schedule | Price, instant: datetime, prompt_tokens: int) -> tuple[str, Rates]:
    for window in schedule.windows:
        if window.covers(instant):
            return window.rule, window.rates
    chosen: tuple[str, Rates] = PLAIN_RULE, schedule.rates
    for tier in schedule.tiers:
        if prompt_tokens > tier.above_prompt_tokens:
            chosen = tier.rule, tier.rates
    return chosen


def price_at(prices: tuple[Price, ...], instant: datetime) -> Price | None:
    """The latest of ``prices`` (ascending by date and revision) that is in force at ``instant``; None before the first."""
    in_force = None
    for price in prices:
        if price.effective_from > instant:
            break
        in_force = price
    return in_force


@dataclass(frozen=True)
class Fee:
    """A percentage on top of the provider's price, kept as an exact fraction."""

    numerator: int
    denominator: int

    @classmethod
    def percent(cls, percent: Decimal | int) -> Fee:
        """``Fee.percent(Decimal("5.5"))`` is 55/1000. Raises InvalidPrice below 0 or above 1000 percent."""
        numerator, denominator = _exact(percent, 1000, "a fee in percent").as_integer_ratio()
        return cls(numerator, denominator * 100)

    @cached_property
    def as_percent(self) -> str:
        """The percentage as an exact decimal text: ``"5.5"``."""
        percent = Decimal(self.numerator * 100) / Decimal(self.denominator)
        return f"{percent.normalize():f}"


@value
class Charge:
    """What one call costs: the provider's price, the fee, and their sum, each a whole amount of Money."""

    provider_cost: Money
    fee: Money

    @property
    def cost(self) -> Money:
        """What the account pays."""
        return self.provider_cost + self.fee


NOTHING: Final = Charge(0, 0)


def charge(exact: int, fee: Fee) -> Charge:
    """The price of ``exact`` (10⁻¹⁸ USD) with the fee on top: the sum is rounded once, half up; the fee is what the
    sum exceeds the provider's part by."""
    with_fee = divide_half_up(exact * (fee.denominator + fee.numerator), fee.denominator * RATE_UNITS_PER_MONEY_UNIT)
    provider_cost = min(divide_half_up(exact, RATE_UNITS_PER_MONEY_UNIT), with_fee)
    return Charge(provider_cost, with_fee - provider_cost)


def charge_fee_only(exact: int, fee: Fee) -> Charge:
    """What a call on the caller's own provider key costs: the fee alone, rounded once, half up."""
    return Charge(0, divide_half_up(exact * fee.numerator, fee.denominator * RATE_UNITS_PER_MONEY_UNIT))


def cap(wanted: Charge, hold: Money) -> tuple[Charge, Money]:
    """Never take more than was held: the charge within ``hold``, and the rest, which the operator absorbs."""
    excess = wanted.cost - hold
    if excess <= 0:
        return wanted, 0
    provider_cost = min(wanted.provider_cost, hold)
    return Charge(provider_cost, hold - provider_cost), excess


def bound(rates: Rates, prompt_token_bound: int, completion_tokens: int, fee: Fee) -> Money:
    """The most that a prompt of at most ``prompt_token_bound`` and an answer of ``completion_tokens`` can cost with the fee."""
    exact = prompt_token_bound * rates.dearest_input + completion_tokens * rates.output
    return divide_up(exact * (fee.denominator + fee.numerator), fee.denominator * RATE_UNITS_PER_MONEY_UNIT)


def bound_of_fee(rates: Rates, prompt_token_bound: int, completion_tokens: int, fee: Fee) -> Money:
    """The most that the fee alone can come to for such a request, for a call on the caller's own provider key."""
    exact = prompt_token_bound * rates.dearest_input + completion_tokens * rates.output
    return divide_up(exact * fee.numerator, fee.denominator * RATE_UNITS_PER_MONEY_UNIT)


def affordable_completion_tokens(rates: Rates, prompt_token_bound: int, available: Money, fee: Fee) -> int | None:
    """How many completion tokens ``available`` covers beside the prompt, fee included; None if output is free, negative never.

    0 means that not even the prompt and one token are covered.
    """
    exact = available * fee.denominator * RATE_UNITS_PER_MONEY_UNIT // (fee.denominator + fee.numerator)
    left = exact - prompt_token_bound * rates.dearest_input
    if left < 0:
        return 0
    if rates.output == 0:
        return None
    return left // rates.output
