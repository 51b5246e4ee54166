"""Promises of selection: who may serve, in which order, at what most, and for every other candidate the reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.pricing import Fee, Price, Rates, Tier, bound, bound_of_fee, charge, charge_fee_only, rate
from billing.usage import Usage
from providers.catalogue import DIALECTS, Catalogue, Model, ProviderEntry, Upstream
from providers.selection import Need, Offer, Selection, Standing, Wish, affordable_limit, need_of, select, within

NOW = datetime(2026, 11, 2, tzinfo=UTC)
FEE = Fee.percent(Decimal("5.5"))
SMALL = Need(prompt_token_bound=400, prompt_bytes=400, max_tokens=100, n=1, capabilities=frozenset())
OPEN = replace(SMALL, max_tokens=None)


def provider(name: str, **fields: Any) -> ProviderEntry:
    return ProviderEntry(name, DIALECTS["openai"], "https://x.example", **{"keys": ("key",), **fields})


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
        (Wish(allow_fallbacks=False), ["a", "b"]),
        (Wish(allow_fallbacks=False, order=("b",)), ["b"]),
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
    considered = {"a", "b"} | ({"c", "d"} if wish.allow_fallbacks and not wish.models else set()) | set(expected)
    assert considered - set(expected) == {passed.provider for passed in selection.passed_over}


def test_the_price_limit_counts_the_dearest_rates_in_reach() -> None:
    """A tier that the prompt may reach is a price that the caller may meet."""
    tiered = model("m", upstream("tiered", prices=(replace(price("1"), tiers=(Tier(300, price("9").rates),)),)))

    assert ("too_dear", "") == reason(tiered, wish=Wish(max_input_price=rate(2)))
    assert ["tiered"] == order(tiered, need=replace(SMALL, prompt_token_bound=300), wish=Wish(max_input_price=rate(2)))


# Reasons.


@pytest.mark.parametrize(
    ("candidate", "need", "fields", "expected"),
    [
        (model("m"), SMALL, {"key_provider": "kimi"}, ("provider_key", "the provider key is for kimi")),
        (model("m"), SMALL, {"wish": Wish(ignore=("p-m",))}, ("not_wanted", "")),
        (model("m"), SMALL, {"wish": Wish(only=("kimi",))}, ("not_wanted", "")),
        (model("m"), SMALL, {"wish": Wish(order=("kimi",), allow_fallbacks=False)}, ("not_wanted", "")),
        (model("m", upstream("p", keys=())), SMALL, {}, ("provider_off", "provider p has no key")),
        (
            model("m"),
            replace(SMALL, capabilities=frozenset({"vision", "tools"})),
            {},
            ("missing_capability", "tools, vision"),
        ),
        (model("m"), replace(SMALL, capabilities=frozenset({"n"})), {}, ("missing_capability", "n")),
        (
            model("m"),
            replace(SMALL, capabilities=frozenset({"json_schema"})),
            {"wish": Wish(require_parameters=True)},
            ("missing_capability", "json_schema"),
        ),
        (model("m"), replace(SMALL, max_tokens=1_001), {}, ("max_tokens_too_large", "1000")),
        (model("m", context=1_000), replace(SMALL, prompt_bytes=4 * 901), {}, ("context_too_small", "1000")),
        (model("m", context=1_000), replace(OPEN, prompt_bytes=4 * 1_001), {}, ("context_too_small", "1000")),
        (model("m"), SMALL, {"instant": datetime(2025, 12, 31, tzinfo=UTC)}, ("no_price", "")),
        (model("m"), SMALL, {"wish": Wish(max_input_price=1)}, ("too_dear", "")),
        (model("m"), SMALL, {"wish": Wish(max_output_price=1)}, ("too_dear", "")),
    ],
)
def test_every_reason_against_a_candidate(
    candidate: Model, need: Need, fields: dict[str, Any], expected: tuple[str, str]
) -> None:
    """Whoever cannot or may not serve is named with the first thing that stands against it."""
    assert expected == reason(candidate, need=need, **fields)


@pytest.mark.parametrize(
    ("candidate", "need"),
    [
        (model("m"), replace(SMALL, max_tokens=1_000)),
        (model("m", context=1_000), replace(SMALL, prompt_bytes=4 * 900)),
        (model("m", context=1_000), replace(OPEN, prompt_bytes=4 * 1_000)),
        (model("m", upstream("p", keys=(), keyless=True)), SMALL),
        (model("m"), replace(SMALL, capabilities=frozenset({"json_schema", "json_object", "logprobs"}))),
        (
            model("m", capabilities=frozenset({"tools", "vision", "n"})),
            replace(SMALL, capabilities=frozenset({"tools", "n"})),
        ),
    ],
)
def test_what_just_fits_is_offered(candidate: Model, need: Need) -> None:
    """The limits themselves are within them; what a dialect can emulate or leave out excludes no model that was asked for."""
    assert [candidate.upstreams[0].provider.name] == order(candidate, need=need)


def test_a_stand_in_must_offer_what_the_model_asked_for_may_emulate() -> None:
    """Nobody is handed over to a model that can do less."""
    need = replace(SMALL, capabilities=frozenset({"json_schema"}))
    able = replace(SECOND, capabilities=frozenset({"json_schema"}))

    assert ["a", "b", "d"] == order(ASKED, FIRST, able, need=need)


def test_ones_own_key_opens_its_provider_alone() -> None:
    """Also where the operator has no key for it; what can be taken is the fee alone."""
    keyless = model("asked", upstream("a", "3", keys=()), upstream("b"), equivalents=("first",))
    selection = chosen(keyless, FIRST, key_provider="a")

    (offer,) = selection.offers
    assert ("a", bound_of_fee(price("3").rates, 400, 100, FEE)) == (offer.provider_name, offer.most)
    assert {("asked", "b"), ("first", "c")} == {(passed.model, passed.provider) for passed in selection.passed_over}


# What an offer says.


def test_an_offer_says_what_is_asked_of_it() -> None:
    """Its limit and the most that it can cost: n answers, fee included."""
    (offer,) = chosen(model("m", upstream("p", "2")), need=replace(SMALL, n=3)).offers

    assert (100, bound(price("2").rates, 400, 300, FEE)) == (offer.max_tokens, offer.most)
    assert ("p", ("p", "p-model")) == (offer.provider_name, offer.health_key)


def test_a_stand_in_is_not_asked_for_longer_answers() -> None:
    """Without a limit of the caller's, a stand-in gives at most what the model asked for would, or what it can itself."""
    asked = model("asked", max_output=500, equivalents=("longer", "shorter"))
    offers = chosen(asked, model("longer", max_output=9_000), model("shorter", max_output=100), need=OPEN).offers

    assert [500, 500, 100] == [offer.max_tokens for offer in offers]
    assert [bound(price("1").rates, 400, tokens, FEE) for tokens in (500, 500, 100)] == [offer.most for offer in offers]


