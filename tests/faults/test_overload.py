"""Three times as much as it can do: the gateway does what it can, tells the others at once, and is as before when it is over."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import pytest

from tests.fakes.raw_upstream import RawUpstream, completion, http
from tests.faults.offered import offer
from tests.gateway import Gateway

CALLS = 10
"""How many may be under way: with an upstream that takes half a second, about twenty calls a second."""
UPSTREAM_SECONDS = 0.5
SECONDS = 120.0 if os.environ.get("FIND_TOKEN_EXAM") == "1" else 4.0


@pytest.mark.timeout(400)
async def test_three_times_the_capacity(start_gateway: Any, alpha: RawUpstream) -> None:
    """At least four fifths of the capacity are served, the others get 503 within a second, health answers (S-108)."""
    alpha.otherwise = lambda _request: [UPSTREAM_SECONDS, http(completion())]
    gateway: Gateway = await start_gateway(server={"max_calls": CALLS})
    capacity = await _measured_capacity(gateway)
    health: list[float] = []
    watching = asyncio.create_task(_watch_health(gateway, health))

    made = await offer(gateway.chat, 3 * capacity, SECONDS)

    watching.cancel()
    served = [one for one in made if one.reply.status == 200]
    refused = [one for one in made if one.reply.status != 200]
    print(f"capacity {capacity:.0f}/s, served {len(served) / SECONDS:.0f}/s, refused {len(refused)}")
    assert len(served) / SECONDS >= 0.8 * capacity
    assert {(503, "overloaded")} == {one.reply.code for one in refused}
    assert all(int(one.reply.headers["Retry-After"]) >= 1 for one in refused)
    assert max(one.seconds for one in refused) <= 1
    assert health
    assert max(health) <= 0.5
    after = time.monotonic()
    assert [200] * CALLS == [reply.status for reply in await asyncio.gather(*(gateway.chat() for _ in range(CALLS)))]
    assert time.monotonic() - after <= 10
    await gateway.settled_balance(len(alpha.requests))
    gateway.prove_balance(len(alpha.requests))


async def _measured_capacity(gateway: Gateway) -> float:
    """Calls a second with as many callers as there is room for."""
    ends = time.monotonic() + 2
    began, done = time.monotonic(), 0

    async def ask() -> None:
        nonlocal done
        while time.monotonic() < ends:
            assert 200 == (await gateway.chat()).status
            done += 1

    await asyncio.gather(*(ask() for _ in range(CALLS)))
    return done / (time.monotonic() - began)


async def _watch_health(gateway: Gateway, health: list[float]) -> None:
    while True:
        began = time.monotonic()
        assert 200 == (await gateway.get("/healthz", admin=True)).status
        health.append(time.monotonic() - began)
        await asyncio.sleep(0.05)
