"""Many calls of every kind, one after another: memory, files, connections and holds are in the end what they were.

The gateway is a process of its own; upstream and callers are in this one. FIND_TOKEN_EXAM=1 makes fifty thousand calls.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.raw_upstream import (
    DONE,
    STREAM_END,
    STREAM_HEAD,
    USAGE,
    Answer,
    RawUpstream,
    Received,
    chunk,
    completion,
    failure,
    http,
    piece,
    said,
)
from tests.faults.alone import Alone, alone
from tests.faults.pace import EXAM

SEEDS = (1, 2, 3)
WARM, CALLS = (5_000, 15_000) if EXAM else (100, 100)
"""Calls before memory is looked at, and of each seed after it."""
AT_ONCE = 25
GROWTH_BYTES = 10 * 1024 * 1024
LEFT_OVER = 5
IDLE_SECONDS = 60
ROUTING = {"retries": 0, "probe_seconds": 0}

pytestmark = pytest.mark.timeout(0 if EXAM else 120)


def answering(dice: random.Random) -> Callable[[Received], Answer]:
    """An upstream that fails one call of twenty, in one of four ways, and takes its time with streams."""

    def answer(request: Received) -> Answer:
        if dice.random() < 0.05:
            return dice.choice([failure(400), failure(429), failure(500), [http(b"<html>", kind="text/html")]])
        if request.json.get("stream") is not True:
            return [http(completion())]
        words: list[bytes | float] = []
        for number in range(dice.randint(1, 6)):
            words += [piece(said(f"word {number} ")), 0.005]
        return [STREAM_HEAD, *words, piece(chunk({}, finish="stop") + chunk(None, usage=USAGE) + DONE), STREAM_END]

    return answer


async def one_call(gateway: Alone, dice: random.Random) -> str:
    """A call: half are streams, a quarter are left before their end."""
    streamed, leaves = dice.random() < 0.5, dice.random() < 0.25
    caller = await gateway.dial("p" * dice.randint(1, 2000), stream=streamed)
    try:
        if leaves and not streamed:
            await asyncio.sleep(dice.uniform(0, 0.01))
            return "left"
        head = await caller.read_until(b"\r\n\r\n")
        status = head.split()[1].decode()
        if leaves:
            return "left"
        if streamed and status == "200":
            await caller.read_until(b"0\r\n\r\n")
        return status
    finally:
        caller.hang_up(by_reset=leaves)


async def many_calls(gateway: Alone, count: int, dice: random.Random) -> Counter[str]:
    """So many, some at once, until nothing is held any more."""
    ended: Counter[str] = Counter()
    left = iter(range(count))

    async def one_after_another() -> None:
        for _ in left:
            ended[await one_call(gateway, dice)] += 1

    await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))
    async with asyncio.timeout(30):
        while gateway.held():
            await asyncio.sleep(0.05)
    return ended


def open_files(gateway: Alone) -> int:
    """Files and sockets that the process has open."""
    return len([*Path(f"/proc/{gateway.running.process.pid}/fd").iterdir()])


async def test_nothing_grows(tmp_path: Path, alpha: RawUpstream) -> None:
    """S-107: half streams, a quarter abandoned, one of twenty failing upstream; three seeds one after another. Memory stays
    within ten megabytes of what it was after the first calls; files and sockets are back within a minute; the books agree."""
    async with alone(tmp_path, alpha.url, routing=ROUTING) as gateway:
        first = open_files(gateway)
        dice = random.Random(0)
        alpha.otherwise = answering(dice)
        await many_calls(gateway, WARM, dice)
        before = gateway.memory()
        for seed in SEEDS:
            dice = random.Random(seed)
            alpha.otherwise = answering(dice)
            ended = await many_calls(gateway, CALLS, dice)
            print(f"seed {seed}: {dict(ended)}, {gateway.memory() - before} bytes more, {open_files(gateway)} files")
            assert CALLS == ended.total()
            assert min(ended["200"], ended["left"]) >= CALLS // 8
            assert gateway.memory() - before <= GROWTH_BYTES
            alpha.requests.clear()
        if EXAM:
            async with asyncio.timeout(IDLE_SECONDS):
                while open_files(gateway) > first + LEFT_OVER:
                    await asyncio.sleep(0.5)
        else:
            assert open_files(gateway) <= first + 2 * AT_ONCE + LEFT_OVER, "what a burst needs, and no more"
        gateway.prove()