@pytest.mark.parametrize(
    ("prompt_bytes", "context", "expected"),
    [
        (0, 1_000, 1_000),
        (400, 1_000, 875),
        (400, 1_124, 999),
        (400, 1_126, 1_000),
        (4 * 900, 1_000, 1),
        (4 * 1_000, 1_000, 1),
    ],
)
def test_nobody_is_asked_for_more_than_the_context_leaves(prompt_bytes: int, context: int, expected: int) -> None:
    """Without a limit of the caller's: a quarter is added to the prompt's likely tokens, and one token is always asked for."""
    (offer,) = chosen(model("m", context=context), need=replace(OPEN, prompt_bytes=prompt_bytes)).offers

    assert expected == offer.max_tokens


def test_a_limit_of_the_callers_is_kept_everywhere() -> None:
    """And a stand-in that cannot give as much is passed over."""
    asked = model("asked", equivalents=("longer", "shorter"))
    selection = chosen(asked, model("longer", max_output=9_000), model("shorter", max_output=99))

    assert [100, 100] == [offer.max_tokens for offer in selection.offers]
    assert ["max_tokens_too_large"] == [passed.reason for passed in selection.passed_over]


def test_what_the_hold_covers() -> None:
    """A dearer offer is left out, or kept with fewer tokens where the caller set no limit; at least one for each answer."""
    offers = chosen(*ALL, need=OPEN, wish=Wish("fallback")).offers
    a, b, c, d = offers

    assert offers == within(offers, a.most, OPEN, 400, FEE)
    assert (b, d) == within(offers, b.most, SMALL, 400, FEE)
    shortened = within(offers, b.most, OPEN, 400, FEE)
    assert ["a", "b", "c", "d"] == [offer.provider_name for offer in shortened]
    assert (b, d) == (shortened[1], shortened[3])
    for offer, original in ((shortened[0], a), (shortened[2], c)):
        assert 0 < offer.max_tokens < original.max_tokens
        assert b.most == offer.most
        assert (
            bound(offer.rates, 400, offer.max_tokens, FEE)
            <= b.most
            < bound(offer.rates, 400, offer.max_tokens + 1, FEE)
        )
    assert () == within(offers, bound(d.rates, 400, 0, FEE) - 1, OPEN, 400, FEE)
    one_each = bound(d.rates, 400, 4, FEE)
    four = replace(OPEN, n=4)
    dear = replace(d, most=d.most * 4)
    assert [1] == [offer.max_tokens for offer in within([dear], one_each, four, 400, FEE)]
    assert () == within([dear], bound(d.rates, 400, 3, FEE), four, 400, FEE)


