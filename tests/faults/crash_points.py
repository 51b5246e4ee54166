"""Every point at which a gateway is made to die, and how its process is made to die there.

Production knows nothing of this: the points are hung into a process's own functions from outside, before it begins to
work (tests/faults/dying.py). So they cost nothing where every instruction counts, and nobody can switch them on. The
price is that names of functions stand here; where one of them is gone, the process refuses to start, and where one is no
longer on the way of a call, a test misses its point.

A point is reached on behalf of an operation: the call, the command or the chore that stands there just then. Points
inside a batch are reached once for each operation in it.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

Reached = Callable[[str, str], None]
"""Told the point and the operation whenever a point is reached."""

CALLS = ("plain", "streamed", "byok")
STREAMS = ("streamed", "byok")
LEFT = "left"
"""A call whose caller left while its books were being written: it is ended in the background."""
REFUSED = "refused"
"""A call that was held for and that no provider was asked for: its circuit was open."""
NOBODY = "gateway"
"""No call: the gateway's own chores."""
COMMANDS = ("credit", "key")


@dataclass(frozen=True, slots=True)
class Point:
    """What has been done when the process dies here, and on whose behalf it may."""

    sentence: str
    operations: tuple[str, ...]


def _batch(step: str, does: str, operations: tuple[str, ...]) -> dict[str, Point]:
    return {
        f"{step}:before-begin": Point(f"The job that {does} has been taken from the queue.", operations),
        f"{step}:after-begin": Point(f"The transaction that {does} has begun and is empty.", operations),
        f"{step}:before-commit": Point(f"All is written that {does}, and nothing of it is durable.", operations),
        f"{step}:after-commit": Point(f"It is durable what {does}, and nobody has been told.", operations),
    }


POINTS: Mapping[str, Point] = {
    "hold:before-submit": Point("The price of a call is known, and nothing has been asked of the books.", CALLS),
    **_batch("hold", "holds", CALLS),
    "hold:answered": Point("The hold stands, and no provider has been chosen.", CALLS),
    "byok:ticket-taken": Point("One of the month's free calls is taken, in a transaction under way.", (NOBODY,)),
    "byok:ticket-returned": Point("It is given back, in a transaction under way.", (NOBODY,)),
    "attempt:before-open": Point("The request to the provider is shaped and not sent.", CALLS),
    "attempt:request-sent": Point("The request has left, and no answer has come.", CALLS),
    "attempt:head-came": Point("Status and headers of the provider's answer are there.", CALLS),
    "stream:first-byte": Point("The caller has been sent the first content.", STREAMS),
    "stream:midway": Point("The caller has been sent some of the content.", STREAMS),
    "answer:whole": Point("The provider's answer is complete, and nothing is settled.", CALLS),
    "settle:before-submit": Point("The bill is made, and nothing has been asked of the books.", (*CALLS, LEFT)),
    **_batch("settle", "settles", (*CALLS, LEFT)),
    "settle:answered": Point("The charge stands, and the last bytes have not left.", (*CALLS, LEFT)),
    "settle-in-background:asked": Point("The caller left while the books were asked to settle.", (LEFT,)),
    "settle-in-background:scheduled": Point("Settling goes on without a waiter.", (LEFT,)),
    "answer:before-last-bytes": Point("The charge stands, and the caller is about to be told of it.", CALLS),
    "answer:after-last-bytes": Point("The caller has been told everything.", CALLS),
    "release:before-submit": Point("There is nothing to pay, and the hold stands.", (REFUSED, LEFT)),
    **_batch("release", "releases", (REFUSED, LEFT)),
    "release:answered": Point("The hold is gone, and the caller has not been told.", (REFUSED, LEFT)),
    "release-in-background:asked": Point("A hold stands for a caller who has left.", (LEFT,)),
    "release-in-background:scheduled": Point("Releasing goes on without a waiter.", (LEFT,)),
    "heartbeat:before-submit": Point("It is time to say that this process lives.", (NOBODY,)),
    **_batch("heartbeat", "says that this process lives", (NOBODY,)),
    "heartbeat:answered": Point("It has been said that this process lives.", (NOBODY,)),
    "sweep:before": Point("It is time to look for the holds of the dead.", (NOBODY,)),
    **_batch("orphan", "gives back one hold of a dead process, out of several", (NOBODY,)),
    **_batch("bury", "forgets dead processes", (NOBODY,)),
    "sweep:after": Point("The holds of the dead are given back.", (NOBODY,)),
    **_batch("command", "an operator's command writes", COMMANDS),
    "migrate:before-one": Point("A migration is about to begin; the schema is the one before it.", ("migrate",)),
    "migrate:after-one": Point("A migration is durable, and others are to come.", ("migrate",)),
}
"""The closed list; docs/testing.md describes its groups."""

