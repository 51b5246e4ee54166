"""Promises of prices: the right row, tier and window, one rounding, and a hold that no answer within it can exceed."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from billing.money import UNITS_PER_USD, format_usd
from billing.pricing import (
    LARGEST_PRICE,
    NOTHING,
    RATE_UNITS_PER_MONEY_UNIT,
    Charge,
    Fee,
    InvalidPrice,
    Price,
    Rates,
    Schedule,
    Tier,
    Window,
    affordable_completion_tokens,
    bound,
    bound_of_fee,
    cap,
    charge,
    charge_fee_only,
    format_rate,
    price_at,
    rate,
    usd_per_token,
)
from billing.usage import Usage


def rates(input: str, output: str, cached: str | None = None, cache_write: str | None = None) -> Rates:
    """Rates from prices in USD per million tokens; cached and written tokens cost as other input unless said."""
    return Rates(
        rate(Decimal(input)),
        rate(Decimal(output)),
        rate(Decimal(cached if cached is not None else input)),
        rate(Decimal(cache_write if cache_write is not None else input)),
    )


PLAIN = rates("0.14", "0.28", cached="0.014")
FEE = Fee.percent(Decimal("5.5"))
BYOK_FEE = Fee.percent(5)
MONDAY = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("prompt_tokens", "completion_tokens", "expected"),
    [
        (1000, 500, "0.0002954"),
        (7, 3, "0.00000192"),
        (1, 1, "0.00000044"),
        (50, 0, "0.00000739"),
        (0, 0, "0"),
        (1_000_000, 1_000_000, "0.4431"),
    ],
)
def test_known_costs(prompt_tokens: int, completion_tokens: int, expected: str) -> None:
    """At 0.14 and 0.28 USD per million with 5.5 % on top; 50/0 is a tie, 738.5 units, and goes up."""
    assert expected == format_usd(charge(PLAIN.exact_cost(Usage(prompt_tokens, completion_tokens)), FEE).cost)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(1000, 0), 140),
        (Usage(1000, 0, cached_tokens=1000), 14),
        (Usage(1000, 0, cached_tokens=400), 84 + Fraction(56, 10)),
        (Usage(1000, 0, cache_write_tokens=1000), 175),
        (Usage(1000, 500, cached_tokens=200, cache_write_tokens=300), 70 + Fraction(28, 10) + Fraction(525, 10) + 140),
        (Usage(1000, 500, reasoning_tokens=500), 280),
    ],
)
def test_every_kind_of_token_has_its_rate(usage: Usage, expected: int | Fraction) -> None:
    """Cached and written tokens are part of the prompt and charged once; reasoning is charged as completion. In 10⁻⁶ USD."""
    exact = rates("0.14", "0.28", cached="0.014", cache_write="0.175").exact_cost(usage)

    assert expected == Fraction(exact, 10**12)


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        (Decimal("0.14"), 140_000_000_000),
        (0, 0),
        (3, 3 * 10**12),
        (Decimal("1e-12"), 1),
        (Decimal("1." + "0" * 60), 10**12),
        (LARGEST_PRICE, LARGEST_PRICE * 10**12),
    ],
)
def test_a_price_is_exact(price: Decimal | int, expected: int) -> None:
    """A price per million tokens becomes a whole number per token."""
    assert expected == rate(price)


_NO_NUMBERS = [0.14, 0.5, True, "0.14", None]
_NO_PRICES = [
    "-1",
    "-1e-12",
    "NaN",
    "sNaN",
    "Infinity",
    "1e-13",
    "1." + "0" * 40 + "1",
    "1e-400000",
    "1e900000",
    "1e10",
]


@pytest.mark.parametrize("price", [*_NO_NUMBERS, *map(Decimal, _NO_PRICES)])
def test_what_is_no_exact_price_is_refused(price: Any) -> None:
    """Nothing is rounded to fit, no float is let in, and a number of a million digits is refused before it costs time."""
    with pytest.raises(InvalidPrice):
        rate(price)


@pytest.mark.parametrize(
    ("price", "sentence"),
    [
        (0.14, "a price is a decimal number, not 0.14"),
        (Decimal("-1"), "a price is a number between 0 and 1000000000, not -1"),
        (Decimal("1e-13"), "a price has at most 12 decimals, 1E-13 has more"),
    ],
)
def test_a_refusal_says_what_a_price_is(price: Any, sentence: str) -> None:
    """And what was given instead; a fee speaks for itself."""
    with pytest.raises(InvalidPrice, match=f"^{re.escape(sentence)}$"):
        rate(price)
    with pytest.raises(InvalidPrice, match=r"^a fee in percent is a number between 0 and 1000, not 1001$"):
        Fee.percent(1001)


def test_a_fee_is_an_exact_fraction() -> None:
    """5.5 % is 11/200, and no fee is one too."""
    assert Fraction(55, 1000) == Fraction(FEE.numerator, FEE.denominator)
    assert Fraction(0) == Fraction(Fee.percent(0).numerator, Fee.percent(0).denominator)
    assert Fraction(10) == Fraction(Fee.percent(1000).numerator, Fee.percent(1000).denominator)


@pytest.mark.parametrize("percent", [*_NO_NUMBERS, *map(Decimal, [*_NO_PRICES, "1000.01"])])
def test_what_is_no_fee_is_refused(percent: Any) -> None:
    """Below 0, above 1000 percent, or no exact number."""
    with pytest.raises(InvalidPrice):
        Fee.percent(percent)


TIERED = Price(
    "m@2026-01-01",
    datetime(2026, 1, 1, tzinfo=UTC),
    rates("1", "2"),
    tiers=(Tier(1000, rates("3", "1")), Tier(2000, rates("2", "6"))),
)


@pytest.mark.parametrize(
    ("prompt_tokens", "expected"),
    [(0, ("1", "2")), (1000, ("1", "2")), (1001, ("3", "1")), (2000, ("3", "1")), (2001, ("2", "6"))],
)
def test_a_tier_takes_every_token_of_the_request(prompt_tokens: int, expected: tuple[str, str]) -> None:
    """One token above the limit changes the rates of all tokens; the limit itself does not."""
    assert rates(*expected) == TIERED.rates_at(MONDAY, prompt_tokens)


@pytest.mark.parametrize(
    ("prompt_token_bound", "expected"), [(1000, ("1", "2")), (1500, ("3", "2")), (2001, ("3", "6"))]
)
def test_the_dearest_rates_are_those_of_every_tier_in_reach(prompt_token_bound: int, expected: tuple[str, str]) -> None:
    """A prompt below its bound may fall into a lower tier that is dearer in one kind of token."""
    assert rates(*expected) == TIERED.dearest_rates(MONDAY, prompt_token_bound)


_RATE_UNITS = st.integers(0, 10**21)

PEAK = Window(frozenset({1, 2, 3, 4, 5}), 60, 240, frozenset({date(2026, 1, 6)}), rates("9", "9"))
WINDOWED = replace(TIERED, windows=(PEAK, replace(PEAK, start_minute=0, rates=rates("8", "8"))))


@pytest.mark.parametrize(
    ("instant", "covered"),
    [
        (MONDAY.replace(hour=0, minute=59, second=59, microsecond=999_999), False),
        (MONDAY.replace(hour=1), True),
        (MONDAY.replace(hour=3, minute=59, second=59, microsecond=999_999), True),
        (MONDAY.replace(hour=4), False),
        (datetime(2026, 1, 6, 2, tzinfo=UTC), False),
        (datetime(2026, 1, 7, 2, tzinfo=UTC), True),
        (datetime(2026, 1, 9, 2, tzinfo=UTC), True),
        (datetime(2026, 1, 10, 2, tzinfo=UTC), False),
        (datetime(2026, 1, 11, 2, tzinfo=UTC), False),
        # 09:30 on Monday in Beijing is 01:30 in UTC; 01:30 on Monday in Beijing is still Sunday.
        (datetime(2026, 1, 5, 9, 30, tzinfo=timezone(timedelta(hours=8))), True),
        (datetime(2026, 1, 5, 1, 30, tzinfo=timezone(timedelta(hours=8))), False),
        # 22:30 on Monday in New York is 03:30 on Tuesday in UTC, a holiday.
        (datetime(2026, 1, 5, 22, 30, tzinfo=timezone(timedelta(hours=-5))), False),
    ],
)
def test_a_window_covers_its_minutes_in_utc(instant: datetime, covered: bool) -> None:
    """From its first minute up to, not including, its last; on its weekdays; not on holidays; in UTC wherever one is."""
    assert covered == PEAK.covers(instant)


SHANGHAI_MONDAY = Window(
    frozenset({1}), 0, 60, frozenset({date(2026, 1, 12)}), rates("9", "9"), ZoneInfo("Asia/Shanghai")
)
NIGHT = Window(frozenset(range(1, 8)), 120, 180, frozenset(), rates("9", "9"), ZoneInfo("Europe/Berlin"))


@pytest.mark.parametrize(
    ("window", "instant", "covered"),
    [
        # 29 March 2026: clocks go from 02:00 to 03:00 at 01:00 UTC, so the hour from two to three does not come.
        (NIGHT, datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC), False),
        (NIGHT, datetime(2026, 3, 29, 1, 0, tzinfo=UTC), False),
        (replace(NIGHT, start_minute=180, end_minute=181), datetime(2026, 3, 29, 1, 0, tzinfo=UTC), True),
        # 25 October 2026: clocks go from 03:00 back to 02:00 at 01:00 UTC, so the same hour comes twice.
        (NIGHT, datetime(2026, 10, 24, 23, 59, 59, tzinfo=UTC), False),
        (NIGHT, datetime(2026, 10, 25, 0, 0, tzinfo=UTC), True),
        (NIGHT, datetime(2026, 10, 25, 1, 59, 59, tzinfo=UTC), True),
        (NIGHT, datetime(2026, 10, 25, 2, 0, tzinfo=UTC), False),
        # In summer two in the morning is midnight in UTC, in winter one hour later.
        (NIGHT, datetime(2026, 7, 1, 0, 0, tzinfo=UTC), True),
        (NIGHT, datetime(2026, 12, 1, 0, 0, tzinfo=UTC), False),
        (NIGHT, datetime(2026, 12, 1, 1, 0, tzinfo=UTC), True),
        # Weekday and date are those of the zone: 16:30 UTC on Sunday is half past midnight on Monday in Shanghai.
        (SHANGHAI_MONDAY, datetime(2026, 1, 4, 16, 30, tzinfo=UTC), True),
        (SHANGHAI_MONDAY, datetime(2026, 1, 5, 16, 30, tzinfo=UTC), False),
        (SHANGHAI_MONDAY, datetime(2026, 1, 11, 16, 30, tzinfo=UTC), False),
    ],
)
def test_a_window_goes_by_the_clocks_of_its_zone(window: Window, instant: datetime, covered: bool) -> None:
    """Also in the nights in which those are put forward or back; its weekdays and holidays are the zone's."""
    assert covered == window.covers(instant)


