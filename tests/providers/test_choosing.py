"""Who may serve, in which order, and that nobody is forgotten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.pricing import Price, Rates, Tier, Window, rate
from providers.catalogue import Model
from providers.selection import REASONS, Need, Offer, Selection, Standing, Wish
from tests.candidates import (
    ALL,
    NOW,
    OPEN,
    SICK,
    SMALL,
    chosen,
    model,
    order,
    price,
    reason,
    upstream,
)


@pytest.mark.parametrize("strategy", ["auto", "fallback"])
def test_the_listed_order_holds_where_all_are_well(strategy: str) -> None:
    """The model asked for with its upstreams as listed, then its stand-ins as listed."""
    assert ["a", "b", "c", "d"] == order(*ALL, wish=Wish(strategy))


def test_cheapest_sorts_by_what_this_request_would_cost() -> None:
    """Across the model and its stand-ins."""
    assert ["d", "b", "c", "a"] == order(*ALL, wish=Wish("cheapest"))


@pytest.mark.parametrize(
    ("need", "expected"),
    [
        (replace(SMALL, prompt_bytes=40_000, prompt_token_bound=40_000, max_tokens=1), ["in", "out"]),
        (replace(SMALL, prompt_bytes=4, max_tokens=900), ["out", "in"]),
        (replace(SMALL, prompt_bytes=4_000, max_tokens=900, n=1), ["out", "in"]),
        (replace(SMALL, prompt_bytes=4_000, max_tokens=100, n=1), ["in", "out"]),
        (replace(SMALL, prompt_bytes=4_000, max_tokens=100, n=16), ["out", "in"]),
        (replace(OPEN, prompt_bytes=8_000), ["in", "out"]),
        (replace(OPEN, prompt_bytes=800), ["out", "in"]),
    ],
)
def test_the_shape_of_the_request_decides_what_is_cheap(need: Need, expected: list[str]) -> None:
    """Long prompts favour cheap input, long or many answers cheap output; without a limit an answer is taken as usual."""
    cheap_input = upstream("in", prices=(price("1", "3"),))
    cheap_output = upstream("out", prices=(price("2", "1"),))

    assert expected == order(model("m", cheap_output, cheap_input, context=100_000), need=need, wish=Wish("cheapest"))


def test_cheapest_takes_the_tier_that_the_prompt_likely_meets() -> None:
    """The bound of a prompt may reach a dear tier that the prompt itself will not; the hold still covers it."""
    tiered = upstream("tiered", prices=(replace(price("1"), tiers=(Tier(300, price("9").rates),)),))
    offers = chosen(model("m", upstream("flat", "2"), tiered), wish=Wish("cheapest")).offers

    assert ["tiered", "flat"] == [offer.provider_name for offer in offers]
    assert price("9").rates == offers[0].rates


@pytest.mark.parametrize("strategy", ["auto", "cheapest"])
def test_the_healthy_come_first(strategy: str) -> None:
    """A sick candidate stays the last resort; among the healthy the order is what it would be."""
    sick = {"a": SICK, "d": SICK}

    assert {"auto": ["b", "c", "a", "d"], "cheapest": ["b", "c", "d", "a"]}[strategy] == order(
        *ALL, wish=Wish(strategy), standings=sick
    )


def test_fallback_keeps_its_order_in_sickness() -> None:
    """Each in its turn, whatever is known of it."""
    assert ["a", "b", "c", "d"] == order(*ALL, wish=Wish("fallback"), standings={"a": SICK, "b": SICK})


@pytest.mark.parametrize("strategy", ["auto", "cheapest", "fallback"])
@pytest.mark.parametrize(
    ("sort", "expected"),
    [("price", ["d", "b", "c", "a"]), ("latency", ["c", "b", "a", "d"]), ("throughput", ["b", "d", "a", "c"])],
)
def test_a_wish_to_sort_overrides_the_strategy(strategy: str, sort: str, expected: list[str]) -> None:
    """By price, by the time to the first content, by speed; what is not known comes last, as listed."""
    standings = {
        "b": Standing(latency_seconds=0.5, tokens_per_second=80.0),
        "c": Standing(latency_seconds=0.1),
        "d": Standing(tokens_per_second=20.0),
    }

    assert expected == order(*ALL, wish=Wish(strategy, sort=sort), standings=standings)


def test_the_order_of_providers_comes_before_strategy_and_after_health() -> None:
    """Those the caller names first come first; the rest follow as they would."""
    assert ["d", "b", "a", "c"] == order(*ALL, wish=Wish(order=("d", "b")))
    assert ["c", "d", "b", "a"] == order(*ALL, wish=Wish("cheapest", order=("c", "nobody")))
    assert ["d", "a", "b", "c"] == order(*ALL, wish=Wish("fallback", order=("d",)), standings={"d": SICK})
    assert ["b", "a", "c", "d"] == order(*ALL, wish=Wish(order=("d", "b")), standings={"d": SICK})


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (Wish(only=("b", "c")), ["b", "c"]),
        (Wish(ignore=("a", "c")), ["b", "d"]),
        (Wish(only=("a", "b"), ignore=("a",)), ["b"]),
        (Wish(allow_fallbacks=False), ["a"]),
        (Wish("cheapest", allow_fallbacks=False), ["b"]),
        (Wish(allow_fallbacks=False, order=("b",)), ["b"]),
        (Wish(allow_fallbacks=False, order=("b", "a")), ["b", "a"]),
        (Wish(allow_fallbacks=False, models=("second",)), ["a"]),
        (Wish(allow_fallbacks=False, ignore=("a",)), ["b"]),
        (Wish(allow_fallbacks=False, only=("a", "d")), ["a"]),
        (Wish(order=("b",)), ["b", "a", "c", "d"]),
        (Wish(models=("second",)), ["a", "b", "d"]),
        (Wish(models=("second", "nickname", "asked", "no-such-model")), ["a", "b", "d", "c"]),
        (Wish(max_input_price=rate(2)), ["b", "c", "d"]),
        (Wish(max_output_price=rate(1)), ["b", "d"]),
        (Wish(max_input_price=rate(1), max_output_price=rate(1)), ["b", "d"]),
    ],
)
def test_wishes_narrow_the_field(wish: Wish, expected: list[str]) -> None:
    """Providers wanted and unwanted, models of the caller's own, prices at most; whoever is left out is named."""
    selection = chosen(*ALL, wish=wish)

    assert expected == [offer.provider_name for offer in selection.offers]
    assert {"a", "b", "c", "d"} - set(expected) == {passed.provider for passed in selection.passed_over}


