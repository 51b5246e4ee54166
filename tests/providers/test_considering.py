"""One candidate: served at what most, or passed over for which reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.pricing import Price, Tier, bound, bound_of_fee, charge, charge_fee_only, rate
from billing.usage import Usage
from providers.catalogue import DIALECTS, Model, Upstream
from providers.considering import exact_cost, likely_usage, offer_of
from providers.covering import within
from providers.selection import Inputs, Need, Offer, Wish
from tests.candidates import (
    ALL,
    ASKED,
    FEE,
    FIRST,
    NOW,
    OPEN,
    SECOND,
    SMALL,
    chosen,
    model,
    order,
    price,
    provider,
    reason,
    upstream,
)

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


VECTORS = frozenset({"embeddings"})


def embedding_model(dialect: str = "openai", context: int = 10) -> Model:
    """A model of embeddings behind a dialect."""
    way = upstream("p", dialect=DIALECTS[dialect])
    return model("m", way, capabilities=VECTORS, max_output=0, context=context)


def embedding_need(count: int = 1, tokens: int = 0, **fields: Any) -> Need:
    """What embeddings of texts need, or of as many ``tokens``."""
    inputs = Inputs(count, are_tokens=tokens > 0, longest_tokens=tokens)
    return replace(SMALL, max_tokens=0, capabilities=VECTORS, inputs=inputs, prompt_bytes=10**6, **fields)


@pytest.mark.parametrize(
    ("candidate", "need", "wish", "expected"),
    [
        (model("m"), embedding_need(), Wish(), ("missing_capability", "embeddings")),
        (embedding_model("kimi"), embedding_need(), Wish(), ("missing_capability", "embeddings")),
        (embedding_model("qwen"), embedding_need(11), Wish(), ("too_many_inputs", "10")),
        (embedding_model("zhipu"), embedding_need(65), Wish(), ("too_many_inputs", "64")),
        (embedding_model("zhipu"), embedding_need(1, 5), Wish(), ("no_token_input", "")),
        (embedding_model(), embedding_need(1, 11), Wish(), ("context_too_small", "10")),
        (
            embedding_model("qwen"),
            embedding_need(fields=frozenset({"user", "input", "encoding_format"})),
            Wish(require_parameters=True),
            ("missing_capability", "user"),
        ),
    ],
)
def test_every_reason_against_a_model_of_embeddings(
    candidate: Model, need: Need, wish: Wish, expected: tuple[str, str]
) -> None:
    """What its vendor does not take. How long a text is only the vendor can tell; tokens are counted."""
    assert expected == reason(candidate, need=need, wish=wish)


@pytest.mark.parametrize(
    ("candidate", "need"),
    [
        (embedding_model("qwen"), embedding_need(10)),
        (embedding_model(), embedding_need(2_048, 10)),
        (embedding_model("qwen"), embedding_need(fields=frozenset({"user"}))),
    ],
)
def test_embeddings_that_fit_cost_their_input_at_most(candidate: Model, need: Need) -> None:
    """The bound of the prompt, the fee on top, and not a token of an answer."""
    [offer] = chosen(candidate, need=need).offers

    assert (0, bound(offer.rates, need.prompt_token_bound, 0, FEE)) == (offer.max_tokens, offer.most)


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


@pytest.mark.parametrize("capability", ["seed", "parallel_tools"])
def test_what_is_an_effort_excludes_nobody(capability: str) -> None:
    """Unless every parameter is required."""
    need = replace(SMALL, capabilities=frozenset({capability}))

    assert ["a", "b", "c", "d"] == order(*ALL, need=need)
    assert [] == order(*ALL, need=need, wish=Wish(require_parameters=True))


@pytest.mark.parametrize(
    ("asked_thinks", "expected"), [(True, ["a", "b", "d"]), (False, ["a", "b", "c", "d"])], ids=["thinks", "does not"]
)
def test_a_stand_in_thinks_where_the_model_asked_for_does(asked_thinks: bool, expected: list[str]) -> None:
    """Whoever wants thinking keeps it; of a model that does not think nobody is asked to do more."""
    thinking = frozenset({"reasoning"})
    asked = replace(ASKED, capabilities=thinking if asked_thinks else frozenset())
    able = replace(SECOND, capabilities=thinking)

    assert expected == order(asked, FIRST, able, need=replace(SMALL, capabilities=thinking))


def test_required_parameters_must_reach_the_provider() -> None:
    """A field that the provider's dialect leaves out is missing there, by its own name."""
    zhipu = replace(upstream("zhipu"), provider=provider("zhipu", dialect=DIALECTS["zhipu"]))
    need = replace(SMALL, fields=frozenset({"logit_bias", "temperature"}))
    both = model("m", zhipu, upstream("plain"))

    assert ["zhipu", "plain"] == order(both, need=need)
    selection = chosen(both, need=need, wish=Wish(require_parameters=True))
    assert ["plain"] == [offer.provider_name for offer in selection.offers]
    assert [("zhipu", "missing_capability", "logit_bias")] == [
        (one.provider, one.reason, one.detail) for one in selection.passed_over
    ]


def test_a_candidate_that_is_passed_over_has_a_price_all_the_same() -> None:
    """What the call would cost there at most, for the explanation."""
    one = model("m")
    selection = chosen(one, wish=Wish(ignore=("p-m",)))
    (passed,) = selection.passed_over

    assert (one, one.upstreams[0]) == passed.candidate
    offer = offer_of(selection.terms, *passed.candidate)
    assert offer is not None
    assert bound(price("1").rates, 400, 100, FEE) == offer.most
    assert None is offer_of(replace(selection.terms, instant=datetime(2025, 1, 1, tzinfo=UTC)), *passed.candidate)


def test_what_a_call_will_probably_use() -> None:
    """The prompt's bytes by four, the caller's limit for each answer or the usual length, the share its cache gives."""
    need = replace(SMALL, prompt_bytes=4_000, max_tokens=100, n=2)
    selection = chosen(model("m"), need=need, cached_share_of=lambda _model, _provider: 250_000)
    (offer,) = selection.offers

    assert Usage(1_000, 200, cached_tokens=250) == likely_usage(selection.terms, offer)
    without_limit = chosen(model("m"), need=replace(need, max_tokens=None))
    assert Usage(1_000, 1_024) == likely_usage(without_limit.terms, *without_limit.offers)
    assert 1_200 * rate(1) == exact_cost(selection.terms, offer, likely_usage(selection.terms, offer))


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