def test_the_rule_names_the_zone_where_it_is_not_utc() -> None:
    """So that a receipt says whose clocks counted."""
    assert "window:02:00-03:00@Europe/Berlin" == NIGHT.rule
    assert "window:01:00-04:00" == PEAK.rule


def test_a_window_to_midnight_covers_the_last_minute() -> None:
    """24:00 is its end."""
    assert replace(PEAK, end_minute=24 * 60).covers(MONDAY.replace(hour=23, minute=59, second=59))


@pytest.mark.parametrize(
    ("instant", "prompt_tokens", "expected"),
    [
        (MONDAY.replace(hour=2), 0, ("9", "9")),
        (MONDAY.replace(hour=2), 5000, ("9", "9")),
        (MONDAY.replace(minute=30), 0, ("8", "8")),
        (MONDAY.replace(hour=5), 0, ("1", "2")),
        (MONDAY.replace(hour=5), 2001, ("2", "6")),
    ],
)
def test_a_window_comes_before_a_tier(instant: datetime, prompt_tokens: int, expected: tuple[str, str]) -> None:
    """The first window that covers the moment sets the rates, whatever the prompt's length; the dearest rates agree."""
    assert rates(*expected) == WINDOWED.rates_at(instant, prompt_tokens)
    if expected[0] in "89":
        assert rates(*expected) == WINDOWED.dearest_rates(instant, prompt_tokens)