CASES: Sequence[tuple[str, str]] = [
    (name, operation) for name, point in POINTS.items() for operation in point.operations
]
"""Every point with every operation that it can be reached for."""

_operation: ContextVar[str] = ContextVar("operation", default="")
"""On whose behalf the task at hand works; empty before a call is held for."""
_marks = threading.local()
"""What the transaction of this thread is about: steps and operations."""
_left: set[str] = set()
"""Request ids of calls that are ended in the background."""


def install(reached: Reached, command: str) -> None:
    """Hang every point into this process, which runs `command` (serve, credit, key, migrate)."""
    if command == "migrate":
        _hang_into_migrations(reached)
        return
    if command in COMMANDS:
        _marks.marks = [("command", command)]
    _hang_into_transactions(reached)
    _hang_into_ledger(reached)
    _hang_into_attempts(reached)
    _hang_into_answers(reached)


def _around(
    owner: Any,
    name: str,
    reached: Reached,
    *,
    before: str = "",
    after: str = "",
    operation: Callable[..., str] = lambda *_, **__: _operation.get(),
) -> None:
    """Reach a point before and after each call of a function; raises AttributeError where it is gone."""
    function = getattr(owner, name)

    def reach(point: str, said: str) -> None:
        if point and said:
            reached(point, said)

    @functools.wraps(function)
    async def awaited(*arguments: Any, **named: Any) -> Any:
        said = operation(*arguments, **named)
        reach(before, said)
        result = await function(*arguments, **named)
        reach(after, said)
        return result

    @functools.wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        said = operation(*arguments, **named)
        reach(before, said)
        result = function(*arguments, **named)
        reach(after, said)
        return result

    setattr(owner, name, awaited if inspect.iscoroutinefunction(function) else called)


def _nobody(*_: Any, **__: Any) -> str:
    return NOBODY


def _hang_into_transactions(reached: Reached) -> None:
    """Begin and commit, with what the batch is about; and the statements of the month's free calls."""
    import storage.database
    from storage.connection import Connection

    perform = storage.database.group_commit

    def marked(connection: Connection, jobs: Sequence[Any]) -> None:
        _marks.marks = sorted({_mark(job.function.__name__, job.arguments) for job in jobs})
        try:
            perform(connection, jobs)
        finally:
            _marks.marks = []

    storage.database.group_commit = marked

    def reach_all(moment: str) -> None:
        for step, operation in getattr(_marks, "marks", ()):
            if step:
                reached(f"{step}:{moment}", operation)

    for verb in ("begin", "commit"):
        _around_transaction(Connection, verb, reach_all)
    _after_statement(Connection, reached)


def _around_transaction(connection: Any, verb: str, reach_all: Callable[[str], None]) -> None:
    function = getattr(connection, verb)

    def called(self: Any) -> None:
        reach_all(f"before-{verb}")
        function(self)
        reach_all(f"after-{verb}")

    setattr(connection, verb, called)


def _after_statement(connection: Any, reached: Reached) -> None:
    function = connection.execute

    def called(self: Any, sql: str, *arguments: Any) -> Any:
        result = function(self, sql, *arguments)
        if "INSERT INTO byok_month" in sql:
            reached("byok:ticket-taken", NOBODY)
        elif "UPDATE byok_month" in sql:
            reached("byok:ticket-returned", NOBODY)
        return result

    connection.execute = called


