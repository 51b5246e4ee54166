"""What runs until it is told to stop: it says when it is ready, ends in order, and leaves nothing open."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from pathlib import Path

import aiohttp
import pytest

from proxy.config import Loaded
from proxy.demo import simulated_catalogue
from proxy.running import run_demo, run_gateway, run_simulator, stop_signal
from proxy.settings import ServerSettings, Settings, StorageSettings
from storage.database import Database, open_database
from storage.migrating import migrate

ANY_PORT = "127.0.0.1:0"


def gateway_parts(folder: Path, listen: str = ANY_PORT) -> tuple[Loaded, Database]:
    """Settings and a migrated database of its own."""
    url = f"sqlite:///{folder / 'x.db'}"
    database = open_database(url)
    migrate(database)
    server = ServerSettings(listen=listen, admin_listen=ANY_PORT)
    settings = Settings(server=server, storage=StorageSettings(database=url))
    return Loaded(settings, simulated_catalogue("http://127.0.0.1:9"), []), database


def ledger_threads() -> list[str]:
    """The database's threads that still run."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ledger-")]


async def answers(url: str) -> bool:
    """Whether somebody listens there."""
    try:
        async with aiohttp.ClientSession() as session, session.get(url):
            return True
    except aiohttp.ClientConnectionError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_is_told_and_the_next_has_its_usual_effect(number: signal.Signals) -> None:
    """One signal asks for an orderly end; whoever sends two does not want to wait."""
    before = signal.getsignal(number)
    told = stop_signal()
    assert not told.is_set()
    os.kill(os.getpid(), number)
    await asyncio.wait_for(told.wait(), 10)
    assert signal.getsignal(number) in (before, signal.default_int_handler, signal.SIG_DFL)


async def test_the_second_signal_hurries_who_wants_to_be_hurried() -> None:
    """Only the third has its usual effect."""
    before = signal.getsignal(signal.SIGTERM)
    again = asyncio.Event()
    told = stop_signal(again)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(told.wait(), 10)
    assert not again.is_set()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(again.wait(), 10)
    assert signal.getsignal(signal.SIGTERM) in (before, signal.SIG_DFL)


async def test_the_gateway_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """Ready means that both addresses answer; afterwards neither does, and no thread is left."""
    loaded, database = gateway_parts(tmp_path)
    addresses: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    running = asyncio.create_task(
        run_gateway(
            loaded,
            database,
            lambda url, admin_url: addresses.put_nowait((url, admin_url)),
        )
    )
    url, admin_url = await addresses.get()
    assert await answers(f"{url}/v1/models")
    assert await answers(f"{admin_url}/healthz")
    assert ledger_threads()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, 20)
    assert not await answers(f"{url}/v1/models")
    assert not await answers(f"{admin_url}/healthz")
    assert [] == ledger_threads()


async def test_a_call_that_was_on_its_way_when_the_order_to_stop_came_is_answered(tmp_path: Path) -> None:
    """Its connection stands and its first byte has not come: as a load balancer sees it that has just chosen this process."""
    loaded, database = gateway_parts(tmp_path)
    urls: asyncio.Queue[str] = asyncio.Queue()
    running = asyncio.create_task(run_gateway(loaded, database, lambda url, _admin_url: urls.put_nowait(url)))
    host, _, port = (await urls.get()).removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.05)
    writer.write(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await asyncio.wait_for(running, 20)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_gateway_that_cannot_listen_closes_what_it_had_opened(tmp_path: Path) -> None:
    """The error passes, the threads of the database do not stay."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        loaded, database = gateway_parts(tmp_path, f"127.0.0.1:{other.getsockname()[1]}")
        with pytest.raises(OSError, match="in use"):
            await run_gateway(loaded, database, lambda *_: None)
    assert [] == ledger_threads()


async def test_the_simulator_serves_until_it_is_told_to_stop() -> None:
    """It is ready when it says so."""
    urls: asyncio.Queue[str] = asyncio.Queue()
    running = asyncio.create_task(run_simulator(urls.put_nowait, "127.0.0.1", 0))
    url = await urls.get()
    assert await answers(f"{url}/deepseek/models")
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, 20)
    assert not await answers(f"{url}/deepseek/models")


async def test_the_demo_ends_when_its_time_is_over() -> None:
    """For scripts that only want to see it start."""
    folders: list[str] = []
    await run_demo(lambda demo: folders.append(demo.folder), 0.01, port=0, admin_port=0, simulator_port=0)
    assert [False] == [Path(folder).exists() for folder in folders]
