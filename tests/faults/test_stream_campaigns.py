"""Many streams on one process: every word arrives, in order and in time; and when all callers vanish, nothing is left over.

The gateway is a process of its own; upstream and callers are in this one. FIND_TOKEN_EXAM=1 makes it as many and as long as
it is promised for, and looks at the clock as well; otherwise it is a small crowd and time is only waited for.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.alone import Alone, alone
from tests.faults.crowd import Crowd, Listener, percentile
from tests.faults.processes import PATIENT

EXAM = os.environ.get("FIND_TOKEN_EXAM") == "1"
STREAMS = 1000 if EXAM else 60
SECONDS = 60 if EXAM else 1
WORDS_PER_SECOND = 5
VANISHING = 200 if EXAM else 40
LEFT_SECONDS = 2.0
SETTLED_SECONDS = 10.0
BLOCKED_SECONDS = 0.05
GAP_SECONDS = 0.1
MEMORY_BYTES = 300 * 1024 * 1024


@pytest.fixture
async def crowd() -> AsyncIterator[Crowd]:
    """An upstream that speaks when it is told to."""
    started = await Crowd().start()
    yield started
    await started.close()


async def gather_crowd(gateway: Alone, crowd: Crowd, count: int) -> list[Listener]:
    """So many callers, all of them with a stream that has begun."""
    requests = [gateway.request(f"stream {number}", stream=True) for number in range(count)]
    listeners = await crowd.listen(gateway.address, requests)
    async with asyncio.timeout(60):
        while len(crowd.speakers) < count:
            await asyncio.sleep(0.01)
        await crowd.speak(1, 0.2)
        while not all(listener.heard for listener in listeners):
            await asyncio.sleep(0.01)
    return listeners


async def test_many_open_streams(tmp_path: Path, crowd: Crowd) -> None:
    """None lost, none reordered, by a hash for each stream; in the exam also the added gaps and the memory."""
    async with alone(tmp_path, crowd.url, routing=PATIENT) as gateway:
        listeners = await gather_crowd(gateway, crowd, STREAMS)
        for listener in listeners:
            listener.late.clear()
            listener.added_gaps.clear()
        await gateway.worst()
        await crowd.speak(SECONDS * WORDS_PER_SECOND, 1 / WORDS_PER_SECOND)
        worst = await gateway.worst()
        memory = gateway.memory("VmHWM")
        crowd.finish()
        async with asyncio.timeout(60):
            while not all(listener.is_done for listener in listeners):
                await asyncio.sleep(0.01)
        late = [seconds for listener in listeners for seconds in listener.late]
        gaps = [seconds for listener in listeners for seconds in listener.added_gaps]
        print(
            f"{len(listeners)} streams, {len(late)} words: on their way p50 {percentile(late, 0.5) * 1e3:.1f} ms, "
            f"p99 {percentile(late, 0.99) * 1e3:.1f} ms; added gap p99 {percentile(gaps, 0.99) * 1e3:.1f} ms; at most "
            f"{memory / 2**20:.0f} MiB; loop late by {worst['late_seconds'] * 1e3:.0f} ms, busy for "
            f"{worst['busy_seconds'] * 1e3:.0f} ms"
        )

        expected = list(range(SECONDS * WORDS_PER_SECOND + 1))
        for number, listener in enumerate(listeners):
            assert expected == listener.heard, number
            assert crowd.speakers[number].digest.digest() == listener.digest.digest(), number
        assert memory < MEMORY_BYTES
        if EXAM:
            assert percentile(gaps, 0.99) <= GAP_SECONDS
        await settled(gateway, STREAMS)
        assert {"complete": STREAMS} == Counter(row.billing_outcome for row in gateway.rows())
        gateway.prove()


async def test_callers_who_vanish_all_at_once(tmp_path: Path, crowd: Crowd) -> None:
    """Every upstream is left within two seconds and every call settled within ten, and meanwhile the gateway goes on."""
    async with alone(tmp_path, crowd.url, routing=PATIENT) as gateway:
        listeners = await gather_crowd(gateway, crowd, VANISHING)
        await crowd.speak(WORDS_PER_SECOND, 1 / WORDS_PER_SECOND)
        await gateway.worst()
        speaking = asyncio.create_task(crowd.speak(2 * WORDS_PER_SECOND, 1 / WORDS_PER_SECOND))
        gone_at = time.monotonic()
        for listener in listeners:
            listener.vanish()
        async with asyncio.timeout(LEFT_SECONDS):
            while any(speaker.transport is not None for speaker in crowd.speakers.values()):
                await asyncio.sleep(0.005)
        left = max(speaker.closed_at for speaker in crowd.speakers.values()) - gone_at
        await settled(gateway, VANISHING)
        settling = time.monotonic() - gone_at
        worst = await gateway.worst()
        await speaking
        print(
            f"{VANISHING} callers gone: the last upstream left after {left * 1e3:.0f} ms, all settled after "
            f"{settling * 1e3:.0f} ms, loop late by {worst['late_seconds'] * 1e3:.0f} ms, busy for "
            f"{worst['busy_seconds'] * 1e3:.0f} ms"
        )

        rows = gateway.rows()
        assert {"client_left": VANISHING} == Counter(row.billing_outcome for row in rows)
        assert all(row.cost > 0 for row in rows)
        if EXAM:
            assert worst["busy_seconds"] < BLOCKED_SECONDS
        gateway.prove()


async def settled(gateway: Alone, count: int) -> None:
    """Wait until so many calls are in the books and nothing is held."""
    async with asyncio.timeout(SETTLED_SECONDS):
        while gateway.held() or len(gateway.rows()) < count:
            await asyncio.sleep(0.02)
