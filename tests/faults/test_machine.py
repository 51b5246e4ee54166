"""The machine under a gateway misbehaves: its clock is set, or whoever reads the log has stopped. Calls do not notice."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.faults.outages_of_books import Watcher
from tests.faults.processes import PATIENT
from tests.faults.serving import serving

EXAM = os.environ.get("FIND_TOKEN_EXAM") == "1"
STEPS = ("+3600", "+34560000", "-3600", "+0")
"""Seconds ahead: an hour, four hundred days, an hour behind, and right again."""
BETWEEN_SECONDS = 45.0 if EXAM else 0.7
"""In the exam long enough for a sweep that trusts the others' heartbeats again."""
STREAMS = 8 if EXAM else 2
BLOCKED_SECONDS = 60.0 if EXAM else 2.0
SMALLEST_PIPE_BYTES = 4096


def set_clock(file: Path, ahead: str) -> None:
    """The gateway's clock shows this from now on."""
    written = file.with_suffix(".new")
    written.write_text(ahead)
    written.rename(file)


@pytest.mark.timeout(0 if EXAM else 120)
async def test_a_clock_that_is_set_disturbs_nobody(sqlite_database_url: str, tmp_path: Path) -> None:
    """S-118: forwards, far forwards, backwards and back: streams go on, holds stay, keys are known, calls are charged once."""
    clock = tmp_path / "clock"
    set_clock(clock, "+0")
    program = (sys.executable, "-m", "tests.faults.set_clock", str(clock))
    seconds = BETWEEN_SECONDS * (len(STEPS) + 1)
    stream = f'pieces={round(seconds * 2)} SIM:{{"kind": "none", "pieces_per_second": 2}}'

    async def steps() -> None:
        for ahead in STEPS:
            set_clock(clock, ahead)
            await asyncio.sleep(BETWEEN_SECONDS)

    async with (
        serving(tmp_path, sqlite_database_url, program=program, routing=PATIENT) as one,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        watcher = Watcher(one, session, sqlite_database_url)
        assert 200 == (await watcher.call()).status
        streams = [watcher.call(stream, stream=True) for _ in range(STREAMS)]
        through = await watcher.through(steps, *streams)
        assert {(200, "")} == through.statuses()
        assert {(True, False)} == {(one.whole, one.cost is None) for one in through.told}
        await watcher.prove(through.told)
        years = {row.created // 10**6 // 86_400 // 365 for row in watcher.rows().values()}
        assert 2 <= len(years), "the clock that was set is the one that calls are dated by"
        assert 0 == await one.running.stop()


@pytest.mark.timeout(0 if EXAM else 120)
async def test_a_log_that_nobody_reads_stops_nobody(sqlite_database_url: str, tmp_path: Path) -> None:
    """S-119: the pipe is full and stays so; calls go on, and the process says at once that it lives."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, SMALLEST_PIPE_BYTES)

    async def blocked() -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + BLOCKED_SECONDS
        while loop.time() < until:
            status, seconds = await watcher.alive()
            assert (200, True) == (status, seconds < 0.5), seconds
            await asyncio.sleep(0.1)

    try:
        async with (
            serving(tmp_path, sqlite_database_url, errors_to=writing, routing=PATIENT) as one,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        ):
            watcher = Watcher(one, session, sqlite_database_url)
            through = await watcher.through(blocked)
            assert {(200, "")} == through.statuses()
            await watcher.prove(through.told)
            assert 0 == await one.running.stop(), "a full pipe does not keep it from stopping either"
    finally:
        os.close(writing)
        os.close(reading)