def _mark(job: str, arguments: Sequence[Any]) -> tuple[str, str]:
    """Step and operation of a job; nothing for jobs that are no part of the money's way."""
    if job in ("place_hold", "place_byok_hold"):
        return "hold", _of_purpose(arguments[-1])
    if job == "post_settlement":
        return "settle", _of_settlement(None, arguments[0])
    if job == "release_hold":
        return "release", _of_release(None, arguments[0])
    steps = {"beat": "heartbeat", "release_orphan": "orphan", "bury": "bury"}
    return steps.get(job, ""), NOBODY


def _of_purpose(purpose: Any) -> str:
    if purpose.payer == "provider_key":
        return "byok"
    return "streamed" if purpose.streamed else "plain"


def _of_settlement(_ledger: Any, settlement: Any) -> str:
    if settlement.request_id in _left:
        return LEFT
    return "byok" if settlement.row.mode == "byok" else "streamed" if settlement.row.streamed else "plain"


def _of_release(_ledger: Any, request_id: str, *_: Any) -> str:
    return LEFT if request_id in _left else REFUSED


def _hang_into_ledger(reached: Reached) -> None:
    """What the gateway asks of the books, before it asks and when it is answered."""
    from storage.ledger import Ledger

    def begin_call(*_: Any, purpose: Any, **__: Any) -> str:
        operation = _of_purpose(purpose)
        _operation.set(operation)
        return operation

    def leave_settling(_ledger: Any, settlement: Any) -> str:
        _left.add(settlement.request_id)
        return LEFT

    def leave_held(_ledger: Any, request_id: str, *_: Any) -> str:
        _left.add(request_id)
        return LEFT

    for name in ("hold", "hold_byok"):
        _around(Ledger, name, reached, before="hold:before-submit", after="hold:answered", operation=begin_call)
    for step, operation in (("settle", _of_settlement), ("release", _of_release), ("heartbeat", _nobody)):
        _around(Ledger, step, reached, before=f"{step}:before-submit", after=f"{step}:answered", operation=operation)
    _around(Ledger, "sweep", reached, before="sweep:before", after="sweep:after", operation=_nobody)
    for step, leave in (("settle", leave_settling), ("release", leave_held)):
        point = f"{step}-in-background"
        _around(
            Ledger,
            point.replace("-", "_"),
            reached,
            before=f"{point}:asked",
            after=f"{point}:scheduled",
            operation=leave,
        )


def _hang_into_attempts(reached: Reached) -> None:
    """One attempt at a provider."""
    import proxy.chat
    from providers.connection import Connection
    from providers.transport import PooledTransport
    from proxy.delivery import StreamedAnswer
    from proxy.relay import Relay

    _around(PooledTransport, "open", reached, before="attempt:before-open", after="attempt:head-came")
    _around(Connection, "send", reached, after="attempt:request-sent")
    _around(proxy.chat, "_read_plain", reached, after="answer:whole")
    _around(Relay, "run", reached, after="answer:whole")
    write = StreamedAnswer.write

    async def counted(self: Any, *arguments: Any) -> None:
        await write(self, *arguments)
        sent = self.__dict__["pieces_sent"] = self.__dict__.get("pieces_sent", 0) + 1
        if sent in (1, 4):
            reached("stream:first-byte" if sent == 1 else "stream:midway", _operation.get())

    StreamedAnswer.write = counted  # type: ignore[method-assign]


def _hang_into_answers(reached: Reached) -> None:
    """The end of every answer of a call that was held for."""
    from aiohttp import web

    before, after = "answer:before-last-bytes", "answer:after-last-bytes"
    _around(web.StreamResponse, "write_eof", reached, before=before, after=after)


def _hang_into_migrations(reached: Reached) -> None:
    from playhouse.migrations import Runner

    def migrate(*_: Any, **__: Any) -> str:
        return "migrate"

    _around(Runner, "_run", reached, before="migrate:before-one", after="migrate:after-one", operation=migrate)