def test_what_the_provider_charges_us() -> None:
    """The cost of the row where there is one, else the rates we sell at."""
    cost = rates("0.5", "0.5")

    assert rates("2", "6") == TIERED.upstream_rates_at(MONDAY, 2001)
    assert Schedule(WINDOWED.rates, WINDOWED.tiers, WINDOWED.windows) == WINDOWED.schedule
    assert cost == replace(WINDOWED, cost=Schedule(cost)).upstream_rates_at(MONDAY.replace(hour=2), 2001)


def test_the_cost_may_have_tiers_and_windows_of_its_own() -> None:
    """They are independent of those of the price."""
    tier, window = Tier(1000, rates("0.6", "0.6")), replace(PEAK, rates=rates("0.7", "0.7"))
    price = replace(TIERED, cost=Schedule(rates("0.5", "0.5"), (tier,), (window,)))

    assert rates("0.5", "0.5") == price.upstream_rates_at(MONDAY, 1000)
    assert rates("0.6", "0.6") == price.upstream_rates_at(MONDAY, 1001)
    assert rates("0.7", "0.7") == price.upstream_rates_at(MONDAY.replace(hour=2), 1001)
    assert rates("3", "1") == price.rates_at(MONDAY.replace(hour=2), 1001)


@given(_RATE_UNITS)
def test_a_rate_is_written_as_it_is_read(units: int) -> None:
    """Exactly, whatever its size."""
    assert units == rate(Decimal(format_rate(units)))


