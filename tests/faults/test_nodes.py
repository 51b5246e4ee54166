"""Three nodes on one PostgreSQL and one Redis behind HAProxy, as deploy/ has it: they behave as one, also while they restart."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from simulator.server import Running as Simulator
from tests.fakes.front_proxies import Haproxy, running_haproxy, running_nginx
from tests.fakes.redis_server import running_redis
from tests.faults.processes import PATIENT, SERVER, Running, answer, started, write_files
from tests.faults.serving import MODEL, free_port, open_account
from tests.journeys.mix import simulated_providers

EXAM = os.environ.get("FIND_TOKEN_EXAM") == "1"
ROUNDS, PER_SECOND = (3, 50) if EXAM else (1, 20)
"""The true pace and number of rounds, and those of a machine that is busy with other tests."""
NODES = 3
QUICK = 'pieces=4 SIM:{"kind": "none"}'
SLOW = 'pieces=40 SIM:{"kind": "none", "pieces_per_second": 20}'

pytestmark = pytest.mark.timeout(900 if EXAM else 180)


class Node:
    """One of the nodes: its folder and ports stay, its processes come and go."""

    def __init__(self, folder: Path, public: int, admin: int) -> None:
        self.folder, self.public, self.admin = folder, public, admin
        self.running: Running | None = None
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        settings = self.folder / "find-token.toml"
        self.running = await self._stack.enter_async_context(started(self.folder, "serve", "--config", str(settings)))

    async def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self.running is not None
        code = await self.running.stop()
        await self._stack.aclose()
        return code

    async def close(self) -> None:
        """End it however it is."""
        await self._stack.aclose()


@dataclass(frozen=True, slots=True)
class Fleet:
    """All nodes, what stands before them, and a key."""

    nodes: list[Node]
    haproxy: Haproxy
    simulator: Simulator
    key: str

    async def call(self, session: aiohttp.ClientSession, text: str, url: str = "", **fields: Any) -> tuple[int, str]:
        """One call through HAProxy: status and body. What breaks off raises."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 100, **fields}
        headers = {"Authorization": f"Bearer {self.key}"}
        path = f"{url or self.haproxy.url}/v1/chat/completions"
        async with session.post(path, json=body, headers=headers) as reply:
            return reply.status, await reply.text()


@asynccontextmanager
async def fleet(tmp_path: Path, database_url: str, redis_url: str, **sections: Any) -> AsyncIterator[Fleet]:
    """Three nodes that listen, and HAProxy that found all of them ready."""
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(simulated_providers())
        key = await asyncio.to_thread(open_account, database_url)
        nodes = []
        for number in range(NODES):
            node = Node(tmp_path / f"node-{number + 1}", free_port(), free_port())
            node.folder.mkdir()
            server = {
                **SERVER,
                "listen": f"127.0.0.1:{node.public}",
                "admin_listen": f"127.0.0.1:{node.admin}",
                "shutdown_seconds": 20,
            }
            storage = {"database": database_url, "redis": redis_url}
            merged = {"server": server, "storage": storage, "routing": PATIENT, **sections}
            write_files(node.folder, database_url, simulator.url, **merged)
            stack.push_async_callback(node.close)
            nodes.append(node)
        await asyncio.gather(*(node.start() for node in nodes))
        haproxy = stack.enter_context(running_haproxy([(node.public, node.admin) for node in nodes]))
        await asyncio.gather(*(haproxy.is_up(number + 1) for number in range(NODES)))
        yield Fleet(nodes, haproxy, simulator, key)


async def steadily(fleet: Fleet, session: aiohttp.ClientSession, over: asyncio.Event) -> list[tuple[int, str]]:
    """Calls at a steady pace, every tenth a stream that lasts two seconds, until it is over; all answers."""
    calls: list[asyncio.Task[tuple[int, str]]] = []
    while not over.is_set():
        stream = len(calls) % 10 == 0
        calls.append(asyncio.create_task(fleet.call(session, SLOW if stream else QUICK, stream=stream)))
        await asyncio.sleep(1 / PER_SECOND)
    replies = await asyncio.gather(*calls)
    assert all("data: [DONE]" in text for number, (_, text) in enumerate(replies) if number % 10 == 0)
    return list(replies)


