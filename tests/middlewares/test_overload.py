"""A process that cannot keep up says so at once; a late moment is no overload, and when it is over all is as before."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from middlewares import overload
from middlewares.overload import LONGEST_LEDGER_QUEUE, LOOKS, Overload
from tests.fakes.raw_upstream import RawUpstream, completion, http
from tests.gateway import Gateway, http_request


def test_what_is_too_much() -> None:
    """Calls under way, jobs that wait for the books, a loop that is late again and again."""
    waiting = 0
    state = Overload(lambda: waiting)
    state.allow(2, 0.25)
    assert state.reason() is None
    state.calls = 2
    assert "calls" == state.reason()
    state.calls = 1
    waiting = LONGEST_LEDGER_QUEUE + 1
    assert "ledger" == state.reason()
    waiting = 0
    state._lags.extend([9.0] * (LOOKS - 1))
    assert state.reason() is None, "one look of the last few was in time"
    state._lags.append(0.26)
    assert "lag" == state.reason()
    state._lags.append(0.0)
    assert state.reason() is None


async def test_the_loop_is_watched(monkeypatch: Any) -> None:
    """How late it is is seen from within."""
    monkeypatch.setattr(overload, "LOOK_SECONDS", 0.001)
    state = Overload(lambda: 0)
    state.allow(10, 0.02)
    watching = asyncio.create_task(state.watch())
    async with asyncio.timeout(10):
        while state.reason() is None:
            time.sleep(0.05)
            await asyncio.sleep(0)
        late = state.reason()
        while state.reason() is not None:
            await asyncio.sleep(0.001)
    watching.cancel()
    assert "lag" == late


async def test_one_call_too_many_is_refused_before_its_body_is_read(start_gateway: Any, alpha: RawUpstream) -> None:
    """503 with `Retry-After`, whoever asks and however slow his body is; who is done makes room."""
    gateway: Gateway = await start_gateway(server={"max_calls": 1})
    gate = asyncio.Event()
    alpha.next([gate, http(completion())])
    running = asyncio.create_task(gateway.chat())
    await alpha.received(1)
    refused = await gateway.chat()
    slow = await gateway.dial_raw(http_request(b"x" * 50, gateway.key).removesuffix(b"x" * 40))
    head = await slow.read_until(b"\r\n")

    assert (503, "overloaded") == refused.code
    assert "1" == refused.headers["Retry-After"]
    assert b"HTTP/1.1 503" == head[:12]
    assert 2 == await gateway.metric("shed_total", reason="calls")
    gate.set()
    assert 200 == (await running).status
    assert 200 == (await gateway.chat()).status
    gateway.prove()
