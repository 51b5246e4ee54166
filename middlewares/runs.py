"""The calls of this process that go on apart from their callers, so that others can attach to them, or come back to them.

A run is the rest of the chain as a task of its own, writing into a recording that its callers follow. While anybody follows,
it goes on. When the last has left it waits for one to come back, for as long as `away_seconds` says, as many as
`AWAY_AT_ONCE` at the same time; then it is cancelled, and the call ends as one whose caller left.

A run is found by its Idempotency-Key until its answer is kept elsewhere, and by its request id, where its stream is
resumable, until five minutes after its end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from middlewares.call import CALL, Call
from middlewares.detached import record
from middlewares.errors import ClientGone, errors
from middlewares.recording import Broken, Reader, Recording, Room

AWAY_AT_ONCE: Final = 64
"""Runs that may go on without a caller; of those beyond, the caller's leaving ends the call at once."""
RESUMABLE_SECONDS: Final = 300.0
"""How long the end of a resumable stream can be asked for."""
KEPT_SECONDS: Final = 24 * 3600.0
"""How long a run stays here whose answer can be kept nowhere else."""

CLOSE_SECONDS: Final = 10.0
"""How long the gateway's end waits for runs to end."""

Name = tuple[str, str]
"""An account and the hash of its Idempotency-Key."""
Ended = Callable[["Run"], Awaitable[bool]]
"""Told of a run that has ended; whether this process must go on to find it by its name."""

logger = logging.getLogger("find-token.runs")


class Run:
    """One call on its own."""

    def __init__(
        self, call: Call, recording: Recording, name: Name | None, fingerprint: str, *, resumable: bool
    ) -> None:
        self.request_id = call.request_id
        """The id of the call, in whichever answer it is told."""
        self.account_id = call.account_id
        self.recording = recording
        self.name = name
        self.fingerprint = fingerprint
        self.resumable = resumable
        self.task: asyncio.Task[None] | None = None
        """Only this knows the call, whose prompt may be large: what is kept of a run does not."""
        self.give_up: asyncio.TimerHandle | None = None
        """Set while nobody follows."""
        self.is_given_up = False
        self.stands = False
        """Whether the call was charged or delivered: the same key must not make it again. Known at its end."""
        self.forget_at: float | None = None
        """When it need not be found any more; None while it runs."""

    @property
    def is_lost(self) -> bool:
        """Whether its answer will never be whole: it was given up, or broke."""
        return self.is_given_up or self.recording.error is not None

    def cancel(self) -> None:
        """End the call as one whose caller left. Its task takes its first step before it is cancelled, and so its last."""
        if self.task is not None and not self.recording.is_over and not self.is_given_up:
            self.is_given_up = True
            self.task.get_loop().call_soon(self.task.cancel)


