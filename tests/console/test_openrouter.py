"""What OpenRouter's clients ask, in its shapes: numbers where it has numbers, and each of them exact."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from billing.money import UNITS_PER_USD
from storage.identifiers import now_microseconds
from storage.ledger import post_credit
from tests.gateway import Gateway


def exact(body: bytes) -> Any:
    """The data of an answer, its numbers as they were written."""
    return json.loads(body, parse_float=Decimal)["data"]


@pytest.mark.parametrize("base", ["/v1", "/api/v1"])
async def test_the_key_that_asks(base: str, plane: Gateway, ask: Any) -> None:
    """Its limit, what is left of it, and what it has cost: today, this week, this month, ever."""
    made = (await ask("POST", "/v1/user/keys", {"name": "x", "spend_limit": 2, "spend_limit_reset": "weekly"})).json
    await plane.chat(headers={"Authorization": f"Bearer {made['key']}"})
    await plane.chat()

    limited = exact((await ask("GET", f"{base}/key", key=made["key"])).body)
    free = exact((await ask("GET", f"{base}/key")).body)

    cost = Decimal(plane.rows()[0].cost) / UNITS_PER_USD
    assert (2, 2 - cost, "weekly") == tuple(limited[name] for name in ("limit", "limit_remaining", "limit_reset"))
    assert [cost] * 4 == [limited[f"usage{span}"] for span in ("", "_daily", "_weekly", "_monthly")]
    assert [0] * 4 == [limited[f"byok_usage{span}"] for span in ("", "_daily", "_weekly", "_monthly")]
    assert (None, None, None, cost) == tuple(
        free[name] for name in ("limit", "limit_remaining", "limit_reset", "usage")
    )
    assert made["key"][-4:] == limited["label"][-4:]
    assert made["key"] not in json.dumps(limited, default=str)


async def test_credits_less_usage_is_the_balance(plane: Gateway, ask: Any) -> None:
    """Whatever came in, less what calls took."""
    with plane.database.session() as connection:
        post_credit(connection, "pi", plane.account_id, 5 * UNITS_PER_USD, "stripe:clearing", "", now_microseconds())
    await plane.chat()

    told = exact((await ask("GET", "/v1/credits")).body)

    assert {"total_credits": 15, "total_usage": Decimal(plane.row().cost) / UNITS_PER_USD} == told


@pytest.mark.parametrize("stream", [False, True])
async def test_a_generation_is_there_when_the_answer_is(stream: bool, plane: Gateway, ask: Any) -> None:
    """Asked the moment the caller has the last byte, ten times over: its cost is what the caller was told."""
    for _ in range(10):
        reply = await plane.chat(stream=stream)
        request_id = reply.headers["X-Generation-Id"]

        data = exact((await ask("GET", f"/v1/generation?id={request_id}")).body)

        told = Decimal(reply.bill["cost"] if stream else str(reply.header("Cost")))
        assert (request_id, told, told) == (data["id"], data["total_cost"], data["usage"])
        assert (1000, 500, stream, False, False) == tuple(
            data[name] for name in ("tokens_prompt", "tokens_completion", "streamed", "cancelled", "is_byok")
        )
        assert ("standard", "alpha") == (data["model"], data["provider_name"])


async def test_a_generation_that_is_not_named(gateway: Gateway, ask_of: Any) -> None:
    """A 400 that names the parameter; one that does not exist is a 404."""
    ask = ask_of(gateway)

    assert "id" == (await ask("GET", "/v1/generation")).error["param"]
    assert (404, "not_found") == (await ask("GET", "/v1/generation?id=req_none")).code