def test_the_price_limit_counts_the_dearest_rates_in_reach() -> None:
    """A tier that the prompt may reach is a price that the caller may meet."""
    tiered = model("m", upstream("tiered", prices=(replace(price("1"), tiers=(Tier(300, price("9").rates),)),)))

    assert ("too_dear", "") == reason(tiered, wish=Wish(max_input_price=rate(2)))
    assert ["tiered"] == order(tiered, need=replace(SMALL, prompt_token_bound=300), wish=Wish(max_input_price=rate(2)))


def test_without_fallbacks_the_first_healthy_provider_serves_alone() -> None:
    """As OpenRouter has it: one provider and the error it gives. Who is passed over for that is told."""
    selection = chosen(*ALL, wish=Wish(allow_fallbacks=False), standings={"a": SICK})

    assert ["b"] == [offer.provider_name for offer in selection.offers]
    reasons = {passed.provider: passed.reason for passed in selection.passed_over}
    assert {"a": "fallbacks_off", "c": "fallbacks_off", "d": "fallbacks_off"} == reasons


def test_a_list_of_the_callers_names_those_it_leaves_out() -> None:
    """Equivalents of the catalogue that the list replaces; who stands on both is considered."""
    selection = chosen(*ALL, wish=Wish(models=("second",)))

    assert [("first", "c", "not_listed")] == [(one.model, one.provider, one.reason) for one in selection.passed_over]


# Sessions and prompt caches.

D = ("second", "d", "d-model")