class Runs:
    """All runs of one process."""

    def __init__(self, away_seconds: float, room: Room | None = None) -> None:
        self.room = room if room is not None else Room()
        self.room.make_room = self._make_room
        self.away_seconds = away_seconds
        """How long a run goes on while nobody follows."""
        self._away: set[Run] = set()
        self._by_name: dict[Name, Run] = {}
        self._streams: dict[str, Run] = {}
        self._running: dict[asyncio.Task[None], Run] = {}
        self._errors = errors()

    def find(self, name: Name) -> Run | None:
        """The run that a key stands for."""
        return self._by_name.get(name)

    def find_stream(self, account_id: str, request_id: str) -> Run | None:
        """An account's resumable stream."""
        run = self._streams.get(request_id)
        return run if run is not None and run.account_id == account_id else None

    def start(
        self,
        request: web.Request,
        handler: Handler,
        *,
        name: Name | None = None,
        fingerprint: str = "",
        resumable: bool = False,
        on_end: Ended | None = None,
    ) -> Run:
        """Let ``handler`` answer ``request`` in a task of its own. To be followed at once: nobody looks after it before."""
        run = Run(request[CALL], Recording(self.room), name, fingerprint, resumable=resumable)
        run.recording.on_left = lambda: self._left(run)
        if name is not None:
            self._by_name[name] = run
        if resumable:
            self._streams[run.request_id] = run
        run.task = asyncio.get_running_loop().create_task(self._perform(run, request, handler, on_end))
        self._running[run.task] = run
        run.task.add_done_callback(self._running.pop)
        return run

    def follow(self, run: Run, event: int = 0) -> Reader:
        """A reader of a run's answer from behind an event; 0 is the start. While it reads, the run goes on.

        Raises BeginningGone and EventUnknown.
        """
        reader = run.recording.read_from(event)
        self._stop_waiting(run)
        return reader

    def forget_old(self) -> None:
        """Let go of what need not be found any more."""
        now = asyncio.get_running_loop().time()
        for run in self._finished():
            if run.forget_at is not None and run.forget_at <= now:
                self._forget(run)

    async def close(self) -> None:
        """End what still runs; each call is settled as one whose caller left. What has ended gets the time to be kept."""
        for run in self._running.values():
            run.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=CLOSE_SECONDS)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _perform(self, run: Run, request: web.Request, handler: Handler, on_end: Ended | None) -> None:
        recording, call = run.recording, request[CALL]
        # Errors become answers here, once, so that all who follow are told the same.
        answering = partial(self._errors, handler=handler)
        try:
            await record(request, answering, recording, numbered=run.resumable)
            failed = call.answer is not None and call.answer.failure is not None
            # A stream that was not settled when it ended has ended with an error, too.
            recording.end(closes=failed or (call.stream is not None and call.cost is None))
        except asyncio.CancelledError:
            recording.fail(ClientGone())
        except Exception as error:
            if not isinstance(error, Broken):
                logger.exception("the answer of %s could not be recorded", run.request_id)
            recording.fail(error)
        self._stop_waiting(run)
        run.stands = _stands(call, recording)
        await self._end(run, on_end)

    async def _end(self, run: Run, on_end: Ended | None) -> None:
        """Decide how long the run can still be found."""
        if run.name is not None and not run.stands:
            # The next one who comes with the key makes a call of their own, as soon as the claim is given back.
            self._by_name.pop(run.name, None)
        stays = on_end is not None and await on_end(run)
        lifetime = KEPT_SECONDS if stays else RESUMABLE_SECONDS if run.resumable else 0.0
        run.forget_at = asyncio.get_running_loop().time() + lifetime
        if not stays and run.name is not None and self._by_name.get(run.name) is run:
            del self._by_name[run.name]
        if not lifetime:
            self._forget(run)

    def _left(self, run: Run) -> None:
        """The last who followed has gone."""
        if run.recording.is_over or run.is_given_up:
            return
        if not self.away_seconds or len(self._away) >= AWAY_AT_ONCE or not run.recording.is_whole:
            run.cancel()
            return
        self._away.add(run)
        run.give_up = asyncio.get_running_loop().call_later(self.away_seconds, self._give_up, run)

    def _give_up(self, run: Run) -> None:
        self._stop_waiting(run)
        run.cancel()

    def _stop_waiting(self, run: Run) -> None:
        """Somebody has come back, or it is too late."""
        self._away.discard(run)
        if run.give_up is not None:
            run.give_up.cancel()
            run.give_up = None

    def _finished(self) -> list[Run]:
        """What has ended and is still found, the oldest first."""
        found = {*self._by_name.values(), *self._streams.values()}
        return sorted((run for run in found if run.forget_at is not None), key=lambda run: run.forget_at or 0)

    def _make_room(self) -> None:
        """The room is full: finished recordings go first, the oldest of them before all."""
        for run in self._finished():
            if not self.room.is_full:
                return
            if not run.recording.readers:
                logger.info("the recording of %s is dropped early: there is no room for it", run.request_id)
                self._forget(run)

    def _forget(self, run: Run) -> None:
        """Let go of a run that has ended. A resumable stream can be found until its time is over, and then says that its
        beginning is gone."""
        if run.name is not None and self._by_name.get(run.name) is run:
            del self._by_name[run.name]
        if run.forget_at is not None and run.forget_at <= asyncio.get_running_loop().time():
            self._streams.pop(run.request_id, None)
        run.recording.on_left = run.recording.forget
        if not run.recording.readers:
            run.recording.forget()


def _stands(call: Call, recording: Recording) -> bool:
    if call.bill is None or not call.bill.payable:
        return False
    # A plain answer that was refused at the end was withheld and is free; a stream had been delivered by then.
    return recording.head is None or recording.head.status < 400 or call.stream is not None
