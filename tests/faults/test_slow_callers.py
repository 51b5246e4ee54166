"""Callers who send as slowly as they can: they are dropped in time, and nobody else notices them."""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
from typing import Any

import pytest

from tests.fakes.raw_upstream import RawUpstream
from tests.faults.offered import offer
from tests.gateway import Caller, Gateway, http_request

EXAM = os.environ.get("FIND_TOKEN_EXAM") == "1"
CONNECTIONS = 1_000 if EXAM else 100
SECONDS = 90.0 if EXAM else 3.0
LATEST_SECONDS = 60.0 if EXAM else 10.0
TIMEOUTS = {"header_timeout_seconds": 15, "body_timeout_seconds": 30} if EXAM else {}
QUICK = {"header_timeout_seconds": 1, "body_timeout_seconds": 1}


@pytest.fixture
def many_files() -> Any:
    """Room for both ends of every connection."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8_192, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.timeout(300)
async def test_slow_heads_and_slow_bodies(many_files: None, start_gateway: Any, alpha: RawUpstream) -> None:
    """A byte now and then, of a head or of a body, with a key and without: dropped in time; all others served (S-092)."""
    gateway: Gateway = await start_gateway(server=QUICK | TIMEOUTS)
    whole = http_request(b"x" * 10_000, gateway.key)
    end = whole.index(b"\r\n\r\n") + 4
    stranger = whole.replace(gateway.key.encode(), b"sk-ft_nobody")
    kinds = itertools.cycle((whole[: end - 40], whole[:end], stranger[: stranger.index(b"\r\n\r\n") + 4], b"POST /"))
    slow = [await gateway.dial_raw(next(kinds)) for _ in range(CONNECTIONS)]
    dripping = [asyncio.create_task(_drip(caller)) for caller in slow]

    normal = await offer(gateway.chat, 20, SECONDS)

    assert {200} == {one.reply.status for one in normal}
    async with asyncio.timeout(LATEST_SECONDS):
        answers = await asyncio.gather(*dripping)
    assert CONNECTIONS == len(answers)
    statuses = {answer[9:12] for answer in answers if answer}
    assert statuses <= {b"408", b"401"}, statuses
    assert b"408" in statuses
    assert len(normal) == len(alpha.requests)
    gateway.prove_balance(len(normal))


async def _drip(caller: Caller) -> bytes:
    """Send a byte every now and then until the connection ends; what was answered."""
    reading = asyncio.create_task(caller.reader.read())
    while not reading.done():
        await asyncio.wait({reading}, timeout=0.2)
        if not caller.writer.is_closing():
            caller.writer.write(b"x")
    return b"" if reading.exception() is not None else reading.result()
