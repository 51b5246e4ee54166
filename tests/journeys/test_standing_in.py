"""When deepseek is down another model stands in, at its own price, and everybody is told; once a byte has left, nobody does.

The real simulator is steered by its control routes, and its journal says who was asked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest

from billing.money import UNITS_PER_USD, Money
from providers.catalogue import load_shipped
from proxy.demo import simulated_catalogue
from simulator.server import Running as Simulator
from tests.gateway import CREDIT, Gateway, Reply, running_gateway
from tests.journeys.mix import simulated_providers

BROKEN: Mapping[str, Mapping[str, Any]] = {
    "cut": {"kind": "cut_after"},
    "dropped": {"kind": "drop_after"},
    "reset": {"kind": "reset_after"},
    "error frame": {"kind": "error_after"},
    "torn frame": {"kind": "cut_mid_frame"},
}


def exact_cost(model: str, usage: Mapping[str, Any]) -> Money:
    """What such an answer costs by the row of the shipped price book: exact, 5.5 % on top, rounded half up once."""
    entry = load_shipped()["models"][model]
    [row] = (entry if "prices" in entry else entry["upstreams"][0])["prices"]
    assert not row.keys() & {"windows", "tiers", "cost"}, "a plain row, or this sum is too simple"
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    usd: Fraction = (
        (usage["prompt_tokens"] - cached) * Fraction(row["input"])
        + cached * Fraction(row["cached_input"])
        + usage["completion_tokens"] * Fraction(row["output"])
    ) / 1_000_000
    return math.floor(usd * Fraction("1.055") * UNITS_PER_USD + Fraction(1, 2))


async def order(gateway: Gateway, simulator: Simulator, method: str, path: str, value: Any) -> None:
    """Tell the simulator something by its control routes."""
    async with gateway.session.request(method, f"{simulator.url}/_simulator/{path}", json=value) as response:
        assert 200 == response.status, await response.text()


async def journal(gateway: Gateway, simulator: Simulator) -> list[dict[str, Any]]:
    """The calls that providers received."""
    async with gateway.session.get(f"{simulator.url}/_simulator/journal") as response:
        calls: list[dict[str, Any]] = await response.json()
    return calls


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
async def test_a_provider_that_is_down_is_stood_in_for(database_url: str, streamed: bool) -> None:
    """An equivalent serves `deepseek-chat` at its own price; headers, body and log say who it was."""
    async with (
        simulated_providers() as simulator,
        running_gateway(simulated_catalogue(simulator.url), database_url) as gateway,
    ):
        await order(gateway, simulator, "PUT", "settings", {"cached_tokens": 3, "pieces": 37})
        await order(gateway, simulator, "PUT", "deepseek/down", {"down": True})
        fields: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if streamed else {}
        reply = await gateway.chat("A question for somebody else.", model="deepseek-chat", **fields)
        [refused, served] = await journal(gateway, simulator)
        row = gateway.row()
        gateway.prove()

    model, usage, cost = _told(reply, streamed)
    assert ("deepseek", 503) == (refused["provider"], refused["status"])
    assert model in load_shipped()["models"]["deepseek-chat"]["equivalents"]
    assert "deepseek" != served["provider"]
    assert exact_cost(model, usage) == cost == row.cost > 0
    assert (served["provider"], model, "2") == tuple(reply.header(name) for name in ("Provider", "Model", "Attempts"))
    assert ("deepseek-chat", model, served["provider"]) == (row.requested_model, row.model, row.provider)
    assert [("deepseek", "deepseek-chat", 503, "nobody"), (served["provider"], model, 200, "account")] == [
        (attempt.provider, attempt.model, attempt.status, attempt.borne_by) for attempt in row.attempts
    ]
    assert served["model"] == row.attempts[1].upstream_model


def _told(reply: Reply, streamed: bool) -> tuple[str, Mapping[str, Any], Money]:
    """The model, the usage and the cost that a caller was told of."""
    assert 200 == reply.status
    assert reply.text
    if not streamed:
        assert reply.header("Hold") is None
        return reply.json["model"], reply.json["usage"], reply.money("Cost")
    [model] = {chunk["model"] for chunk in reply.chunks}
    [usage] = [chunk["usage"] for chunk in reply.chunks if chunk.get("usage")]
    assert "[DONE]" == reply.events[-1]
    cost = math.floor(Fraction(reply.bill["cost"]) * UNITS_PER_USD)
    assert cost == round(usage["cost"] * UNITS_PER_USD)
    return model, usage, cost


@pytest.mark.parametrize("pieces", [1, 4])
@pytest.mark.parametrize("kind", BROKEN.values(), ids=BROKEN)
async def test_after_the_first_byte_nobody_else_is_asked(
    database_url: str, kind: Mapping[str, Any], pieces: int
) -> None:
    """The caller gets what was said and an error chunk, and no `[DONE]`; one provider was called, and it costs nothing."""
    async with (
        simulated_providers() as simulator,
        running_gateway(simulated_catalogue(simulator.url), database_url) as gateway,
    ):
        await order(gateway, simulator, "POST", "deepseek/faults", {**kind, "chunks": pieces})
        reply = await gateway.chat(model="deepseek-chat", stream=True)
        calls = await journal(gateway, simulator)
        row = gateway.row()
        gateway.prove()
        assert CREDIT == gateway.balance().balance

    *said, last = reply.chunks
    words = [chunk["choices"][0]["delta"]["content"] for chunk in said if chunk["choices"][0]["delta"].get("content")]
    assert [("deepseek", kind["kind"])] == [(call["provider"], call["fault"]) for call in calls]
    assert pieces == len(words) == calls[0]["pieces_sent"]
    assert {"deepseek-chat"} == {chunk["model"] for chunk in reply.chunks}
    assert ("error", "upstream_error") == (last["choices"][0]["finish_reason"], last["error"]["type"])
    assert b"[DONE]" not in reply.body
    assert [] == [comment for comment in reply.comments if comment.startswith("findtoken")]
    assert ("1", "deepseek") == (reply.header("Attempts"), reply.header("Provider"))
    assert ("cut_by_provider", 0, 1, "deepseek") == (row.billing_outcome, row.cost, len(row.attempts), row.provider)
    assert row.attempts[0].outcome != "served"
