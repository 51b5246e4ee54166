"""An answer written into a recording is the answer that a caller would have got."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler
from hypothesis import given
from hypothesis import strategies as st

from middlewares.detached import Recorder, comment_lines, record, with_id
from middlewares.recording import Broken, Head, Recording, Room
from providers.sse import EventReader, data_of
from tests.gateway import serving

FACT = web.RequestKey("fact", str)


async def written(recording: Recording) -> bytes:
    """All that was recorded."""
    return recording.tape.take(0, 2**30)[0]


async def recorded(handler: Handler, *, numbered: bool = False) -> tuple[Recording, int]:
    """What a handler's answer to a request becomes, behind a real server."""
    recording = Recording(Room())

    async def serve(request: web.Request) -> web.Response:
        try:
            await record(request, handler, recording, numbered=numbered)
        except Broken:
            return web.Response(status=410)
        return web.Response(status=204)

    application = web.Application()
    application.router.add_get("/", serve)
    async with serving(application) as url, aiohttp.ClientSession() as session, session.get(url) as response:
        return recording, response.status


async def test_a_plain_answer() -> None:
    """Status, headers without those of a connection, body; nothing is numbered."""

    async def handler(_request: web.Request) -> web.Response:
        return web.json_response({"a": 1}, status=402, headers={"X-One": "1", "X-RateLimit-Limit": "600"})

    recording, _ = await recorded(handler, numbered=True)

    assert recording.head is not None
    assert (402, False) == (recording.head.status, recording.head.streamed)
    names = {name for name, _ in recording.head.headers}
    assert {"Content-Type", "X-One"} == names - {"Server"}
    assert b'{"a": 1}' == await written(recording)


async def test_a_stream() -> None:
    """Whatever its writes, the recording has its bytes in order, and each event its number if it is asked for."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for part in (b": hi\n\nda", b"ta: one\n\n: be\n\ndata: t", b"wo\r\n\r\n", b": in\n\n", b"data:\n\n"):
            await response.write(part)
        await response.write_eof(b"data: three")
        return response

    plain, _ = await recorded(handler)
    numbered, _ = await recorded(handler, numbered=True)

    assert plain.head is not None
    assert Head(200, plain.head.headers, True) == plain.head
    said = b": hi\n\ndata: one\n\n: be\n\ndata: two\r\n\r\n: in\n\ndata:\n\ndata: three"
    assert said == await written(plain)
    said = b": hi\n\ndata: one\nid: 1\n\n: be\ndata: two\r\nid: 2\r\n\r\n: in\ndata:\n\ndata: three"
    assert said == await written(numbered)


async def test_an_answer_that_is_given_up() -> None:
    """Whoever ends the connection ends the recording; there is none to be found any more."""

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        assert (False, 0, False) == (
            request.transport.is_closing(),
            request.transport.get_write_buffer_size(),
            request.keep_alive,
        )
        request.transport.abort()
        return web.Response()

    _, status = await recorded(handler)

    assert 410 == status


async def test_facts_are_shared_with_the_request_and_compression_is_refused() -> None:
    """What stands further in decides facts of the one call there is."""
    with pytest.raises(NotImplementedError):
        Recorder(Recording(Room()), numbered=False).enable_compression()

    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=f"{request[FACT]} {request.path}")

    async def serve(request: web.Request) -> web.Response:
        request[FACT] = "shared"
        recording = Recording(Room())
        await record(request, handler, recording, numbered=False)
        return web.Response(body=await written(recording))

    application = web.Application()
    application.router.add_get("/", serve)
    async with serving(application) as url, aiohttp.ClientSession() as session, session.get(url) as response:
        assert "shared /" == await response.text()


@given(
    lines=st.lists(st.sampled_from([b"data: x", b"data:y", b"id: 7", b"event: e", b": c", b"retry: 1"]), min_size=1),
    line_end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    number=st.integers(1, 10**9),
)
def test_an_id_changes_nothing_but_the_id(lines: list[bytes], line_end: bytes, number: int) -> None:
    """It is one event as before, with the same data, and our id is the last and so the one that counts."""
    event = line_end.join(lines) + line_end * 2
    numbered = with_id(event, number)

    assert [numbered] == EventReader().feed(numbered + b"data: z" + line_end)[:1]
    assert data_of(event) == data_of(numbered)
    assert b"id: %d" % number == [line for line in numbered.split(line_end) if line.startswith(b"id")][-1]
    assert event == numbered.replace(b"id: %d%b" % (number, line_end), b"", 1) or b"id: 7" in lines


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        (b": a\n\n", b": a\n"),
        (b": a\r\n:b\r\n\r\n", b": a\n:b\n"),
        (b"\n\n", b""),
        (b"event: a\n\n", None),
        (b": a\nretry: 1\n\n", None),
    ],
)
def test_the_lines_of_a_comment(event: bytes, lines: bytes | None) -> None:
    """Without the blank line; what has any field is no comment."""
    assert lines == comment_lines(event)