@pytest.mark.parametrize(
    ("wish", "standings", "expected"),
    [
        (Wish(), {}, ["d", "a", "b", "c"]),
        (Wish("fallback"), {}, ["d", "a", "b", "c"]),
        (Wish(sort="latency"), {"c": Standing(latency_seconds=0.1)}, ["d", "c", "a", "b"]),
        (Wish(), {"d": SICK}, ["a", "b", "c", "d"]),
        (Wish("fallback"), {"d": SICK}, ["a", "b", "c", "d"]),
        (Wish(order=("b",)), {}, ["b", "d", "a", "c"]),
        (Wish(ignore=("d",)), {}, ["a", "b", "c"]),
        (Wish(models=("first",)), {}, ["a", "b", "c"]),
    ],
)
def test_a_session_stays_where_it_was(wish: Wish, standings: dict[str, Standing], expected: list[str]) -> None:
    """Whoever served last comes first while healthy and wanted; an order of the caller's own counts more."""
    assert expected == order(*ALL, wish=wish, standings=standings, served_last=D)


@pytest.mark.parametrize("wish", [Wish("cheapest"), Wish(sort="price")])
def test_a_session_does_not_outbid_the_price(wish: Wish) -> None:
    """Where the caller wants it cheap, what counts of a session is the share of the prompt that its cache saves."""
    assert ["d", "b", "c", "a"] == order(*ALL, wish=wish, served_last=("asked", "a", "a-model"))


@pytest.mark.parametrize(
    ("share", "expected"), [(0, ["b", "a"]), (499_999, ["b", "a"]), (500_250, ["a", "b"]), (1_000_000, ["a", "b"])]
)
def test_a_warm_cache_counts_in_the_price(share: int, expected: list[str]) -> None:
    """4,000 tokens at 2 or from the cache at 0, against 4,000 at 1 which never come from a cache: equal at one half."""
    cached = replace(price("2"), rates=replace(price("2").rates, cached_input=0, output=0))
    flat = replace(price("1"), rates=replace(price("1").rates, output=0))
    one = model("m", upstream("b", prices=(flat,)), upstream("a", prices=(cached,)), context=100_000)
    need = replace(SMALL, prompt_bytes=16_000)

    assert expected == order(
        one,
        need=need,
        wish=Wish("cheapest"),
        cached_share_of=lambda _model, provider: share if provider == "a" else 0,
    )


def test_a_warm_cache_counts_for_its_own_provider_and_model() -> None:
    """Both are asked for by name."""
    asked: list[tuple[str, str]] = []

    def share(model: str, provider: str) -> int:
        asked.append((model, provider))
        return 0

    order(*ALL, wish=Wish("cheapest"), cached_share_of=share)

    assert {("asked", "a"), ("asked", "b"), ("first", "c"), ("second", "d")} == set(asked)


# Properties: for any catalogue, any wish, any need and any health. A case is made from its seed, which a failure prints: to
# draw every part of it by itself would take a hundred times as long.

_PROVIDERS = ("p", "q", "r", "s")
_CAPABILITIES = (
    "tools",
    "vision",
    "n",
    "json_schema",
    "json_object",
    "reasoning",
    "seed",
    "parallel_tools",
    "logprobs",
)
_SEEDS = st.integers(0, 2**40)


def _rates(draw: Random) -> Rates:
    read, write = draw.choice([0, 1, draw.randrange(300)]), draw.randrange(300)
    return Rates(read * 10**10, write * 10**10, draw.randrange(read + 1) * 10**10, read * 10**10)


def _price(draw: Random) -> Price:
    bounds = sorted(draw.sample(range(1, 2000), draw.randrange(3)))
    return replace(
        price("1"),
        rates=_rates(draw),
        tiers=tuple(Tier(above, _rates(draw)) for above in bounds),
        windows=tuple(
            Window(frozenset(draw.sample(range(1, 8), 4)), draw.choice([0, 600]), 1439, frozenset(), _rates(draw))
            for _ in range(draw.randrange(3))
        ),
    )


def _some(draw: Random, among: Sequence[str], most: int = 3) -> tuple[str, ...]:
    return tuple(draw.sample(among, draw.randrange(most + 1)))


def _models(draw: Random) -> tuple[Model, ...]:
    names = [f"m{number}" for number in range(draw.randint(2, 4))]
    models = []
    for name in names:
        ways = [
            replace(
                upstream(one, prices=(_price(draw),), keys=draw.choice([("key",)] * 6 + [()])),
                upstream_model=f"{name}-at-{one}",
            )
            for one in draw.sample(_PROVIDERS, draw.randint(1, 3))
        ]
        models.append(
            model(
                name,
                *ways,
                context=draw.choice([1_000, 3_000, 10_000]),
                max_output=draw.choice([500, 1_000]),
                capabilities=frozenset(draw.sample(_CAPABILITIES, 7)),
                equivalents=_some(draw, [*(other for other in names if other != name), "gone"], len(names) - 1),
            )
        )
    return tuple(models)


