"""Calls that last longer than a gateway that was told to stop waits for them, and those of one that is told so twice."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import proxy.stopping
from billing.money import UNITS_PER_USD, parse_usd
from tests.fakes.raw_upstream import HANG, STREAM_HEAD, RawUpstream, piece, said
from tests.faults.pace import EXAM
from tests.faults.processes import answer
from tests.faults.serving import CREDIT, serving
from tests.gateway import Gateway, Reply

LONG = 'pieces=400 SIM:{"kind": "none", "pieces_per_second": 20}'
"""Twenty seconds of content."""
STREAMS = 200 if EXAM else 3
WITHIN_SECONDS = 12.0
"""Before any of these streams would have ended by itself."""


async def test_what_lasts_too_long_is_told_and_settled(
    start_gateway: Any, alpha: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S-110: streams that are silent or going on end with an error event and are charged for what came, whoever waits for a
    plain answer is cut off and pays nothing; and none of it takes a multiple of the time that was set."""
    monkeypatch.setattr(proxy.stopping, "SETTLE_SECONDS", 0.3)
    gateway: Gateway = await start_gateway(server={"shutdown_seconds": 0.3})
    going_on = [step for number in range(200) for step in (piece(said(f"{number} ")), 0.02)]
    alpha.next([STREAM_HEAD, piece(said("Hello")), HANG], [STREAM_HEAD, *going_on, HANG], [HANG])
    calls = []
    for number, streamed in enumerate((True, True, False), 1):
        calls.append(asyncio.create_task(gateway.chat(stream=streamed)))
        await alpha.received(number)
    await asyncio.sleep(0.2)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await gateway.process.close()
    took = loop.time() - began
    results = await asyncio.gather(*calls, return_exceptions=True)
    streams = [one for one in results if isinstance(one, Reply)]

    assert 0.3 <= took < 4
    assert 2 == len(streams)
    assert isinstance(results[2], aiohttp.ClientConnectionError)
    for reply in streams:
        error = reply.chunks[-1]["error"]
        assert ("overloaded", "error") == (error["code"], reply.chunks[-1]["choices"][0]["finish_reason"])
        assert "[DONE]" not in reply.events
    costs = sorted(parse_usd(reply.bill["cost"]) for reply in streams)
    assert 0 < costs[0] < costs[1]
    rows = gateway.rows()
    assert [0, *costs] == sorted(row.cost for row in rows)
    assert {"client_left", "client_left_before_first_byte"} == {row.billing_outcome for row in rows}
    gateway.prove()


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("shutdown_seconds", "signals"), [(1, 1), (60, 2)] if EXAM else [(60, 2)])
async def test_a_stream_that_is_too_long_ends_with_an_error_and_is_charged_for_its_part(
    shutdown_seconds: int, signals: int, tmp_path: Path
) -> None:
    """S-110: longer than the grace, or when a second SIGTERM comes: not ready at once, an error event and no end that looks
    complete, the part that came is charged, nothing stays held, and the exit code is 0."""
    async with (
        serving(tmp_path, shutdown_seconds=shutdown_seconds) as gateway,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        fields = {"stream": True, "max_tokens": 500}
        calls = [asyncio.create_task(gateway.ask(session, LONG, **fields)) for _ in range(STREAMS)]
        async with asyncio.timeout(30):
            while await gateway.metric(session, "streams_open") < STREAMS:
                await asyncio.sleep(0.05)
        began = time.monotonic()
        gateway.running.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        async with session.get(gateway.running.told["admin_url"] + "/readyz") as ready:
            assert 503 == ready.status
        for _ in range(signals - 1):
            gateway.running.process.send_signal(signal.SIGTERM)
        replies = await asyncio.gather(*calls)
        code = await gateway.running.died()
        took = time.monotonic() - began

    assert (0, True) == (code, took < WITHIN_SECONDS), gateway.running.log.read_text()
    bodies = [str(body) for _, _, body in replies]
    assert [True] * STREAMS == ['"finish_reason": "error"' in body for body in bodies]
    assert ["data: [DONE]" in body for body in bodies] == [False] * STREAMS
    costs = [round(float(body.partition("findtoken cost=")[2].split()[0]) * UNITS_PER_USD) for body in bodies]
    assert min(costs) > 0
    assert (await answer(tmp_path, "audit"))["ok"]
    shown = await answer(tmp_path, "account", "show", "a@example.com")
    assert ("0", CREDIT - sum(costs)) == (shown["held"], round(float(shown["balance"]) * UNITS_PER_USD))