async def restart(fleet: Fleet) -> None:
    """A rolling restart as docs/scaling.md says: no new calls for a node, SIGTERM, start, calls again. The short form restarts
    the first node alone."""
    for number, node in enumerate(fleet.nodes if EXAM else fleet.nodes[:1], 1):
        await fleet.haproxy.tell(f"set server nodes/node-{number} state drain")
        assert 0 == await node.stop()
        await node.start()
        await fleet.haproxy.tell(f"set server nodes/node-{number} state ready")
        await fleet.haproxy.is_up(number)


async def test_a_rolling_restart_is_seen_by_nobody(tmp_path: Path, postgres_database_url: str) -> None:
    """S-111: each node in turn under steady load with streams open: no call fails, no stream is cut, the books are exact. Then
    streams through nginx and HAProxy come as they are made, and those that are open when all nodes are told to stop complete."""
    with running_redis() as redis:
        async with (
            fleet(tmp_path, postgres_database_url, redis.url) as nodes,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        ):
            over = asyncio.Event()
            load = asyncio.create_task(steadily(nodes, session, over))
            for _ in range(ROUNDS):
                await restart(nodes)
            over.set()
            replies = await load

            print(f"{len(replies)} calls in {ROUNDS} rounds")
            assert {200} == {status for status, _ in replies}
            served = {
                node.public: len(node.running.log.read_text().splitlines()) for node in nodes.nodes if node.running
            }
            assert all(served.values()), "each node had its part"
            configured = ("--config", str(nodes.nodes[0].folder / "find-token.toml"))
            assert (await answer(tmp_path, "audit", *configured))["ok"]
            shown = await answer(tmp_path, "account", "show", "a@example.com", *configured)
            assert "0" == shown["held"]
            assert len(replies) == await fetch_count(postgres_database_url)

            await one_stream_through_nginx(nodes, session)
            await streams_outlive_sigterm(nodes, session)


async def fetch_count(database_url: str) -> int:
    """How many lines the billing log has."""
    import psycopg2

    def count() -> int:
        connection = psycopg2.connect(database_url)
        try:
            cursor = connection.cursor()
            cursor.execute("SELECT count(*) FROM call")
            return int(cursor.fetchone()[0])
        finally:
            connection.close()

    return await asyncio.to_thread(count)


async def one_stream_through_nginx(nodes: Fleet, session: aiohttp.ClientSession) -> None:
    """Its first piece comes long before its last, through nginx and through HAProxy."""
    with running_nginx([node.public for node in nodes.nodes]) as nginx:
        for url in (nginx, nodes.haproxy.url):
            body = {"model": MODEL, "messages": [{"role": "user", "content": SLOW}], "stream": True}
            headers = {"Authorization": f"Bearer {nodes.key}"}
            loop = asyncio.get_running_loop()
            async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as reply:
                times = [loop.time() async for line in reply.content if line.startswith(b"data: ")]
            assert times[-1] - times[0] > 1, "pieces came when they were made, over two seconds"


async def streams_outlive_sigterm(nodes: Fleet, session: aiohttp.ClientSession) -> None:
    """S-110: all nodes are told to stop while streams are open: every stream is complete, every exit code is 0."""
    count = 200 if EXAM else 30
    streams = [asyncio.create_task(nodes.call(session, SLOW, stream=True)) for _ in range(count)]
    async with asyncio.timeout(30):
        while await open_streams(nodes, session) < count:
            await asyncio.sleep(0.05)
    for node in nodes.nodes:
        assert node.running is not None
        node.running.process.send_signal(signal.SIGTERM)
    replies = await asyncio.gather(*streams)
    # A second SIGTERM would end a node at once.
    codes = [await node.running.died() for node in nodes.nodes if node.running is not None]

    assert ([0] * NODES, {200}) == (codes, {status for status, _ in replies})
    assert count == sum("data: [DONE]" in text for _, text in replies)


async def open_streams(nodes: Fleet, session: aiohttp.ClientSession) -> int:
    """Of all nodes together."""
    total = 0
    for node in nodes.nodes:
        async with session.get(f"http://127.0.0.1:{node.admin}/metrics") as reply:
            lines = (await reply.text()).splitlines()
        total += int(float(next(line for line in lines if line.startswith("findtoken_streams_open ")).split()[1]))
    return total
