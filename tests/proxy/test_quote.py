"""What a call would cost: the same candidates, prices and refusals as the call itself, and nothing called or held."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from billing.money import format_usd, parse_usd
from providers.catalogue import build
from proxy.config import Loaded
from tests.fakes.raw_upstream import RawUpstream, completion, failure, http
from tests.gateway import Gateway, Reply, model, price, quick_settings

Start = Callable[..., Awaitable[Gateway]]
QUOTE = "/v1/quote"


async def quoted(gateway: Gateway, text: str = "Hello", **fields: Any) -> dict[str, Any]:
    """The quote for a call, which must be one."""
    reply = await gateway.chat(text, path=QUOTE, **fields)
    assert 200 == reply.status, reply.body
    answer: dict[str, Any] = reply.json
    return answer


def order(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(one["provider"], one["verdict"]) for one in answer["candidates"]]


@pytest.mark.parametrize("path", ["/v1/quote", "/api/v1/quote"])
async def test_everything_that_is_told(path: str, gateway: Gateway, alpha: RawUpstream, beta: RawUpstream) -> None:
    """Candidates in order with reasons, the price version, what it costs at least, probably and at most, what is affordable."""
    reply = await gateway.chat("word " * 80, path=path, max_tokens=1000)
    answer = reply.json
    candidates = answer.pop("candidates")

    # 400 bytes and those of the role, the allowance per message and request; a hundred tokens probably.
    assert {
        "object": "quote",
        "request_id": reply.header("Request-Id"),
        "model": "standard",
        "mode": "standard",
        "routing": "auto",
        "currency": "USD",
        "available_usd": "10",
        "prompt_tokens": {"likely": 101, "max": 484},
        "affordable": True,
        "price_version": "standard:alpha/standard-upstream@2026-01-01",
        "max_tokens": 1000,
        # From the cache at 0.014 and one token; at 0.14 and 1,000 tokens at 0.28; beta's most, all with 5.5 %.
        "min_cost": "0.00000179",
        "likely_cost": "0.00031032",
        "max_cost": "0.00262062",
        "affordable_max_tokens": 8192,
    } == answer
    assert [("alpha", "first"), ("beta", "stands_by")] == order({"candidates": candidates})
    assert {
        "model": "standard",
        "provider": "alpha",
        "upstream_model": "standard-upstream",
        "price_version": "standard:alpha/standard-upstream@2026-01-01",
        "price_rule": "plain",
        "pricing": {
            "prompt": "0.00000014",
            "completion": "0.00000028",
            "input_cache_read": "0.000000014",
            "input_cache_write": "0.00000014",
        },
        "max_tokens": 1000,
        "min_cost": "0.00000179",
        "likely_cost": "0.00031032",
        "max_cost": "0.00036689",
        "verdict": "first",
        "reason": "it would be tried first",
    } == candidates[0]
    assert ([], []) == (alpha.requests, beta.requests)
    assert ([], 0) == (gateway.rows(), gateway.balance().held)


@pytest.mark.parametrize("max_tokens", [None, 500, 8000])
@pytest.mark.parametrize("credit", [10**9, 1_000_000, 100_000, 20_000])
async def test_a_call_is_held_what_its_quote_says(
    max_tokens: int | None, credit: int, start_gateway: Start, alpha: RawUpstream
) -> None:
    """The first candidate, the limit that is sent and the most that is held are those of the call made right after it."""
    gateway = await start_gateway(credit=credit)
    fields = {} if max_tokens is None else {"max_tokens": max_tokens}
    answer = await quoted(gateway, **fields)
    reply = await gateway.chat(stream=True, **fields)

    assert answer["affordable"] == (reply.status == 200)
    if reply.status == 200:
        assert parse_usd(answer["max_cost"]) <= reply.money("Hold") <= credit
        first = answer["candidates"][0]
        assert first["max_tokens"] == alpha.requests[0].json["max_tokens"] == answer["max_tokens"]
        assert parse_usd(answer["min_cost"]) <= parse_usd(answer["likely_cost"]) <= parse_usd(answer["max_cost"])
    else:
        assert answer["affordable_max_tokens"] == reply.error["affordable_max_tokens"]
        assert {"not_covered"} == {one["verdict"] for one in answer["candidates"]}


async def test_what_is_affordable_is_affordable(start_gateway: Start) -> None:
    """Asking for so many tokens is served, one more is not."""
    gateway = await start_gateway(credit=100_000)
    answer = await quoted(gateway, model="dear", max_tokens=50_000)
    affordable = answer["affordable_max_tokens"]

    assert [("alpha", "not_covered")] == order(answer)
    assert 402 == (await gateway.chat(model="dear", max_tokens=affordable + 1)).status
    assert 200 == (await gateway.chat(model="dear", max_tokens=affordable)).status


async def test_the_wishes_of_a_call_are_those_of_its_quote(gateway: Gateway) -> None:
    """Strategy, sort, filters; whoever is passed over stands behind with the reason."""
    cheap = await quoted(gateway, routing="cheapest", provider={"ignore": ["alpha"]})

    assert ("cheapest", [("beta", "first"), ("alpha", "not_wanted")]) == (cheap["routing"], order(cheap))


@pytest.mark.parametrize(
    "fields",
    [
        {"provider": {"only": ["gamma"]}},
        {"max_tokens": 10_000},
        {"model": "standart"},
        {"routing": "fastest"},
        {"messages": []},
        {"payer": "byok_only"},
        {"session_id": "s" * 256},
    ],
    ids=str,
)
async def test_what_a_call_is_refused_for_a_quote_is_refused_for(fields: dict[str, Any], gateway: Gateway) -> None:
    """With the same error; where candidates were looked at, with them."""
    call, answer = await gateway.chat(**fields), await gateway.chat(path=QUOTE, **fields)

    assert call.status == answer.status
    assert strip(call) == strip(answer)
    if "provider" in fields:
        assert {"not_wanted"} == {one["verdict"] for one in answer.json["findtoken"]["candidates"]}


def strip(reply: Reply) -> dict[str, Any]:
    """An error without the id of its request."""
    return {name: value for name, value in reply.error.items() if name != "request_id"}


async def test_nobody_asks_without_a_key_or_too_often(start_gateway: Start) -> None:
    """A key is needed, and a quote is one of the calls a minute."""
    gateway = await start_gateway(limits={"requests_per_minute": 3})

    assert 401 == (await gateway.chat(path=QUOTE, headers={"Authorization": ""})).status
    statuses = [(await gateway.chat(path=path)).status for path in (QUOTE, "/v1/chat/completions", QUOTE, QUOTE)]
    assert [200, 200, 200, 429] == statuses


async def test_quotes_are_not_counted_as_calls(gateway: Gateway) -> None:
    """No outcome, no provider: nothing happened."""
    await quoted(gateway)

    assert 0 == await gateway.metric("requests_total")


async def test_health_and_hour_are_those_of_the_moment(
    start_gateway: Start, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """Whoever is ill stands behind; the price is the hour's, by its rule."""
    rows = price("1", "1")
    rows[0]["windows"] = [{"days": [1], "from": "08:00", "to": "09:00", "input": "10", "output": "10"}]
    catalogue = build(
        {
            "providers": {
                name: {"dialect": "openai", "base_url": upstream.url, "keys": ["k"]}
                for name, upstream in (("alpha", alpha), ("beta", beta))
            },
            "models": {
                "standard": model("alpha", rows, equivalents=["other"]),
                "other": model("beta", price("2", "2")),
            },
        }
    )
    gateway = await start_gateway(catalogue, clock=lambda: datetime(2026, 1, 5, 8, 30, tzinfo=UTC))
    monday = await quoted(gateway, routing="cheapest")
    assert [("beta", "first"), ("alpha", "stands_by")] == order(monday)
    assert "window:08:00-09:00" == monday["candidates"][1]["price_rule"]

    beta.otherwise = lambda _request: failure(500)
    while gateway.process._health.standing(("beta", "other")).healthy:
        await gateway.chat(model="other")
    assert [("alpha", "first"), ("beta", "stands_by")] == order(await quoted(gateway, routing="cheapest"))