def test_the_price_in_force_is_the_latest_that_has_begun() -> None:
    """A price begins with its first moment; before the first there is none."""
    first, second = (
        replace(TIERED, version=f"m@{day}", effective_from=datetime(2026, 1, day, tzinfo=UTC)) for day in (2, 4)
    )
    moment = timedelta(microseconds=1)

    assert None is price_at((), MONDAY)
    assert None is price_at((first, second), first.effective_from - moment)
    assert first == price_at((first, second), first.effective_from)
    assert first == price_at((first, second), second.effective_from - moment)
    assert second == price_at((first, second), second.effective_from)
    assert second == price_at((first, second), MONDAY + timedelta(days=3650))


def test_the_fee_alone_for_ones_own_key() -> None:
    """5 % of the list price of 1000/500, and nothing for the provider's part, which the caller pays there."""
    assert Charge(0, 1400) == charge_fee_only(PLAIN.exact_cost(Usage(1000, 500)), BYOK_FEE)
    assert NOTHING == charge_fee_only(0, BYOK_FEE)


@pytest.mark.parametrize(
    ("wanted", "hold", "expected"),
    [
        (Charge(100, 10), 200, (Charge(100, 10), 0)),
        (Charge(100, 10), 110, (Charge(100, 10), 0)),
        (Charge(100, 10), 109, (Charge(100, 9), 1)),
        (Charge(100, 10), 60, (Charge(60, 0), 50)),
        (Charge(100, 10), 0, (NOTHING, 110)),
        (NOTHING, 0, (NOTHING, 0)),
    ],
)
def test_no_more_is_taken_than_was_held(wanted: Charge, hold: int, expected: tuple[Charge, int]) -> None:
    """The operator absorbs the rest, of the fee first."""
    assert expected == cap(wanted, hold)


_RATE = st.integers(0, 10**15) | st.integers(0, 200).map(lambda cents: rate(Decimal(cents) / 100))
_RATES = st.builds(Rates, _RATE, _RATE, _RATE, _RATE)
_FEES = st.builds(Fee.percent, st.decimals(0, 1000, places=3))
_TOKENS = st.integers(0, 3000) | st.integers(0, 10**7)


@st.composite
def _prices(draw: st.DrawFn) -> Price:
    limits = sorted(draw(st.sets(st.integers(1, 4000), max_size=3)))
    tiers = tuple(Tier(limit, draw(_RATES)) for limit in limits)
    covers_all = replace(PEAK, start_minute=0, end_minute=1440, rates=draw(_RATES))
    return replace(TIERED, rates=draw(_RATES), tiers=tiers, windows=draw(st.sampled_from([(), (covers_all,)])))


@st.composite
def _usages(draw: st.DrawFn, most_prompt_tokens: int, most_completion_tokens: int) -> Usage:
    prompt = draw(st.integers(0, most_prompt_tokens))
    cached = draw(st.integers(0, prompt))
    written = draw(st.integers(0, prompt - cached))
    return Usage(prompt, draw(st.integers(0, most_completion_tokens)), cached, written)


@settings(deadline=None, print_blob=True)
@given(st.data(), _prices(), _FEES, _TOKENS, _TOKENS)
def test_the_hold_is_a_true_upper_bound(
    data: st.DataObject, price: Price, fee: Fee, prompt_token_bound: int, completion_tokens: int
) -> None:
    """Whatever the price, the tier that is met, the fee and the provider's cache: usage within the bounds costs no more."""
    usage = data.draw(_usages(prompt_token_bound, completion_tokens))
    dearest = price.dearest_rates(MONDAY, prompt_token_bound)
    exact = price.rates_at(MONDAY, usage.prompt_tokens).exact_cost(usage)

    most = bound(dearest, prompt_token_bound, completion_tokens, fee)
    most_of_fee = bound_of_fee(dearest, prompt_token_bound, completion_tokens, fee)

    assert charge(exact, fee).cost <= most
    assert charge_fee_only(exact, fee).cost <= most_of_fee
    assert {int} == {type(most), type(most_of_fee)}


