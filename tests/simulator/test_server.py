"""simulator/server.py: starting and stopping a simulator."""

import asyncio

import aiohttp
import pytest

from simulator.facts import KEYS, PROVIDERS, base_url
from simulator.server import Running, root_url, serve, start


async def test_every_provider_answers_on_one_port(simulator: Running, http: aiohttp.ClientSession) -> None:
    """Under its name, with and without `/v1`; what is not simulated is 404."""
    for provider in PROVIDERS:
        headers = {"Authorization": f"Bearer {KEYS[provider]}"}
        for path in ("models", "v1/models"):
            async with http.get(f"{base_url(simulator.url, provider)}/{path}", headers=headers) as answer:
                assert answer.status == 200
                assert (await answer.json())["object"] == "list"
    async with http.get(f"{simulator.url}/mistral/models") as answer:
        assert answer.status == 404


async def test_two_simulators_do_not_know_each_other(simulator: Running, http: aiohttp.ClientSession) -> None:
    """Each has its own port and its own journal."""
    other = await start()
    assert other.url != simulator.url
    async with http.get(f"{other.url}/kimi/models"):
        pass
    assert len(other.state.journal.calls()) == 1
    assert simulator.state.journal.calls() == []
    await other.close()


async def test_a_taken_port_is_an_oserror(simulator: Running) -> None:
    """And nothing is left behind."""
    with pytest.raises(OSError, match="in use"):
        await start(port=int(simulator.url.rsplit(":", 1)[1]))


async def test_closing_breaks_off_what_hangs(http: aiohttp.ClientSession) -> None:
    """A caller that waits for ever gets an end."""
    running = await start()
    async with http.post(f"{running.url}/_simulator/kimi/faults", json={"kind": "hang"}):
        pass
    body = {"model": "kimi-k2.6", "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"Authorization": f"Bearer {KEYS['kimi']}"}
    waiting = asyncio.create_task(http.post(f"{running.url}/kimi/chat/completions", json=body, headers=headers))
    async with asyncio.timeout(5):
        while not running.state.journal.calls():
            await asyncio.sleep(0.005)
        await running.close()
        with pytest.raises(aiohttp.ClientError):
            await waiting


async def test_serve_runs_until_cancelled(http: aiohttp.ClientSession) -> None:
    """It says where it is once it is there, and at the speed it was given."""
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(port=0, latency_seconds=0, pieces_per_second=0, ready=address.set_result))
    url = await address
    async with http.get(f"{url}/_simulator/kimi/settings") as answer:
        assert (await answer.json())["pieces_per_second"] == 0
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    with pytest.raises(aiohttp.ClientError):
        await http.get(f"{url}/_simulator/journal")


def test_an_address_of_six_stands_in_brackets() -> None:
    """So that a path can be put behind the root."""
    assert root_url("::1", 8000) == "http://[::1]:8000"
    assert root_url("127.0.0.1", 8000) == "http://127.0.0.1:8000"