def _wish(draw: Random) -> Wish:
    rarely = draw.random() < 0.2
    return Wish(
        strategy=draw.choice(["auto", "cheapest", "fallback"]),
        models=_some(draw, ["m0", "m1", "m2", "m3", "gone"]),
        order=_some(draw, _PROVIDERS),
        only=_some(draw, _PROVIDERS) if rarely else (),
        ignore=_some(draw, _PROVIDERS, 1) if rarely else (),
        allow_fallbacks=draw.random() < 0.85,
        sort=draw.choice(["", "", "price", "latency", "throughput"]),
        max_input_price=draw.choice([None, None, None, 2 * 10**12]),
        max_output_price=draw.choice([None, None, None, 2 * 10**12]),
        require_parameters=draw.random() < 0.1,
    )


def _need(draw: Random) -> Need:
    size = draw.choice([draw.randrange(1000), draw.randrange(1000), draw.randrange(9000)])
    return Need(
        prompt_token_bound=size + draw.randrange(500),
        prompt_bytes=size,
        max_tokens=draw.choice([None, draw.randint(1, 400), draw.randint(1, 1200)]),
        n=draw.randint(1, 4),
        capabilities=frozenset(_some(draw, _CAPABILITIES, 1)),
        fields=frozenset(_some(draw, ["n", "seed", "user", "temperature"], 2)),
    )


def _case(seed: int) -> dict[str, Any]:
    draw = Random(seed)
    models = _models(draw)
    ways = [(one.id, way.provider.name, way.upstream_model) for one in models for way in one.upstreams]
    shares = {way[:2]: draw.choice([0, draw.randrange(1_000_001)]) for way in ways}
    standings = {
        way[1:]: Standing(
            draw.random() < 0.6,
            draw.choice([None, draw.random()]),
            draw.choice([None, 1 + draw.random() * 99]),
        )
        for way in ways
    }
    return {
        "models": models,
        "need": _need(draw),
        "wish": _wish(draw),
        "standings": standings,
        "key_provider": draw.choice([*[None] * 12, *_PROVIDERS]),
        "served_last": draw.choice([None, *ways]),
        "cached_share_of": lambda model, provider: shares[model, provider],
    }


def _chosen(case: dict[str, Any], **changes: Any) -> Selection:
    fields = {**case, **changes}
    standings = fields.pop("standings")
    return chosen(*fields.pop("models"), standing_of=lambda key: standings[key], **fields)


def _ways(selection: Selection) -> list[tuple[str, str, str]]:
    return [offer.way for offer in selection.offers]


def _passed(selection: Selection) -> list[tuple[str, str, str]]:
    passed = [one.candidate for one in selection.passed_over if one.candidate is not None]
    return [(found.id, way.provider.name, way.upstream_model) for found, way in passed]


@settings(deadline=None, print_blob=True)
@given(_SEEDS)
def test_everybody_is_either_offered_or_passed_over(seed: int) -> None:
    """Each upstream of the model, its equivalents and the caller's list, once, in one of the two; asked again, the same."""
    case = _case(seed)
    selection = _chosen(case)
    by_name = {one.id: one for one in case["models"]}
    asked = case["models"][0]
    named = {asked.id, *asked.equivalents, *case["wish"].models} & by_name.keys()
    everybody = [(name, way.provider.name, way.upstream_model) for name in named for way in by_name[name].upstreams]

    assert sorted(everybody) == sorted(_ways(selection) + _passed(selection))
    assert {one.reason for one in selection.passed_over} <= REASONS.keys()
    again = _chosen(case)
    assert (selection.offers, selection.passed_over) == (again.offers, again.passed_over)


@settings(deadline=None, print_blob=True)
@given(_SEEDS)
def test_the_sick_never_come_before_the_healthy(seed: int) -> None:
    """But in `fallback`, whose order is the caller's word unless a sort is."""
    case = _case(seed)
    wish: Wish = case["wish"]
    if wish.strategy == "fallback" and not wish.sort:
        case["wish"] = wish = replace(wish, strategy="auto")
    healthy = [case["standings"][offer.health_key].healthy for offer in _chosen(case).offers]

    assert sorted(healthy, reverse=True) == healthy