def test_the_largest_limit_that_is_affordable() -> None:
    """At the candidate that gives most for the money, its longest answer and its context included; 0 where nothing is."""
    (offer,) = chosen(model("m", max_output=50), need=OPEN).offers
    exactly = bound(offer.rates, 400, 20, FEE)

    assert (20, 19) == (
        affordable_limit([offer], exactly, SMALL, FEE),
        affordable_limit([offer], exactly - 1, SMALL, FEE),
    )
    assert 50 == affordable_limit([offer], exactly * 1000, SMALL, FEE)
    assert 5 == affordable_limit([offer], exactly, replace(SMALL, n=4), FEE)
    tight = replace(offer, model=replace(offer.model, context=110))
    assert 10 == affordable_limit([tight], exactly, SMALL, FEE)
    assert 20 == affordable_limit([tight, offer], exactly, SMALL, FEE)
    free = replace(offer, rates=replace(offer.rates, output=0))
    assert 50 == affordable_limit([free], exactly, SMALL, FEE)
    assert (0, 0) == (affordable_limit([], exactly, SMALL, FEE), affordable_limit([offer], 0, SMALL, FEE))


# What a request needs.


def content(kind: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text"}, {"type": kind}]}]}


@pytest.mark.parametrize(
    ("request_body", "expected"),
    [
        ({}, set()),
        ({"tools": [], "logprobs": False, "n": 1, "response_format": {"type": "text"}}, set()),
        ({"tools": [{}]}, {"tools"}),
        ({"response_format": {"type": "json_object"}}, {"json_object"}),
        ({"response_format": {"type": "json_schema"}}, {"json_schema"}),
        ({"response_format": {"type": ["json_schema"]}}, set()),
        ({"response_format": "json_object", "n": None}, set()),
        ({"logprobs": True}, {"logprobs"}),
        ({"n": 2}, {"n"}),
        (content("image_url"), {"vision"}),
        (content("input_image"), {"vision"}),
        (content("video_url"), {"vision"}),
        (content("text"), set()),
        ({"messages": [None, {"content": "x"}, {"content": [None, {"type": ["image_url"]}]}]}, set()),
        ({"messages": "junk"}, set()),
    ],
)
def test_what_a_request_needs(request_body: dict[str, Any], expected: set[str]) -> None:
    """Only what it uses: an empty list of tools is no tool, a text part is no picture."""
    assert expected == need_of(request_body, 1, 1).capabilities


@pytest.mark.parametrize(
    ("request_body", "expected"),
    [
        ({}, (None, 1)),
        ({"max_tokens": 5}, (5, 1)),
        ({"max_completion_tokens": 6}, (6, 1)),
        ({"max_tokens": 5, "max_completion_tokens": 6, "n": 3}, (6, 3)),
        ({"max_tokens": 5, "max_completion_tokens": None, "n": None}, (5, 1)),
    ],
)
def test_the_limits_of_a_request(request_body: dict[str, Any], expected: tuple[int | None, int]) -> None:
    """The newer name of the limit first; no n is one answer; the sizes are passed on."""
    need = need_of(request_body, 7, 8)

    assert (*expected, 7, 8) == (need.max_tokens, need.n, need.prompt_token_bound, need.prompt_bytes)


# The most is the most.

_CENTS = st.integers(0, 300).map(lambda cents: f"{Decimal(cents) / 100}")
_PRICES = st.builds(price, _CENTS, _CENTS)
_TIERED = st.builds(
    lambda base, limit, tier: replace(base, tiers=(Tier(limit, tier.rates),)), _PRICES, st.integers(1, 3000), _PRICES
)


@st.composite
def _needs(draw: st.DrawFn) -> Need:
    prompt_bytes = draw(st.integers(0, 2000))
    limit = draw(st.none() | st.integers(1, 1000))
    return Need(prompt_bytes + draw(st.integers(0, 2000)), prompt_bytes, limit, draw(st.integers(1, 16)), frozenset())


def _cost(offer: Offer, usage: Usage, *, own_key: bool) -> int:
    exact = offer.price.rates_at(NOW, usage.prompt_tokens).exact_cost(usage)
    return (charge_fee_only if own_key else charge)(exact, FEE).cost


@settings(deadline=None, print_blob=True)
@given(st.data(), st.lists(_PRICES | _TIERED, min_size=1, max_size=4), _needs(), st.booleans(), st.integers(0, 10**6))
def test_the_most_covers_whatever_an_offer_may_come_to(
    data: st.DataObject, prices: list[Price], need: Need, own_key: bool, hold: int
) -> None:
    """For any prices and any usage within the offer's limits, shortened offers included: never more than its `most`."""
    provider_name = "p" if own_key else None
    ways = (Upstream(provider("p"), f"m{i}", {}, (one,), reasoning=False) for i, one in enumerate(prices))
    selection = chosen(model("m", *ways), need=need, wish=Wish("cheapest"), key_provider=provider_name)
    affordable = () if own_key else within(selection.offers, hold, need, need.prompt_token_bound, FEE)
    assert len(prices) == len(selection.offers)
    assert all(offer.most <= hold for offer in affordable)
    for offer in (*selection.offers, *affordable):
        prompt = data.draw(st.integers(0, need.prompt_token_bound))
        usage = Usage(prompt, offer.max_tokens * need.n, cached_tokens=data.draw(st.integers(0, prompt)))

        assert _cost(offer, usage, own_key=own_key) <= offer.most
