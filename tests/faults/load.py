"""What callers do while a gateway is about to die: calls of every kind, and some who leave while the books are locked."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from tests.fakes.book_lock import AnyBookLock
from tests.faults.crash_points import LEFT, NOBODY, REFUSED
from tests.gateway import Caller, http_request
from tests.journeys.mix import Arrivals, Planned, Told, make

KINDS = ("plain", "streamed", "byok plain", "byok streamed", "hopeless", "byok refused", "streamed", "plain")
REFUSED_KINDS = ("hopeless", "hopeless", "hopeless", "plain", "hopeless", "hopeless", "hopeless", "streamed")
"""So many that while one probes the circuit others are refused, however slow the machine is."""
SLOW_KINDS = ("late", "byok streamed", "late", "streamed", "byok refused")
CALLS = 200
CONCURRENCY = 4
SLOW_CONCURRENCY = 1
LEAVERS = 20
LOCKED_SECONDS = 0.5
"""Long enough for a call to come to the books, and too short for anybody to give up."""


def kinds_for(operation: str) -> Sequence[str]:
    """The kinds of a load in which a point is reached on behalf of that operation."""
    if operation == LEFT:
        return ("late",) * LEAVERS + KINDS  # So that the books can be locked before the answer is there.
    return {NOBODY: SLOW_KINDS, REFUSED: REFUSED_KINDS}.get(operation, KINDS)


async def make_until_death(
    url: str, planned: Sequence[Planned], arrivals: Arrivals, database_url: str, operation: str
) -> list[Told]:
    """Make calls until nobody listens any more; what each caller was told, nothing where it never came to a call."""
    leavers, others = (planned[:LEAVERS], planned[LEAVERS:]) if operation == LEFT else ((), planned)
    concurrency = SLOW_CONCURRENCY if operation == NOBODY else CONCURRENCY
    if operation == LEFT:
        leave = asyncio.create_task(_leave_in_turn(url, leavers, arrivals, AnyBookLock(database_url)))
        told = await make(url, others, arrivals, concurrency=1)
        await leave
    else:
        told = await make(url, others, arrivals, concurrency=concurrency)
    made = {one.planned for one in told}
    return told + [Told(call, b"") for call in planned if call not in made]


async def _leave_in_turn(url: str, planned: Iterable[Planned], arrivals: Arrivals, lock: AnyBookLock) -> None:
    """Callers who leave while their hold is being written, and while their bill is."""
    leave: Iterable[Callable[..., object]] = itertools.cycle((_leave_while_settling, _leave_while_holding))
    with suppress(ConnectionError):  # Nobody listens any more.
        for call, how in zip(planned, leave, strict=False):
            try:
                await how(url, call, arrivals, lock)  # type: ignore[misc]
            finally:
                lock.release()
            await asyncio.sleep(0.1)


async def _leave_while_settling(url: str, call: Planned, arrivals: Arrivals, lock: AnyBookLock) -> None:
    caller = await _ask(url, call)
    async with asyncio.timeout(10):
        while not arrivals[call.number]:
            if caller.reader.at_eof() or caller.reader.exception() is not None:
                return  # The gateway is dead.
            await asyncio.sleep(0.005)
    lock.take()
    await asyncio.sleep(LOCKED_SECONDS)
    caller.hang_up(by_reset=call.by_reset)
    await asyncio.sleep(0.1)


async def _leave_while_holding(url: str, call: Planned, arrivals: Arrivals, lock: AnyBookLock) -> None:
    lock.take()
    caller = await _ask(url, call)
    await asyncio.sleep(LOCKED_SECONDS)
    caller.hang_up(by_reset=call.by_reset)
    await asyncio.sleep(0.1)


async def _ask(url: str, call: Planned) -> Caller:
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(http_request(call.body, call.key, head="Connection: close\r\n"))
    return Caller(reader, writer)
