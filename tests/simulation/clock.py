"""Virtual time and processes that can die: an event loop that never waits, and the clocks and dice of the gateway in its hands.

The loop jumps to the next timer as soon as nothing is ready. Whatever a process does runs in a context that names it, so a
dead process simply is not run any more: no `finally`, no `except`, as after kill -9.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import Context, ContextVar, copy_context
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import middlewares.correlate
import middlewares.observe
import middlewares.routing
import storage.connection
import storage.database
import storage.identifiers
import storage.key_changes
import storage.keys
import storage.revision
import storage.tokens
import storage.worker

START = datetime(2026, 11, 27, 12, tzinfo=UTC)
CLOCKED = (
    middlewares.correlate,
    storage.connection,
    storage.database,
    storage.identifiers,
    storage.key_changes,
    storage.keys,
    storage.revision,
    storage.worker,
)
"""The modules on the way of money that read `time`; a test compares this list with their source."""
DICED = (storage.identifiers, storage.keys, storage.tokens)
"""Those that ask for `secrets`."""

_current: ContextVar[Process | None] = ContextVar("process", default=None)


class Died(BaseException):
    """The process is dead from this statement on. No `except Exception` of the gateway sees it."""


class Process:
    """What dies at once: its context, and what was to run in it when it died."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead_at: float | None = None
        self.frozen: list[asyncio.Handle] = []
        self.context: Context = copy_context()
        self.context.run(_current.set, self)

    @property
    def dead(self) -> bool:
        """Whether it died."""
        return self.dead_at is not None


class _Selector:
    """Nothing ever arrives from outside; waiting is jumping."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("the simulation waits for something that nothing will bring")
        if timeout > 0:
            self._loop.jump()
        return []

    def close(self) -> None:
        """Nothing is open."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop whose seconds take no time."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._clock_resolution = 1e-9
        self._selector = _Selector(self)
        self.steps = 0

    def time(self) -> float:
        """Seconds since the simulation began."""
        return self._now

    def jump(self) -> None:
        """To the next timer."""
        self._now = max(self._now, self._scheduled[0].when())  # type: ignore[attr-defined]

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps."""

    def _run_once(self) -> None:
        self.steps += 1
        ready = self._ready  # type: ignore[attr-defined]
        for _ in range(len(ready)):
            handle = ready.popleft()
            process = handle._context.get(_current)
            if process is not None and process.dead:
                process.frozen.append(handle)
            else:
                ready.append(handle)
        super()._run_once()  # type: ignore[misc]

    def call_in(self, process: Process, work: Callable[..., Any], *arguments: Any) -> None:
        """Something reaches a process from outside, now; nothing reaches a dead one."""
        if not process.dead:
            process.context.copy().run(work, *arguments)


class _Dice:
    """`secrets`, `os.urandom` and `random`, all from the seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def token_hex(self, length: int) -> str:
        return self._random.randbytes(length).hex()

    def request_digits(self) -> str:
        return self.token_hex(8)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)


class _Time:
    """The module `time` as far as the gateway reads it."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.monotonic = loop.time

    def time_ns(self) -> int:
        return int(START.timestamp()) * 10**9 + round(self.monotonic() * 10**9)


@contextmanager
def simulated(loop: VirtualLoop, seed: int) -> Iterator[None]:
    """Every clock and every die of the gateway's money path comes from the loop and the seed: the one place for that."""

    class Now(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return START + timedelta(microseconds=round(loop.time() * 1e6))

    dice, clock = _Dice(seed), _Time(loop)
    with ExitStack() as stack:
        for module in CLOCKED:
            stack.enter_context(mock.patch.object(module, "time", clock))
        for module in DICED:
            stack.enter_context(mock.patch.object(module, "secrets", dice))
        stack.enter_context(mock.patch.object(middlewares.routing, "random", dice))
        stack.enter_context(mock.patch.object(middlewares.observe, "datetime", Now))
        stack.enter_context(mock.patch.object(middlewares.correlate, "_random_hex", dice.request_digits))
        # Revocation is not money: asked less often, a seed costs half.
        stack.enter_context(mock.patch.object(storage.revision, "POLL_SECONDS", 2.0))
        yield
