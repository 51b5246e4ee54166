"""Limits that several processes share: exact while Redis answers, each process's own while it does not, and never waited for."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from storage import shared_limits
from storage.limits import Limits, LocalLimits, Scope, Verdict
from storage.shared_limits import SharedLimits, check_address, open_limits
from tests.fakes.redis_server import RedisServer, running_redis


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A Redis that every test of this file finds alive and empty."""
    with running_redis() as running:
        yield running


@pytest.fixture
def redis(server: RedisServer) -> RedisServer:
    """It, emptied."""
    server.command("FLUSHALL")
    return server


class Node:
    """The limits of one process."""

    def __init__(self, url: str) -> None:
        self.alone = 0
        """Decisions made without Redis."""
        self.limits = SharedLimits(url, on_local=self._count)

    def _count(self) -> None:
        self.alone += 1

    async def enter(self, scope: Scope, call_id: str = "call") -> Verdict:
        """One call under one scope."""
        return await self.limits.enter((scope,), call_id)

    async def shares_again(self) -> None:
        """Wait until Redis answers."""
        async with asyncio.timeout(10):
            while not self.limits._answering:
                await asyncio.sleep(0.01)


@pytest.fixture
async def start_node(redis: RedisServer) -> AsyncIterator[Callable[[], Awaitable[Node]]]:
    """Starts nodes on the same Redis."""
    nodes: list[Node] = []

    async def start() -> Node:
        node = Node(redis.url)
        await node.limits.start()
        nodes.append(node)
        return node

    yield start
    for node in nodes:
        await node.limits.close()


Start = Callable[[], Awaitable[Node]]


async def test_two_processes_share_a_minute(start_node: Start) -> None:
    """60 a minute for both together, with the same waits and the same numbers left as one alone would tell."""
    nodes = [await start_node(), await start_node()]
    scope = Scope("account:a", Limits(requests_per_minute=60))
    started = time.monotonic()
    verdicts = [await nodes[number % 2].enter(scope) for number in range(100)]
    refilled = int(time.monotonic() - started) + 1

    passed = [verdict for verdict in verdicts if verdict.refused_by is None]
    # On a machine so busy that Redis does not answer in time, a node decides alone, and counts it.
    alone = sum(node.alone for node in nodes)
    assert 60 <= len(passed) <= 60 + refilled + alone
    assert (60, 59) == (verdicts[0].state or ())[:2]
    last = verdicts[-1]
    assert ("requests", scope) == (last.kind, last.refused_by)
    assert 0 < last.retry_after_seconds <= 1
    await asyncio.sleep(last.retry_after_seconds)
    assert (await nodes[1].enter(scope)).refused_by is None


async def test_two_processes_share_places(start_node: Start, redis: RedisServer) -> None:
    """Two at once for both together; who leaves makes room for the other; nothing stays behind."""
    first, second = await start_node(), await start_node()
    scope = Scope("account:a", Limits(concurrent_requests=2))
    entered = [await first.enter(scope, "a"), await second.enter(scope, "b"), await second.enter(scope, "c")]
    assert ["", "", "concurrency"] == [verdict.kind for verdict in entered]

    first.limits.leave((scope,), "a")
    async with asyncio.timeout(5):
        while (await second.enter(scope, "d")).refused_by is not None:
            await asyncio.sleep(0.01)

    for call_id in ("b", "d"):
        second.limits.leave((scope,), call_id)
    async with asyncio.timeout(5):
        while redis.command("EXISTS", "find-token:running:account:a"):
            await asyncio.sleep(0.01)


