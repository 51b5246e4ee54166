"""A burst five times the limit: what the limit allows is served, everything else costs nothing and is told how long to wait."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from tests.fakes.raw_upstream import RawUpstream
from tests.gateway import Gateway

WAIT_SECONDS = 60 if os.environ.get("FIND_TOKEN_EXAM") == "1" else 3


@pytest.mark.timeout(180)
async def test_a_burst_is_served_up_to_the_limit(start_gateway: Any, alpha: RawUpstream) -> None:
    """300 at once at 60 a minute; after the window as many more as it refilled (S-104)."""
    gateway: Gateway = await start_gateway(limits={"requests_per_minute": 60})
    loop = asyncio.get_running_loop()
    began = loop.time()
    first = await asyncio.gather(*(gateway.chat() for _ in range(300)))
    took = loop.time() - began
    served = [reply for reply in first if reply.status == 200]
    refused = [reply for reply in first if reply.status == 429]
    assert 300 == len(served) + len(refused)
    assert 60 <= len(served) <= 60 + int(took) + 1
    assert all(1 <= int(reply.headers["Retry-After"]) <= 2 for reply in refused)

    await asyncio.sleep(WAIT_SECONDS)
    second = await asyncio.gather(*(gateway.chat() for _ in range(120)))

    again = sum(reply.status == 200 for reply in second)
    assert WAIT_SECONDS - 1 <= again <= min(60, WAIT_SECONDS) + int(loop.time() - began - WAIT_SECONDS) + 1
    assert len(served) + again == len(alpha.requests) == len(await gateway.settled(len(served) + again))
    assert 0 == await gateway.metric("circuit_state"), "refused calls say nothing about a provider"
    gateway.prove()
