"""A caller is answered out of a recording as out of the call itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from middlewares.following import follow
from middlewares.recording import Broken, Head, Recording, Room
from tests.gateway import serving

STREAM = Head(200, (("Content-Type", "text/event-stream"), ("X-Told", "yes")), True)


@asynccontextmanager
async def following(recording: Recording, *, stall_seconds: float = 5) -> AsyncIterator[str]:
    """A server whose every answer follows the recording."""

    async def serve(request: web.Request) -> web.StreamResponse:
        try:
            return await follow(
                recording.read_from(), request, stall_seconds=stall_seconds, extra=[("X-Extra", "more")]
            )
        except Broken:
            return web.Response(status=410)

    application = web.Application()
    application.router.add_get("/", serve)
    async with serving(application) as url:
        yield url


async def test_a_plain_answer_comes_whole() -> None:
    """With its status, its headers and those of this answer alone, when it is over."""
    recording = Recording(Room())
    recording.begin(Head(402, (("Content-Type", "application/json"),), False))
    await recording.write(b'{"a":')
    async with following(recording) as url, aiohttp.ClientSession() as session:
        asking = asyncio.create_task(session.get(url))
        await asyncio.sleep(0.05)
        assert not asking.done()
        await recording.write(b"1}")
        recording.end()
        async with await asking as response:
            told = (response.status, response.headers["X-Extra"], response.headers["Content-Length"])
            assert ((402, "more", "7"), {"a": 1}) == (told, await response.json())
    assert set() == recording.readers


async def test_a_stream_comes_as_it_grows() -> None:
    """Each frame when it is there; the connection stays unless the answer says otherwise."""
    recording = Recording(Room())
    recording.begin(STREAM)
    async with following(recording) as url, aiohttp.ClientSession() as session, session.get(url) as response:
        for word in (b"one", b"two"):
            await recording.write(word)
            assert word == await response.content.read(3)
        recording.end()
        assert b"" == await response.content.read()
        assert "yes" == response.headers["X-Told"]
    assert set() == recording.readers


async def test_an_answer_that_breaks_ends_its_connection() -> None:
    """So that nobody takes it for whole; one that never began is somebody else's to tell."""
    recording = Recording(Room())
    recording.begin(STREAM)
    await recording.write(b"half")
    async with following(recording) as url, aiohttp.ClientSession() as session, session.get(url) as response:
        assert b"half" == await response.content.read(4)
        recording.fail(ValueError("x"))
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()
    none = Recording(Room())
    none.fail(ValueError("x"))
    async with following(none) as url, aiohttp.ClientSession() as session, session.get(url) as response:
        assert 410 == response.status


async def test_an_answer_that_closes_closes() -> None:
    """As an error inside a stream does: properly, and nothing more on that connection."""
    recording = Recording(Room())
    recording.begin(STREAM)
    await recording.write(b"end")
    recording.end(closes=True)
    async with following(recording) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.endswith(b"3\r\nend\r\n0\r\n\r\n")
        writer.close()


async def test_who_stops_reading_is_dropped_and_keeps_nobody_waiting() -> None:
    """After the time that a caller may stall; a writer that waited for it goes on."""
    recording = Recording(Room(), 100_000)
    recording.begin(STREAM)
    async with following(recording, stall_seconds=0.2) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        _, writer = await asyncio.open_connection(host, int(port), limit=1_000)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(20):
            while not recording.readers:
                await asyncio.sleep(0.005)
            for _ in range(200):
                await recording.write(b"x" * 100_000)
        assert set() == recording.readers
        writer.close()
