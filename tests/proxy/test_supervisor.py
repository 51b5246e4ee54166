"""Several workers on one port: one gateway to callers and to the operator, whoever of them dies."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import pytest

from billing.money import UNITS_PER_USD
from tests.faults.processes import answer, run
from tests.faults.serving import CREDIT, QUICKLY, SLOWLY, serving

WORKERS = 2


async def children(process_id: int) -> list[int]:
    """The processes that a process has started."""
    found = Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    return [int(one) for one in found]


def fresh() -> aiohttp.ClientSession:
    """A caller whose every call comes on a connection of its own, and so to any worker."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, limit=0))


def statuses(replies: Sequence[tuple[int, str, object]]) -> list[int]:
    """The status of each reply."""
    return [reply[0] for reply in replies]


async def test_the_metrics_of_all_are_one_and_agree_with_the_books(tmp_path: Path, database_url: str) -> None:
    """Calls, tokens and money that the workers counted together are those of the billing log."""
    async with serving(tmp_path, database_url, workers=WORKERS) as gateway, fresh() as session:
        replies = await asyncio.gather(*[gateway.ask(session, QUICKLY) for _ in range(40)])

        assert [200] * 40 == statuses(replies)
        assert WORKERS == listeners(gateway.running.url)
        labels = {"provider": "qwen", "model": "qwen-max", "mode": "standard"}
        spent = await gateway.metric(session, "spend_usd_total", **labels)
        assert 40 == await gateway.metric(session, "requests_total", **labels, outcome="complete", code="200")
        shown = await answer(tmp_path, "account", "show", "a@example.com")
        assert CREDIT / UNITS_PER_USD - spent == pytest.approx(float(shown["balance"]), abs=1e-9)
        async with session.get(f"{gateway.running.told['admin_url']}/readyz") as reply:
            assert (200, {"status": "ready", "workers": WORKERS}) == (reply.status, await reply.json())


def listeners(url: str) -> int:
    """How many sockets listen on the port of an address."""
    port = int(url.rpartition(":")[2])
    return sum(f":{port:04X} 00000000:0000 0A" in line for line in Path("/proc/net/tcp").read_text().splitlines())


async def test_a_worker_that_dies_is_started_again(tmp_path: Path) -> None:
    """Calls go on meanwhile, a refused connection aside, and soon there are as many workers as before."""
    async with serving(tmp_path, workers=WORKERS, shutdown_seconds=20) as gateway, fresh() as session:
        before = await children(gateway.running.process.pid)
        os.kill(before[0], signal.SIGKILL)
        async with asyncio.timeout(60):
            while len(set(await children(gateway.running.process.pid)) - {before[0]}) < WORKERS:
                await asyncio.sleep(0.1)
            while True:
                async with session.get(f"{gateway.running.told['admin_url']}/readyz") as reply:
                    if (await reply.json()).get("workers") == WORKERS:
                        break
                await asyncio.sleep(0.1)
        replies = await asyncio.gather(*[gateway.ask(session, QUICKLY) for _ in range(20)])

        assert [200] * 20 == statuses(replies)
        assert before[1] in await children(gateway.running.process.pid)
    assert "is started again" in gateway.running.log.read_text()


async def test_workers_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    """What is under way is finished and charged; nobody is left behind on the port."""
    async with serving(tmp_path, workers=WORKERS, shutdown_seconds=20) as gateway, fresh() as session:
        before = await children(gateway.running.process.pid)
        stream = asyncio.create_task(gateway.ask(session, SLOWLY, stream=True))
        async with asyncio.timeout(60):
            while not await gateway.metric(session, "streams_open"):
                await asyncio.sleep(0.1)
        gateway.running.process.kill()

        assert "data: [DONE]" in (await stream)[2]
        async with asyncio.timeout(60):
            while any(Path(f"/proc/{process_id}").exists() for process_id in before):
                await asyncio.sleep(0.1)
    assert 0 == (await run(tmp_path, "audit"))[0]


async def test_being_told_to_stop_finishes_every_stream(tmp_path: Path) -> None:
    """S-110: streams that are open run to their end and are charged, new callers are refused, and the exit code is 0."""
    count = 200 if os.environ.get("FIND_TOKEN_EXAM") == "1" else 20
    async with serving(tmp_path, workers=WORKERS, shutdown_seconds=20) as gateway, fresh() as session:
        streams = [asyncio.create_task(gateway.ask(session, SLOWLY, stream=True)) for _ in range(count)]
        async with asyncio.timeout(60):
            while await gateway.metric(session, "streams_open") < count:
                await asyncio.sleep(0.1)
        gateway.running.process.send_signal(signal.SIGTERM)
        replies = await asyncio.gather(*streams)
        code = await gateway.running.died()

        assert (0, [200] * count) == (code, statuses(replies))
        assert all("data: [DONE]" in str(reply[2]) for reply in replies)
        costs = [str(reply[2]).partition("findtoken cost=")[2].split()[0] for reply in replies]
        with pytest.raises(aiohttp.ClientConnectionError):
            await gateway.ask(session, QUICKLY)
        assert 0 == (await run(tmp_path, "audit"))[0]
        shown = await answer(tmp_path, "account", "show", "a@example.com")
        assert CREDIT / UNITS_PER_USD - sum(map(float, costs)) == pytest.approx(float(shown["balance"]), abs=1e-8)
        assert "0" == shown["held"]


async def test_all_take_a_new_version_or_none(tmp_path: Path) -> None:
    """The supervisor passes the order on, and the faults back."""
    async with serving(tmp_path, workers=WORKERS, shutdown_seconds=20) as gateway, fresh() as session:
        settings = gateway.settings.read_text()
        gateway.settings.write_text(settings.replace("[limits]", "[limits]\nconcurrent_requests = -1"))
        refused = await gateway.reload(session)
        gateway.settings.write_text(settings.replace("[limits]", "[limits]\nconcurrent_requests = 7"))
        applied = await gateway.reload(session)

        assert (422, 200) == (refused[0], applied[0])
        assert "concurrent_requests" in refused[1]["error"]
        assert WORKERS == await gateway.metric(session, "config_reloads_total", outcome="applied")


async def test_a_port_that_is_taken_is_told_at_once(tmp_path: Path) -> None:
    """No worker is started in vain."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        (tmp_path / "find-token.toml").write_text(f'[server]\nlisten = "{listen}"\nadmin_listen = "127.0.0.1:0"\n')

        code, _, complained = await run(tmp_path, "serve", "--workers", "2")

    assert 1 == code
    assert "in use" in complained.decode()
