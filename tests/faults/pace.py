"""Calls at a steady pace, whatever becomes of them, and upstreams that count how many are with them at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.fakes.raw_upstream import Answer, RawUpstream, Received
from tests.gateway import Gateway, Reply

EXAM = os.environ.get("FIND_TOKEN_EXAM") == "1"
"""Whether true lengths are run instead of short forms."""


@dataclass(frozen=True, slots=True)
class Made:
    """One call: when it was to begin, began and ended, on the event loop's clock, and its answer."""

    due: float
    began: float
    ended: float
    reply: Reply

    @property
    def seconds(self) -> float:
        """How long its caller waited."""
        return self.ended - self.began


async def steadily(gateway: Gateway, per_second: float, seconds: float, **fields: Any) -> list[Made]:
    """So many calls a second for so long, each at its time even if those before it have no answer yet; in order of beginning."""
    loop = asyncio.get_running_loop()
    start = loop.time()

    async def one(number: int) -> Made:
        due = start + number / per_second
        await asyncio.sleep(max(0.0, due - loop.time()))
        began = loop.time()
        reply = await gateway.chat(**fields)
        return Made(due, began, loop.time(), reply)

    return list(await asyncio.gather(*(one(number) for number in range(round(per_second * seconds)))))


def not_as(status: int, made: list[Made]) -> list[str]:
    """What every call said that was not answered with ``status``: when it began after the first, how long it took, its words.

    It tells as well by how much the loop was late to begin it: where that is seconds, the machine had no time for this test,
    whose caller, gateway and upstreams share one loop.
    """
    first = made[0].began if made else 0.0
    return [
        f"{one.began - first:.2f} s ({one.began - one.due:.2f} s late), for {one.seconds:.2f} s: "
        f"{one.reply.status} {one.reply.body[:300]!r}"
        for one in made
        if one.reply.status != status
    ]


class Counted:
    """An upstream's answers, each given after a moment, with the most that were under way at once since ``forget``."""

    def __init__(self, upstream: RawUpstream, answer: Callable[[Received], Answer], *, after_seconds: float) -> None:
        self.answer = answer
        self.most = 0
        self._under_way: list[Received] = []
        self._upstream = upstream
        upstream.otherwise = lambda request: [after_seconds, *self._note(request)]

    def forget(self) -> None:
        """Count anew from those that come from now on."""
        self.most = 0
        self._under_way.clear()

    def _note(self, request: Received) -> Answer:
        self._under_way = [other for other in self._under_way if not other.answered.is_set()]
        self._under_way.append(request)
        self.most = max(self.most, len(self._under_way))
        return self.answer(request)


def arrived(upstream: RawUpstream, since: float, until: float = float("inf")) -> int:
    """How many requests came to an upstream in that time."""
    return sum(since <= request.arrived_at < until for request in upstream.requests)