async def test_the_cache_makes_it_likely_to_cost_less(gateway: Gateway, alpha: RawUpstream) -> None:
    """As far as this account has seen it."""
    before = await quoted(gateway, "word " * 800, max_tokens=1)
    usage = {"prompt_tokens": 1000, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 1000}}
    alpha.next([http(completion(usage=usage))])
    await gateway.chat("word " * 800, max_tokens=1)
    after = await quoted(gateway, "word " * 800, max_tokens=1)

    assert parse_usd(after["likely_cost"]) < parse_usd(before["likely_cost"])
    assert after["min_cost"] == after["likely_cost"] == before["min_cost"]
    assert after["max_cost"] == before["max_cost"]


async def test_with_a_key_of_ones_own_the_fee_is_quoted(gateway: Gateway) -> None:
    """At most 5 % of the list price, at least nothing; the balance limits no answer."""
    own = {"provider_key": {"provider": "alpha", "api_key": "own-key-of-mine"}}
    answer = await quoted(gateway, max_tokens=1000, **own)

    assert ("byok", "0", None) == (answer["mode"], answer["min_cost"], answer["affordable_max_tokens"])
    # 89 tokens at 0.14 and 1,000 at 0.28 per million, of which 5 %.
    assert format_usd(1463) == answer["max_cost"]
    assert [("alpha", "first"), ("beta", "provider_key")] == order(answer)


async def test_other_settings_are_quoted_at_once(gateway: Gateway) -> None:
    """A fee that comes in force while it runs; what is known of sessions and caches stays."""
    before = await quoted(gateway, max_tokens=1000)
    settings = quick_settings(gateway.database_url, billing={"fee_percent": 0})
    gateway.process.apply(Loaded(settings, gateway.process.catalogue(), []))
    after = await quoted(gateway, max_tokens=1000)

    # 89 tokens at 1 and 1,000 at 2 per million: with 5.5 % and without.
    assert ("0.0022039", "0.002089") == (before["max_cost"], after["max_cost"])
    assert "0.002089" == (await gateway.chat(stream=True, max_tokens=1000)).header("Hold")