async def test_the_places_of_a_dead_process_are_free_after_a_while(
    start_node: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A place is a lease: the living renew theirs, however long a call lasts."""
    monkeypatch.setattr(shared_limits, "LEASE_SECONDS", 0.6)
    monkeypatch.setattr(shared_limits, "RENEW_SECONDS", 0.1)
    dead, living, third = await start_node(), await start_node(), await start_node()
    scope = Scope("account:a", Limits(concurrent_requests=2))
    await dead.enter(scope, "of the dead")
    await living.enter(scope, "of the living")
    for task in dead.limits._tasks:
        task.cancel()
    assert "concurrency" == (await third.enter(scope)).kind

    await asyncio.sleep(1.2)

    assert ["", "concurrency"] == [(await third.enter(scope, call_id)).kind for call_id in ("e", "f")]


async def test_two_processes_share_tokens(start_node: Start) -> None:
    """What one takes the other lacks; what was not used comes back to both."""
    first, second = await start_node(), await start_node()
    scopes = (Scope("account:a", Limits(tokens_per_minute=1000)),)
    assert (await first.limits.take_tokens(scopes, 800)).refused_by is None
    refused = await second.limits.take_tokens(scopes, 800)
    assert ("tokens", True) == (refused.kind, 30 < refused.retry_after_seconds <= 36)

    first.limits.correct_tokens(scopes, 800, 100)

    async with asyncio.timeout(5):
        while (await second.limits.take_tokens(scopes, 800)).refused_by is not None:
            await asyncio.sleep(0.01)


async def test_a_key_that_refuses_takes_nothing_from_its_account(start_node: Start) -> None:
    """All scopes in one round trip: each is counted, or none."""
    node, other = await start_node(), await start_node()
    account, key = Scope("account:a", Limits(requests_per_minute=5)), Scope("key:k", Limits(requests_per_minute=1))
    await node.limits.enter((account, key), "1")
    refused = await other.limits.enter((account, key), "2")

    assert key == refused.refused_by
    assert (5, 3) == ((await other.enter(account)).state or ())[:2]


async def test_a_frozen_redis_costs_one_wait_and_no_more(
    start_node: Start, redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls pass by the process's own limits, which know what it let through before; the log has two lines in all."""
    caplog.set_level(logging.INFO)
    node = await start_node()
    scope = Scope("account:a", Limits(requests_per_minute=60))
    for _ in range(20):
        await node.enter(scope)
    redis.freeze()
    try:
        started = time.monotonic()
        first = await asyncio.gather(*(node.enter(scope) for _ in range(10)))
        waited = time.monotonic() - started
        started = time.monotonic()
        then = [await node.enter(scope) for _ in range(1000)]
        rest = time.monotonic() - started
        assert [None] * 10 == [verdict.refused_by for verdict in first]
        assert 0.08 <= waited < 1
        assert rest < 1, "nobody waits for a Redis that is known not to answer"
        assert 30 <= sum(verdict.refused_by is None for verdict in then) <= 32
        assert node.alone >= 40
    finally:
        redis.thaw()
    await node.shares_again()
    assert 2 == len(caplog.records), caplog.text


async def test_a_redis_that_dies_and_comes_back_empty(start_node: Start, redis: RedisServer) -> None:
    """Nobody fails; it is used again without a restart, scripts included, and what this process let through still counts."""
    node = await start_node()
    scope = Scope("account:a", Limits(requests_per_minute=60))
    for _ in range(30):
        await node.enter(scope)
    redis.kill()
    dead = [await node.enter(scope) for _ in range(10)]
    redis.start()
    await node.shares_again()
    alone = node.alone
    back = [await node.enter(scope) for _ in range(40)]

    assert [None] * 10 == [verdict.refused_by for verdict in dead]
    assert 20 <= sum(verdict.refused_by is None for verdict in back) <= 24
    # On a busy machine it may be heard too late once more.
    assert node.alone <= alone + 4


async def test_forgotten_scripts_are_taught_again(start_node: Start, redis: RedisServer) -> None:
    """Within the same question."""
    node = await start_node()
    redis.command("SCRIPT", "FLUSH")

    assert (await node.enter(Scope("account:a", Limits(requests_per_minute=60)))).refused_by is None
    assert 0 == node.alone


async def test_a_redis_that_is_not_there_at_the_start() -> None:
    """Is no reason not to serve."""
    node = Node("redis://127.0.0.1:9/0")
    await node.limits.start()
    verdict = await node.enter(Scope("account:a", Limits(requests_per_minute=1)))
    again = await node.enter(Scope("account:a", Limits(requests_per_minute=1)))
    await node.limits.close()

    assert ("", "requests", 1) == (verdict.kind, again.kind, node.alone)


async def test_a_caller_who_leaves_while_redis_is_asked_keeps_no_place(start_node: Start, redis: RedisServer) -> None:
    """Neither here nor there."""
    node = await start_node()
    scope = Scope("account:a", Limits(concurrent_requests=1))
    asking = asyncio.create_task(node.enter(scope, "gone"))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)

    async with asyncio.timeout(5):
        while (await node.enter(scope, "next")).refused_by is not None:
            await asyncio.sleep(0.01)
    assert 1 == redis.command("ZCARD", "find-token:running:account:a")


def test_addresses() -> None:
    """Without one the limits are this process's own; what is no address is said to be none."""
    assert isinstance(open_limits("", on_local=lambda: None), LocalLimits)
    assert isinstance(open_limits("redis://localhost", on_local=lambda: None), SharedLimits)
    check_address("rediss://user:secret@host:6380/1")
    with pytest.raises(ValueError, match="redis://host"):
        check_address("http://host")


def test_without_the_client_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is an optional dependency, and no registry has a package of our name."""
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)

    with pytest.raises(ValueError, match="make drivers"):
        check_address("redis://localhost")
