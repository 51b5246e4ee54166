"""A key that is revoked is refused by every process from the moment on at which its revocation is answered."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from tests.fakes.redis_server import running_redis
from tests.faults.processes import PATIENT
from tests.faults.serving import Serving, serving
from tests.gateway import Gateway

ROUNDS, CALLS = (50, 200) if os.environ.get("FIND_TOKEN_EXAM") == "1" else (2, 60)


@pytest.mark.parametrize("workers", [1, 2])
async def test_none_of_the_calls_that_begin_afterwards_is_served(tmp_path: Path, workers: int) -> None:
    """S-095: a key that is warm in every process, also one that is revoked during a burst of calls."""
    async with serving(tmp_path, workers=workers, routing=PATIENT) as gateway:
        for number in range(ROUNDS):
            assert CALLS == await refusals(gateway, in_a_burst=number % 2 == 1)


async def refusals(gateway: Serving, *, in_a_burst: bool) -> int:
    """How many calls of a key are refused that begin right after it was revoked."""
    owner, connections = {"Authorization": f"Bearer {gateway.key}"}, aiohttp.TCPConnector(force_close=True)
    keys = f"{gateway.running.url}/v1/user/keys"
    async with aiohttp.ClientSession(connector=connections) as session:
        async with session.post(keys, json={"name": "to be revoked"}, headers=owner) as made:
            assert 201 == made.status, await made.text()
            key = await made.json()
        warm = Serving(gateway.running, gateway.folder, key["key"])
        for status, _, text in await asyncio.gather(*[warm.ask(session) for _ in range(20)]):
            assert 200 == status, text
        burst = [asyncio.create_task(warm.ask(session)) for _ in range(20 if in_a_burst else 0)]
        async with session.delete(f"{keys}/{key['id']}", headers=owner) as revoked:
            assert 200 == revoked.status, await revoked.text()
        afterwards = await asyncio.gather(*[warm.ask(session) for _ in range(CALLS)])
        assert {200, 401} >= {status for status, _, _ in await asyncio.gather(*burst)}
    return sum(status == 401 and "key_revoked" in text for status, _, text in afterwards)


async def test_three_nodes_obey_without_redis(
    start_gateway: Callable[..., Awaitable[Gateway]], postgres_database_url: str
) -> None:
    """S-096: a key that is warm on three nodes is revoked on the first while Redis is dead: the others refuse it at once."""
    with running_redis() as redis:
        nodes = [
            await start_gateway(database_url=postgres_database_url, name=f"node-{number}", storage={"redis": redis.url})
            for number in range(3)
        ]
        owner = {"Authorization": f"Bearer {nodes[0].key}"}
        made = await nodes[0].send(b'{"name": "a key"}', path="/v1/user/keys", headers=owner)
        key = {"Authorization": f"Bearer {made.json['key']}"}
        warm = await asyncio.gather(*(node.chat(headers=key) for node in nodes for _ in range(10)))
        redis.kill()
        path = f"/v1/user/keys/{made.json['id']}"
        revoked = await nodes[0].send(b"", method="DELETE", path=path, headers=owner)
        afterwards = await asyncio.gather(*(node.chat(headers=key) for node in nodes for _ in range(20)))

    assert {200} == {reply.status for reply in warm}
    assert 200 == revoked.status
    assert {(401, "key_revoked")} == {reply.code for reply in afterwards}
