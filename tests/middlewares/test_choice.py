"""The choice of a call's candidates over the wire: filters, sessions, prompt caches, and what is said when nobody is left."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from middlewares.choice import nobody_can_serve
from providers.catalogue import Catalogue, build
from providers.selection import Need, PassedOver
from tests.fakes.raw_upstream import RawUpstream, completion, failure, http
from tests.gateway import Gateway, model, price

Start = Callable[..., Awaitable[Gateway]]

NEED = Need(100, 50, 10, 1, frozenset())


def passed_over(*reasons: str) -> tuple[PassedOver, ...]:
    """Candidates that were passed over for these reasons."""
    return tuple(PassedOver("model", "provider", reason, "tools" if "missing" in reason else "7") for reason in reasons)


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (("max_tokens_too_large", "context_too_small", "provider_off"), (400, "invalid_value", "max_tokens")),
        (("not_wanted", "context_too_small"), (400, "context_length_exceeded", "messages")),
        (("provider_off", "missing_capability"), (400, "invalid_value", "tools")),
        (("not_wanted", "too_dear"), (400, "invalid_value", "provider.max_price")),
        (("provider_off", "no_token_input"), (400, "invalid_value", "input")),
        (("provider_off", "not_wanted"), (400, "invalid_value", "provider")),
        (("provider_off",), (503, "all_providers_unavailable", None)),
        (("no_price",), (503, "all_providers_unavailable", None)),
        (("fallbacks_off", "not_listed", "provider_off"), (503, "all_providers_unavailable", None)),
        (("provider_key",), (503, "all_providers_unavailable", None)),
        ((), (503, "all_providers_unavailable", None)),
    ],
)
def test_why_nobody_can_serve(reasons: tuple[str, ...], expected: tuple[int, str, str | None]) -> None:
    """The caller's own fault before ours, and the field that would have to change."""
    problem = nobody_can_serve("asked", NEED, passed_over(*reasons)).problem

    assert expected == (problem.status, problem.code, problem.param)


def test_a_limit_is_told_by_the_name_it_was_sent_under() -> None:
    """OpenAI has two; who sent one of them finds no fault in the other."""
    need = replace(NEED, max_tokens=9, limit_field="max_completion_tokens")

    problem = nobody_can_serve("asked", need, passed_over("max_tokens_too_large")).problem

    assert "max_completion_tokens" == problem.param
    assert "max_completion_tokens is 9, but model gives at most 7" == problem.message


@pytest.mark.parametrize(
    ("missing", "param"),
    [
        ("n", "n"),
        ("tools", "tools"),
        ("tools, vision", "tools"),
        ("vision", "messages"),
        ("json_schema", "response_format"),
        ("parallel_tools", "parallel_tool_calls"),
        ("reasoning", "reasoning_effort"),
        ("seed", "seed"),
        ("logit_bias", "logit_bias"),
    ],
)
def test_the_field_that_asks_for_too_much(missing: str, param: str) -> None:
    """A capability nobody has is named by the field that needs it."""
    passed = (PassedOver("model", "provider", "missing_capability", missing),)

    assert param == nobody_can_serve("asked", NEED, passed).problem.param


def two_ways(alpha: RawUpstream, beta: RawUpstream, **fields: Any) -> Catalogue:
    """One model at two providers, alpha first; prices as ``alpha_prices`` and ``beta_prices`` say."""
    prices = {name: fields.pop(f"{name}_prices", price("1", "2")) for name in ("alpha", "beta")}
    return build(
        {
            "providers": {
                name: {"dialect": "openai", "base_url": upstream.url, "keys": ["some-provider-key"]}
                for name, upstream in (("alpha", alpha), ("beta", beta))
            },
            "models": {
                "standard": {
                    "context": 100_000,
                    "max_output": 4_000,
                    "capabilities": ["tools"],
                    "upstreams": [{"provider": name, "prices": prices[name]} for name in ("alpha", "beta")],
                    **fields,
                },
                "seeing": model("beta", price("5", "5"), capabilities=["tools", "vision", "json_schema"]),
            },
        }
    )