def test_the_bound_is_no_higher_than_it_must_be() -> None:
    """Every prompt token at the dearest input, every answer's at the output price, the fee on top: rounded up once."""
    dear = rates("0.14", "0.28", cached="0.014", cache_write="0.175")

    assert 4801 == bound(dear, 100, 100, FEE)
    assert 228 == bound_of_fee(dear, 100, 100, BYOK_FEE)
    assert 0 == bound_of_fee(dear, 100, 100, Fee.percent(0))


@settings(deadline=None, print_blob=True)
@given(_RATES, _FEES, _TOKENS, st.integers(-10, 10**12))
def test_the_affordable_answer_is_the_longest_that_fits(
    rates: Rates, fee: Fee, prompt_token_bound: int, available: int
) -> None:
    """The answer fits, one token more does not; None only where output is free and the prompt is covered."""
    tokens = affordable_completion_tokens(rates, prompt_token_bound, available, fee)
    if tokens is None:
        assert 0 == rates.output
        assert bound(rates, prompt_token_bound, 10**9, fee) <= available
        return

    assert available < bound(rates, prompt_token_bound, tokens + 1, fee)
    assert int is type(tokens)
    assert tokens >= 0
    assert tokens == 0 or bound(rates, prompt_token_bound, tokens, fee) <= available


@settings(deadline=None, print_blob=True)
@given(st.data(), _RATES, _FEES)
def test_a_charge_is_the_exact_cost_rounded_once(data: st.DataObject, rates: Rates, fee: Fee) -> None:
    """Compared with fractions: the sum is the nearest whole amount, half up, and its two parts are it and not negative."""
    usage = data.draw(_usages(10**7, 10**7))
    percent = Fraction(fee.numerator, fee.denominator)
    usd = (
        (usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens) * Fraction(rates.input, 10**18)
        + usage.cached_tokens * Fraction(rates.cached_input, 10**18)
        + usage.cache_write_tokens * Fraction(rates.cache_write, 10**18)
        + usage.completion_tokens * Fraction(rates.output, 10**18)
    )
    actual = charge(rates.exact_cost(usage), fee)

    assert _half_up(usd * (1 + percent) * UNITS_PER_USD) == actual.cost
    assert actual.cost == actual.provider_cost + actual.fee
    assert actual.provider_cost >= 0
    assert actual.fee >= 0
    assert abs(actual.provider_cost - usd * UNITS_PER_USD) <= Fraction(1, 2)
    assert _half_up(usd * percent * UNITS_PER_USD) == charge_fee_only(rates.exact_cost(usage), fee).cost


@settings(deadline=None, print_blob=True)
@given(st.integers(0, 10**30), _FEES, st.integers(0, 10**20))
def test_a_capped_charge_is_within_the_hold(exact: int, fee: Fee, hold: int) -> None:
    """What is taken and what is absorbed are together what was wanted, and no part is negative."""
    wanted = charge(exact, fee)
    taken, absorbed = cap(wanted, hold)

    assert wanted.cost == taken.cost + absorbed
    assert taken.cost <= hold
    assert min(taken.provider_cost, taken.fee, absorbed) >= 0


@settings(deadline=None, print_blob=True)
@given(st.integers(0, 10**7))
def test_a_tie_goes_up_whatever_the_amount(amount: int) -> None:
    """Half a unit of money more than a whole amount is the next one."""
    half = amount * RATE_UNITS_PER_MONEY_UNIT + RATE_UNITS_PER_MONEY_UNIT // 2

    assert amount + 1 == charge(half, Fee.percent(0)).cost
    assert amount == charge(half - 1, Fee.percent(0)).cost


def _half_up(value: Fraction) -> int:
    """The reference: the whole number whose half-open neighbourhood [n - 1/2, n + 1/2) holds the value."""
    rounded = (value + Fraction(1, 2)).__floor__()
    assume(rounded >= 0)
    return rounded


@pytest.mark.parametrize(
    ("usd_per_million", "expected"),
    [
        ("0.14", "0.00000014"),
        ("0.014", "0.000000014"),
        ("0", "0"),
        ("1000000", "1"),
        ("0.000000000001", "0." + "0" * 17 + "1"),
    ],
)
def test_a_price_per_token_is_written_out(usd_per_million: str, expected: str) -> None:
    """Exactly, without an exponent."""
    assert expected == usd_per_token(rate(Decimal(usd_per_million)))
