"""A call goes on while anybody follows, and for a while when nobody does; then it ends, and is forgotten in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from billing.matrix import Bill, Ending
from billing.usage import Usage
from middlewares import correlate
from middlewares import runs as subject
from middlewares.call import CALL, Call
from middlewares.recording import BeginningGone, Broken, Room
from middlewares.runs import Run, Runs
from tests.gateway import serving

NAME = ("acc_1", "hash")


def new_call(request_id: str = "req_1", *, paid: bool = True) -> Call:
    """A call as far as a run looks at it."""
    call = correlate.new_call()
    call.request_id, call.account_id = request_id, "acc_1"
    if paid:
        call.bill = Bill(Ending.COMPLETE, Usage(1, 1), "provider", payable=True)
    return call


@asynccontextmanager
async def request_of(call: Call) -> AsyncIterator[web.Request]:
    """A request on a real connection, which carries the call."""
    given: asyncio.Future[web.Request] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def serve(request: web.Request) -> web.Response:
        request[CALL] = call
        given.set_result(request)
        await over.wait()
        return web.Response()

    application = web.Application()
    application.router.add_get("/", serve)
    async with serving(application) as url, aiohttp.ClientSession() as session:
        asking = asyncio.create_task(session.get(url))
        yield await given
        over.set()
        (await asking).close()


def answering(gate: asyncio.Event, ended: list[str]) -> Handler:
    """A handler that waits for the gate and tells how it ended."""

    async def handler(_request: web.Request) -> web.Response:
        try:
            await gate.wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        ended.append("done")
        return web.Response(text="answer")

    return handler


async def over(run: Run) -> None:
    """Wait for the end of a run."""
    assert run.task is not None
    await asyncio.wait_for(asyncio.gather(run.task, return_exceptions=True), 5)


@pytest.mark.parametrize("comes_back", [True, False])
async def test_a_run_waits_for_who_comes_back(comes_back: bool) -> None:
    """For as long as it is told, and no longer."""
    runs, gate, ended = Runs(0.1), asyncio.Event(), list[str]()
    async with request_of(new_call()) as request:
        run = runs.start(request, answering(gate, ended), name=NAME)
        reader = run.recording.read_from()
        await asyncio.sleep(0.02)
        reader.leave()
        assert run is runs.find(NAME)
        if comes_back:
            reader = runs.follow(run)
            await asyncio.sleep(0.2)
            gate.set()
        await over(run)

    assert (["done"] if comes_back else ["cancelled"]) == ended
    assert (not comes_back) == run.is_lost
    assert runs.find(NAME) is None


async def test_without_time_to_come_back_the_last_to_leave_ends_it() -> None:
    """Also before its first step: it ends itself in any case."""
    runs, gate, ended = Runs(0), asyncio.Event(), list[str]()
    async with request_of(new_call()) as request:
        run = runs.start(request, answering(gate, ended))
        run.recording.read_from().leave()
        await over(run)

    assert ["cancelled"] == ended
    assert run.recording.is_over


async def test_only_so_many_go_on_without_a_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those beyond, the caller's leaving ends the call at once."""
    monkeypatch.setattr(subject, "AWAY_AT_ONCE", 1)
    runs, gate, ended = Runs(60), asyncio.Event(), list[str]()
    async with request_of(new_call()) as request:
        first, second = (runs.start(request, answering(gate, ended)) for _ in range(2))
        first.recording.read_from().leave()
        second.recording.read_from().leave()
        await over(second)
        assert ["cancelled"] == ended
        await runs.close()
    assert ["cancelled"] * 2 == ended


async def test_an_error_becomes_one_answer(caplog: pytest.LogCaptureFixture) -> None:
    """The same for all who follow, logged once."""

    async def broken(_request: web.Request) -> web.Response:
        raise ZeroDivisionError

    runs = Runs(0)
    async with request_of(new_call(paid=False)) as request:
        run = runs.start(request, broken)
        readers = [run.recording.read_from() for _ in range(2)]
        await over(run)
        bodies = [await reader.read() for reader in readers]

    assert bodies[0] == bodies[1]
    assert b'"request_id": "req_1"' in bodies[0]
    assert (500, 1) == (run.recording.head.status if run.recording.head else 0, len(caplog.records))


class Unsendable(web.Response):
    """An answer that cannot be sent."""

    async def write_eof(self, data: bytes = b"") -> None:
        raise ZeroDivisionError