PICTURE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "alpha"),
        ({"provider": {"order": ["beta"]}}, "beta"),
        ({"provider": {"only": ["beta"]}}, "beta"),
        ({"provider": {"ignore": ["alpha"]}}, "beta"),
        ({"provider": {"max_price": {"prompt": 1}}}, "beta"),
        ({"provider": {"max_price": {"completion": "1.5"}}}, "beta"),
        ({"provider": {"sort": "price"}}, "beta"),
        ({"model": "standard:floor"}, "beta"),
        ({"routing": "cheapest"}, "beta"),
        ({"routing": "cheapest", "provider": {"sort": "latency"}}, "alpha"),
        ({"messages": PICTURE, "models": ["seeing"]}, "beta"),
        ({"max_tokens": 5_000, "models": ["seeing"]}, "beta"),
        ({"model": None, "models": ["seeing", "standard"]}, "beta"),
    ],
    ids=str,
)
async def test_every_wish_is_heard(
    fields: dict[str, Any], expected: str, start_gateway: Start, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """Alpha comes first and is dearer; each wish alone leads to whom it says."""
    gateway = await start_gateway(two_ways(alpha, beta, alpha_prices=price("2", "3"), beta_prices=price("1", "1")))

    reply = await gateway.chat(**fields)

    assert (200, expected) == (reply.status, reply.header("Provider"))
    gateway.prove()


async def test_a_stand_in_that_is_not_for_sale_is_named(gateway: Gateway, alpha: RawUpstream) -> None:
    """400 with its place in the list and the nearest name: a caller who misspelt it would count on it."""
    reply = await gateway.chat(models=["standard", "alternativ"])

    assert (400, "invalid_value", "models[1]") == (*reply.code, reply.error["param"])
    assert "alternative" in reply.error["message"]
    assert [] == alpha.requests


@pytest.mark.parametrize("fields", [{}, {"models": ["alternative"]}])
async def test_forbidden_fallbacks_are_forbidden(
    fields: Mapping[str, Any], gateway: Gateway, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """The provider's own failure reaches the caller; nobody stands in, not even from the caller's list."""
    alpha.otherwise = lambda _request: failure(500)
    reply = await gateway.chat(**fields, provider={"allow_fallbacks": False})

    assert (503, "all_providers_unavailable") == reply.code
    assert (4, 0) == (len(alpha.requests), len(beta.requests))


async def test_without_fallbacks_a_model_has_one_provider(
    start_gateway: Start, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """The first of those that serve the model; those that the caller names in `order` are all allowed."""
    gateway = await start_gateway(two_ways(alpha, beta))
    alpha.otherwise = lambda _request: failure(500)

    assert 503 == (await gateway.chat(provider={"allow_fallbacks": False})).status
    assert [] == beta.requests
    both = {"allow_fallbacks": False, "order": ["alpha", "beta"]}
    assert "beta" == (await gateway.chat(provider=both)).header("Provider")


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("in_header", [False, True])
async def test_a_session_stays_with_whoever_served_it(
    in_header: bool, streaming: bool, start_gateway: Start, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """Alpha fails once, so beta serves; the session stays there, everybody else goes to alpha."""
    gateway = await start_gateway(two_ways(alpha, beta))
    alpha.next(failure(500))

    async def served(session: str | None, **fields: Any) -> str | None:
        named = {"headers": {"X-Session-Id": session or ""}} if in_header else {"session_id": session}
        return (await gateway.chat(stream=streaming, **named, **fields)).header("Provider")

    assert "beta" == await served("mine")
    assert ["beta", "alpha", "alpha", "beta"] == [
        await served("mine"),
        await served("other"),
        await served(None),
        await served("mine", routing="fallback"),
    ]
    assert "alpha" == await served("mine", provider={"order": ["alpha"]})
    assert "alpha" == await served("mine"), "the last to serve counts"
    gateway.prove()


async def test_a_session_is_its_accounts(start_gateway: Start, alpha: RawUpstream, beta: RawUpstream) -> None:
    """Nobody is led by somebody else's session of the same name."""
    gateway = await start_gateway(two_ways(alpha, beta))
    _, stranger = gateway.new_account("bob")
    alpha.next(failure(500))

    assert "beta" == (await gateway.chat(session_id="s")).header("Provider")
    headers = {"Authorization": f"Bearer {stranger}"}
    assert "alpha" == (await gateway.chat(session_id="s", headers=headers)).header("Provider")


async def test_a_session_leaves_whoever_is_ill(start_gateway: Start, alpha: RawUpstream, beta: RawUpstream) -> None:
    """Once beta's circuit is open, the session goes on elsewhere, without a try at beta."""
    gateway = await start_gateway(two_ways(alpha, beta))
    alpha.next(failure(500))
    assert "beta" == (await gateway.chat(session_id="s")).header("Provider")
    beta.otherwise = lambda _request: failure(500)
    while gateway.process._health.standing(("beta", "standard")).healthy:
        await gateway.chat(session_id="other", provider={"only": ["beta"]})
    tried = len(beta.requests)

    assert "alpha" == (await gateway.chat(session_id="s")).header("Provider")
    assert tried == len(beta.requests)


async def test_cheapest_counts_what_the_cache_gave(start_gateway: Start, alpha: RawUpstream, beta: RawUpstream) -> None:
    """Beta is cheaper until alpha's cache is known to give nine tenths of the prompt: for this account, nobody else."""
    catalogue = two_ways(alpha, beta, alpha_prices=price("2", "1", "0.2"), beta_prices=price("1", "1"))
    gateway = await start_gateway(catalogue)
    _, stranger = gateway.new_account("bob")
    usage = {"prompt_tokens": 1000, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 900}}
    alpha.otherwise = lambda _request: [http(completion(usage=usage))]
    fields: dict[str, Any] = {"routing": "cheapest", "max_tokens": 1}
    text = "word " * 1000

    assert "beta" == (await gateway.chat(text, **fields)).header("Provider")
    assert "alpha" == (await gateway.chat(text)).header("Provider")
    assert "alpha" == (await gateway.chat(text, **fields)).header("Provider")
    headers = {"Authorization": f"Bearer {stranger}"}
    assert "beta" == (await gateway.chat(text, **fields, headers=headers)).header("Provider")
    assert json.loads(alpha.requests[0].body)["model"] == "standard"
