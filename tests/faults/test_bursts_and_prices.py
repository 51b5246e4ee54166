"""A burst on a balance for three of its calls, on one node and on three; and models that have no price, which nobody serves."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from billing.money import Money, parse_usd
from providers.catalogue import build
from tests.fakes.raw_upstream import RawUpstream, completion, http
from tests.fakes.redis_server import RedisServer, running_redis
from tests.gateway import ALPHA_KEY, CREDIT, Gateway, Reply, model, price

StartGateway = Callable[..., Awaitable[Gateway]]

CALLS, COST = 50, 316_510_550
"""10 tokens at 10 USD and 100,000 at 30 USD a million, and the fee: ten dollars cover three of them, never four."""
POLL_SECONDS = 0.02
SHARED = {"requests_per_minute": 1_000_000, "tokens_per_minute": 1_000_000_000, "concurrent_requests": 10_000}


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A server of this test's own."""
    with running_redis() as server:
        yield server


@pytest.fixture
def slow(alpha: RawUpstream) -> RawUpstream:
    """It answers after a second, and reports as much as was allowed."""
    answer = http(completion(usage={"prompt_tokens": 10, "completion_tokens": 100_000}))
    alpha.otherwise = lambda _: [1.0, answer]
    return alpha


async def burst(nodes: Sequence[Gateway], key: str) -> tuple[list[Reply], list[Money]]:
    """All calls at once, to one node after the other; their answers, and every balance that was read meanwhile."""
    headers = {"Authorization": f"Bearer {key}"}
    read: list[Money] = []

    async def poll() -> None:
        for node in itertools.cycle(nodes):
            reply = await node.send(b"", method="GET", path="/v1/user/balance", headers=headers)
            assert 200 == reply.status, reply.body
            read.extend(parse_usd(reply.json[name]) for name in ("balance", "available"))
            await asyncio.sleep(POLL_SECONDS)

    polling = asyncio.create_task(poll())
    in_turn = itertools.islice(itertools.cycle(nodes), CALLS)
    replies = await asyncio.gather(*(node.chat(model="dear", max_tokens=100_000, headers=headers) for node in in_turn))
    assert not polling.done(), "the balance could be read all the time"
    polling.cancel()
    return replies, read


async def prove(
    nodes: Sequence[Gateway], account: tuple[str, str], upstream: RawUpstream, refusals: frozenset[int]
) -> None:
    """Two or three are served, the others refused, the provider sees as many, and no balance is ever below zero."""
    account_id, key = account
    seen = len(upstream.requests)
    replies, read = await burst(nodes, key)
    served = [reply for reply in replies if reply.status == 200]

    assert len(served) in {2, 3}
    assert {reply.status for reply in replies} - {200} <= refusals
    assert len(served) == len(upstream.requests) - seen
    assert 5 < len(read)
    assert 0 <= min(read)
    rows = await nodes[0].settled(len(served), account_id)
    assert [COST] * len(served) == [row.cost for row in rows] == [reply.money("Cost") for reply in served]
    nodes[0].prove(account_id)


async def test_a_burst_on_a_small_balance(gateway: Gateway, slow: RawUpstream) -> None:
    """S-001: of fifty at once two or three are served, the others are 402, and what is left is ten dollars less the log."""
    await prove([gateway], (gateway.account_id, gateway.key), slow, frozenset({402}))


async def test_a_burst_over_three_nodes(
    start_gateway: StartGateway, slow: RawUpstream, redis: RedisServer, postgres_database_url: str
) -> None:
    """S-003: three nodes on one PostgreSQL and one Redis serve no more than one does, also when Redis has been killed."""
    nodes = [
        await start_gateway(
            database_url=postgres_database_url, name=f"node-{number}", limits=SHARED, storage={"redis": redis.url}
        )
        for number in range(3)
    ]
    await prove(nodes, nodes[0].new_account("before"), slow, frozenset({402}))
    redis.kill()
    await prove(nodes, nodes[0].new_account("after"), slow, frozenset({402, 503}))


async def test_what_has_no_price_is_not_served(start_gateway: StartGateway, alpha: RawUpstream) -> None:
    """S-009: a model without a price now, its alias, and other spellings of one that has a price: refused, and no call."""
    later = [{**price("1", "2")[0], "from": "2999-01-01T00:00:00Z"}]
    catalogue = build(
        {
            "providers": {"alpha": {"dialect": "openai", "base_url": alpha.url, "keys": [ALPHA_KEY]}},
            "models": {
                "priced": model("alpha", price("1", "2"), aliases=["vendor/priced"]),
                "unpriced": model("alpha", later, aliases=["vendor/unpriced"]),
            },
        },
        now=datetime(2999, 6, 1, tzinfo=UTC),
    )
    gateway = await start_gateway(catalogue)
    asked = ("unpriced", "vendor/unpriced", "Unpriced", "Priced", "PRICED", "Vendor/Priced")
    told: dict[str, Any] = {name: (await gateway.chat(model=name)).code for name in asked}

    without = (503, "all_providers_unavailable")
    assert {name: without if name in asked[:2] else (404, "model_not_found") for name in asked} == told
    assert [] == alpha.requests
    assert CREDIT == gateway.balance().available
    reply = await gateway.chat(model="vendor/priced")
    assert reply.money("Cost") == gateway.row().cost > 0