@pytest.mark.parametrize("given_up", [True, False], ids=["given up", "broken by us"])
async def test_an_answer_without_a_proper_end_is_lost(given_up: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever follows it is told; only our own mistake is logged."""

    async def handler(request: web.Request) -> web.Response:
        if given_up:
            assert request.transport is not None
            request.transport.close()
        return Unsendable()

    runs = Runs(0)
    async with request_of(new_call()) as request:
        run = runs.start(request, handler, name=NAME)
        reader = runs.follow(run)
        await over(run)
        with pytest.raises(Broken):
            await reader.read()

    assert (True, 0 if given_up else 1) == (run.is_lost, len(caplog.records))


STANDS: list[tuple[str, bool, int, bool, bool]] = [
    ("a paid answer", True, 200, False, True),
    ("a paid stream", True, 200, True, True),
    ("a refusal", False, 402, False, False),
    ("withheld, because the books were away", True, 503, False, False),
    ("a stream whose settlement goes on in the background", True, 503, True, True),
]


@pytest.mark.parametrize(("case", "paid", "status", "streamed", "stands"), STANDS, ids=[row[0] for row in STANDS])
async def test_what_stands(case: str, paid: bool, status: int, streamed: bool, stands: bool) -> None:
    """Whoever was charged, or may yet be, is not charged again under the same key; whoever was not may try again."""
    call = new_call(paid=paid)
    told: list[bool] = []

    async def handler(_request: web.Request) -> web.Response:
        call.stream = web.StreamResponse() if streamed else None
        return web.Response(status=status)

    async def on_end(run: Run) -> bool:
        told.append(run.stands)
        told.append(runs.find(NAME) is run)
        return False

    runs = Runs(0)
    async with request_of(call) as request:
        run = runs.start(request, handler, name=NAME, on_end=on_end)
        await over(run)

    assert [stands, stands] == told


async def test_what_is_kept_here_alone_stays_a_day() -> None:
    """And goes earlier only where there is no room."""

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 100)

    async def on_end(_run: Run) -> bool:
        return True

    runs = Runs(0, Room(150))
    async with request_of(new_call()) as request:
        first = runs.start(request, handler, name=NAME, on_end=on_end)
        await over(first)
        runs.forget_old()
        assert first is runs.find(NAME)
        assert first.forget_at is not None
        assert 86_300 < first.forget_at - asyncio.get_running_loop().time() <= 86_400
        second = runs.start(request, handler, name=("acc_1", "other"), on_end=on_end)
        await over(second)

    assert (None, second, 100) == (runs.find(NAME), runs.find(("acc_1", "other")), runs.room.used_bytes)
    assert second.recording.is_whole


async def test_only_as_much_is_dropped_as_is_needed() -> None:
    """The oldest that nobody reads; what somebody reads stays."""

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 100)

    async def on_end(_run: Run) -> bool:
        return True

    runs = Runs(0, Room(350))
    async with request_of(new_call()) as request:
        made = []
        for number in range(4):
            made.append(runs.start(request, handler, name=("acc_1", str(number)), on_end=on_end))
            if not number:
                reader = runs.follow(made[0])
            await over(made[-1])
        reader.leave()

    assert [True, False, True, True] == [run.recording.is_whole for run in made]


async def test_the_end_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has ended gets some time to be kept, and no more."""
    monkeypatch.setattr(subject, "CLOSE_SECONDS", 0.05)

    async def handler(_request: web.Request) -> web.Response:
        return web.Response()

    async def on_end(_run: Run) -> bool:
        await asyncio.Event().wait()
        return True

    runs = Runs(0)
    async with request_of(new_call()) as request:
        run = runs.start(request, handler, name=NAME, on_end=on_end)
        await asyncio.sleep(0.01)
        await asyncio.wait_for(runs.close(), 5)

    assert run.task is not None
    assert run.task.cancelled()


async def test_a_stream_dropped_for_want_of_room_says_so() -> None:
    """It can be found until its time is over, and has no beginning."""

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 100)

    runs = Runs(0, Room(150))
    async with request_of(new_call()) as request:
        first = runs.start(request, handler, resumable=True)
        await over(first)
        request[CALL] = new_call("req_2")
        await over(runs.start(request, handler, resumable=True))

    assert first is runs.find_stream("acc_1", "req_1")
    assert runs.find_stream("acc_2", "req_1") is None
    with pytest.raises(BeginningGone):
        first.recording.read_from()


async def test_nothing_is_left_behind() -> None:
    """A run that nobody can find any more holds no memory, when its last reader has gone."""

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 100)

    runs = Runs(0)
    async with request_of(new_call()) as request:
        run = runs.start(request, handler, name=NAME)
        reader = run.recording.read_from()
        await over(run)
        assert b"x" * 100 == await reader.read()
        reader.leave()

    assert (0, {}, {}, {}) == (runs.room.used_bytes, runs._by_name, runs._streams, runs._running)
