"""Every family of metrics that is promised is there, and a call, a payment or a reload moves it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from metrics.instruments import PREFIX
from proxy.config import Loaded
from proxy.reloading import Reloading
from tests.fakes.raw_upstream import STREAM_HEAD, RawUpstream, completion, failure, http, piece, said
from tests.gateway import BookLock, Gateway, book
from tests.paying import Shop, running_shop

PROMISED = frozenset(
    {
        "requests_total",
        "request_seconds",
        "time_to_first_token_seconds",
        "overhead_seconds",
        "upstream_attempts_total",
        "upstream_seconds",
        "failovers_total",
        "retries_total",
        "provider_up",
        "circuit_state",
        "tokens_total",
        "spend_usd_total",
        "upstream_cost_usd_total",
        "absorbed_usd_total",
        "holds_usd",
        "rate_limited_total",
        "streams_open",
        "client_disconnects_total",
        "ledger_commit_seconds",
        "ledger_queue_length",
        "recharges_usd_total",
        "webhooks_total",
        "config_reloads_total",
        "build_info",
    }
)
"""What monitoring is built on: a name that goes takes somebody's alert along."""
PAUSE = 0.2


@pytest.fixture
async def shop(sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream) -> AsyncIterator[Shop]:
    """A gateway that takes payments and allows twenty calls a minute."""
    limits = {"requests_per_minute": 20}
    async with running_shop(book(alpha.url, beta.url), sqlite_database_url, limits=limits) as running:
        yield running


async def values(gateway: Gateway) -> dict[str, list[float]]:
    """What each promised family says, samples in the page's order; a histogram by its count and sum."""
    found: dict[str, list[float]] = {}
    for name, _, value in await gateway.metrics():
        family = name.removeprefix(PREFIX)
        for ending in ("_count", "_sum"):
            family = family.removesuffix(ending)
        if family in PROMISED:
            found.setdefault(family, []).append(value)
    return found


async def test_every_family_is_moved_by_what_it_speaks_of(shop: Shop, alpha: RawUpstream, beta: RawUpstream) -> None:
    """Each changes while what it counts happens; build_info, which never does, says 1."""
    gateway = shop.gateway
    before, moved = await values(gateway), set()

    async def look() -> None:
        now = await values(gateway)
        moved.update(family for family, found in now.items() if found != before.get(family))

    await shop.pay(100)
    await gateway.chat()
    alpha.otherwise = lambda _request: failure(503)
    await gateway.chat()  # Fails over.
    for _ in range(2):
        await gateway.chat(model="lonely")  # Tries again, until its circuit opens.
    await look()
    beta.next([STREAM_HEAD, piece(said("Hello")), 10.0])
    caller = await gateway.dial(stream=True)
    await caller.read_until(b"Hello")
    await look()
    caller.hang_up(by_reset=True)
    huge = {"prompt_tokens": 10, "completion_tokens": 10**6}
    beta.next([http(completion(usage=huge))])
    assert 200 == (await gateway.chat(max_tokens=10)).status
    lock = BookLock(gateway.database_url)
    lock.take()
    waiting = [asyncio.ensure_future(gateway.chat()) for _ in range(3)]
    async with asyncio.timeout(10):
        while not await gateway.metric("ledger_queue_length"):
            await asyncio.sleep(0.01)
    await look()
    lock.release()
    await asyncio.gather(*waiting)
    while (await gateway.chat()).status == 200:
        pass
    process = gateway.process
    reloading = Reloading(None, Loaded(process._settings, process.catalogue(), []), process.apply, process.instruments)
    await reloading.reload_quietly()
    async with asyncio.timeout(10):
        while PROMISED - moved - {"build_info"}:
            await look()
            await asyncio.sleep(0.01)

    assert PROMISED == moved | {"build_info"}
    assert [1] == (await values(gateway))["build_info"]


async def test_what_is_added_to_a_call_is_without_the_wait_for_upstreams(gateway: Gateway, alpha: RawUpstream) -> None:
    """A slow provider, and one that is tried again, add nothing to it; of a stream, neither does what is passed on."""
    alpha.next([PAUSE, *failure(503)], [PAUSE, http(completion())])
    assert 200 == (await gateway.chat(model="lonely")).status
    alpha.next([PAUSE, STREAM_HEAD, piece(said("Hello")), PAUSE, piece(b"data: [DONE]\n\n"), b"0\r\n\r\n"])
    assert "Hello" == (await gateway.chat(model="lonely", stream=True)).text

    assert 2 == await gateway.metric("overhead_seconds_count", provider="alpha", model="lonely")
    whole, added = [await gateway.metric(name) for name in ("request_seconds_sum", "overhead_seconds_sum")]
    assert 0 < added <= whole - 4 * PAUSE


async def test_waiting_for_the_books_is_added_to_a_call(gateway: Gateway, alpha: RawUpstream) -> None:
    """It is the gateway that waits."""
    lock = BookLock(gateway.database_url)
    lock.take()
    call = asyncio.ensure_future(gateway.chat())
    async with asyncio.timeout(10):
        while not await gateway.metric("ledger_queue_length"):
            await asyncio.sleep(0.01)
    await asyncio.sleep(PAUSE)
    lock.release()

    assert 200 == (await call).status
    assert PAUSE <= await gateway.metric("overhead_seconds_sum")


async def test_a_caller_who_leaves_and_a_refused_one_add_nothing(gateway: Gateway, alpha: RawUpstream) -> None:
    """Only calls that were answered, by a provider or for want of one, are measured."""
    alpha.next([10.0])
    caller = await gateway.dial()
    await alpha.received(1)
    caller.hang_up(by_reset=True)
    await gateway.settled(1)
    assert 400 == (await gateway.chat(max_tokens=-1)).status

    assert 0 == await gateway.metric("overhead_seconds_count")