def _fraction_of_cost(case: dict[str, Any], offer: Offer) -> Fraction:
    """In USD, by another arithmetic than the product's: prices as fractions, the window and the tier looked up here."""
    need: Need = case["need"]
    prompt = need.prompt_bytes // 4
    answer = need.max_tokens if need.max_tokens is not None else min(offer.max_tokens, 512)
    rates = offer.price.rates
    for tier in offer.price.tiers:
        if prompt > tier.above_prompt_tokens:
            rates = tier.rates
    for window in reversed(offer.price.windows):
        if NOW.isoweekday() in window.days and window.start_minute <= NOW.hour * 60 + NOW.minute < window.end_minute:
            rates = window.rates
    cached = prompt * case["cached_share_of"](offer.model.id, offer.provider_name) // 1_000_000
    usd = Fraction(1, 10**18)
    fresh = Fraction(prompt - cached) * rates.input + Fraction(cached) * rates.cached_input
    return (fresh + Fraction(answer * need.n) * rates.output) * usd


@settings(deadline=None, print_blob=True)
@given(_SEEDS, st.sampled_from([Wish("cheapest"), Wish(sort="price"), Wish("fallback", sort="price")]))
def test_cheapest_is_the_cheapest(seed: int, wish: Wish) -> None:
    """Among the healthy, then among the sick: nobody behind would cost less; equals stand as listed."""
    case = {**_case(seed), "wish": wish}
    offers = _chosen(case).offers
    listed = _ways(_chosen(case, wish=Wish("fallback"), served_last=None))
    keys = [
        (not case["standings"][offer.health_key].healthy, _fraction_of_cost(case, offer), listed.index(offer.way))
        for offer in offers
    ]

    assert sorted(keys) == keys


def _half(limit: int | None) -> int:
    return 10**12 if limit is None else limit // 2


_NARROWER: tuple[Callable[[Wish], Wish], ...] = (
    lambda wish: replace(wish, ignore=(*wish.ignore, "p")),
    lambda wish: replace(wish, only=wish.only[:1] or ("q",)),
    lambda wish: replace(wish, max_input_price=_half(wish.max_input_price)),
    lambda wish: replace(wish, max_output_price=_half(wish.max_output_price)),
    lambda wish: replace(wish, require_parameters=True),
    lambda wish: replace(wish, allow_fallbacks=False),
)


@settings(deadline=None, print_blob=True)
@given(_SEEDS)
def test_a_wish_only_ever_narrows(seed: int) -> None:
    """One more filter (only, ignore, a price limit, every parameter, no fallbacks) adds no candidate."""
    case = _case(seed)
    # Without fallbacks a filter may well put another provider first.
    case["wish"] = replace(case["wish"], allow_fallbacks=True)
    everybody = set(_ways(_chosen(case)))

    for narrower in _NARROWER:
        assert set(_ways(_chosen(case, wish=narrower(case["wish"])))) <= everybody


@settings(deadline=None, print_blob=True)
@given(_SEEDS, st.frozensets(st.sampled_from(_CAPABILITIES), max_size=2), st.integers(0, 3000))
def test_needing_more_adds_nobody(seed: int, more: frozenset[str], longer: int) -> None:
    """More capabilities, a longer prompt, a longer answer: the same candidates or fewer."""
    case = _case(seed)
    need: Need = case["need"]
    harder = replace(
        need,
        capabilities=need.capabilities | more,
        prompt_bytes=need.prompt_bytes + longer,
        prompt_token_bound=need.prompt_token_bound + longer,
        max_tokens=None if need.max_tokens is None else need.max_tokens + longer,
    )
    case["wish"] = replace(case["wish"], allow_fallbacks=True)

    assert set(_ways(_chosen(case, need=harder))) <= set(_ways(_chosen(case)))


def test_the_cases_are_worth_trying() -> None:
    """A good part has several candidates, and every reason against one is among them."""
    selections = [_chosen(_case(seed)) for seed in range(500)]

    assert sum(len(selection.offers) > 1 for selection in selections) > 150
    assert REASONS.keys() - {"no_price", "key_not_allowed", "too_many_inputs", "no_token_input"} == {
        one.reason for selection in selections for one in selection.passed_over
    }
