"""What every answer says about itself: written as its headers leave, so that streams say it, too."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDictProxy

from middlewares.headers import headers_of_calls, write_headers
from tests.fakes.raw_upstream import RawUpstream, completion, failure, http
from tests.gateway import Gateway, serving

OURS = ("Mode", "Cost", "Balance", "Hold", "Provider", "Model", "Attempts", "Max-Tokens")


def ours(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    """Our own headers but the id, without their prefix."""
    return {name: headers[f"X-FindToken-{name}"] for name in OURS if f"X-FindToken-{name}" in headers}


async def test_a_plain_answer_tells_what_it_cost(gateway: Gateway) -> None:
    """Mode, cost, balance afterwards, who served, how often was tried."""
    reply = await gateway.chat()

    assert {
        "Mode": "standard",
        "Cost": "0.0002954",
        "Balance": "9.9997046",
        "Provider": "alpha",
        "Model": "standard",
        "Attempts": "1",
    } == ours(reply.headers)
    assert ("find-token", "private, no-store") == (reply.headers["Server"], reply.headers["Cache-Control"])
    assert "application/json" == reply.headers["Content-Type"]


async def test_a_stream_tells_what_it_may_cost_and_never_guesses(gateway: Gateway, alpha: RawUpstream) -> None:
    """Mode, hold and the balance at its start; attempts include the one under way; nothing compressed or buffered."""
    await gateway.chat()
    alpha.next(failure(503))
    reply = await gateway.chat(model="lonely", stream=True, max_tokens=1000, headers={"Accept-Encoding": "gzip, br"})

    assert {
        "Mode": "standard",
        "Hold": "0.00030855",
        "Balance": "9.9997046",
        "Provider": "alpha",
        "Model": "lonely",
        "Attempts": "2",
    } == ours(reply.headers)
    assert ("no", None) == (reply.headers["X-Accel-Buffering"], reply.headers.get("Content-Encoding"))
    assert "text/event-stream" == reply.headers["Content-Type"].partition(";")[0]
    assert "private, no-store" == reply.headers["Cache-Control"]


@pytest.mark.parametrize("streaming", [False, True])
async def test_errors_tell_as_much_as_is_known(streaming: bool, gateway: Gateway, alpha: RawUpstream) -> None:
    """Refused early: the id alone. Refused by the books: the mode. Failed at a provider: who, and that it was free."""
    alpha.next(failure(400), failure(401))
    early = await gateway.chat(model="nothing", stream=streaming)
    refused = await gateway.chat(model="lonely", stream=streaming)
    failed = await gateway.chat(model="lonely", stream=streaming)

    assert {} == ours(early.headers)
    told = {"Mode": "standard", "Cost": "0", "Balance": "10", "Provider": "alpha", "Model": "lonely", "Attempts": "1"}
    assert [(400, told), (503, told)] == [(reply.status, ours(reply.headers)) for reply in (refused, failed)]
    assert {"application/json"} == {reply.headers["Content-Type"] for reply in (early, refused, failed)}


async def test_the_server_does_not_say_what_it_is_made_of(gateway: Gateway) -> None:
    """On no answer of the public port."""
    replies = [await gateway.chat(), await gateway.get("/v1/models"), await gateway.get("/nowhere")]
    replies.append(await gateway.chat(headers={"Authorization": ""}))

    for reply in replies:
        assert "find-token" == reply.headers["Server"]
        assert "aiohttp" not in str(reply.headers) + reply.body.decode()


async def test_the_operators_prefix(start_gateway: Any) -> None:
    """White label: the prefix changes on all of them; the names other gateways use stay."""
    gateway: Gateway = await start_gateway(security={"header_prefix": "X-Acme-"})
    reply = await gateway.chat()

    assert "0.0002954" == reply.headers["X-Acme-Cost"]
    assert reply.headers["X-Acme-Request-Id"] == reply.headers["X-Generation-Id"]
    assert not [name for name in reply.headers if "findtoken" in name.lower()]


async def test_an_answer_that_belongs_to_no_call_is_left_alone() -> None:
    """Where the chain does not stand there is nothing to tell."""
    application = web.Application()
    application.on_response_prepare.append(write_headers(headers_of_calls("X-FindToken-")))
    async with serving(application) as url, aiohttp.ClientSession() as session, session.get(url) as response:
        assert not [name for name in response.headers if name.startswith("X-")]


async def test_amounts_are_exact_and_have_no_trailing_zeros(gateway: Gateway, alpha: RawUpstream) -> None:
    """Up to eight decimals; the next balance is this one less the next cost."""
    balances, costs = [], []
    for completion_tokens in (1, 10, 100, 1000, 35_545_024):
        alpha.next([http(completion(usage={"prompt_tokens": 1, "completion_tokens": completion_tokens}))])
        reply = await gateway.chat(max_tokens=1000)
        balances.append(reply.money("Balance"))
        costs.append(reply.money("Cost"))
        for name in ("Cost", "Balance"):
            shown = reply.header(name)
            assert shown is not None
            assert not ("." in shown and shown.endswith("0"))
            assert "E" not in shown.upper()

    spent = 0
    for balance, cost in zip(balances, costs, strict=True):
        spent += cost
        assert 10**9 - spent == balance
    gateway.prove()
