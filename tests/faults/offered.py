"""Calls at a steady pace, whether or not those before have been answered, and what became of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tests.gateway import Reply


@dataclass(frozen=True, slots=True)
class Made:
    """A call and its answer."""

    reply: Reply
    seconds: float


async def offer(call: Callable[[], Awaitable[Reply]], per_second: float, seconds: float) -> list[Made]:
    """Make calls evenly for so long, and wait for all of them."""
    loop = asyncio.get_running_loop()

    async def one() -> Made:
        started = loop.time()
        return Made(await call(), loop.time() - started)

    started, tasks = loop.time(), []
    for number in range(int(per_second * seconds)):
        await asyncio.sleep(max(started + number / per_second - loop.time(), 0))
        tasks.append(loop.create_task(one()))
    return list(await asyncio.gather(*tasks))


def percentile_99(made: Sequence[Made]) -> float:
    """The time that 99 of 100 calls took at most."""
    return sorted(one.seconds for one in made)[-(-99 * len(made) // 100) - 1]
