"""Promises of one connection: answers come out as they came in, an end is called by its name, and nothing is left over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from urllib.parse import urlsplit

import pytest

from providers.connection import GATHERED_LIMIT_BYTES, PIECE_LIMIT_BYTES, Connection
from providers.errors import AnswerUnreadable, ConnectionLost, UpstreamError
from tests.fakes.raw_upstream import FIN, HANG, RST, STREAM_END, STREAM_HEAD, RawUpstream, Step, http, piece

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"

Connect = Callable[[], Awaitable[Connection]]


@pytest.fixture
def gone() -> list[Connection]:
    """The connections that have said that they are gone."""
    return []


@pytest.fixture
async def connect(upstream: RawUpstream, gone: list[Connection]) -> AsyncIterator[Connect]:
    """Connections to the upstream; ended when the test is over."""
    made = []

    async def connect() -> Connection:
        address = urlsplit(upstream.url)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(gone.append), address.hostname, address.port)
        made.append(connection)
        return connection

    yield connect
    for connection in made:
        connection.abort()
    await until(lambda: len(gone) == len(made))


async def until(true: Callable[[], bool]) -> None:
    """Wait for what others bring about."""
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.002)


async def read(connection: Connection) -> bytes:
    """The rest of the body."""
    body = b""
    while part := await connection.read_some():
        body += part
    return body


async def ask(connection: Connection) -> tuple[int, bytes]:
    """One exchange, after which the connection rests."""
    connection.send(REQUEST)
    await connection.head()
    status, body = connection.answer().status, await read(connection)
    assert connection.is_reusable()
    connection.rest()
    return status, body


async def test_one_answer_after_another(connect: Connect, upstream: RawUpstream) -> None:
    """Whatever their framing; between them the connection knows since when it rests."""
    upstream.next([http(b"1")], [STREAM_HEAD, piece(b"2"), piece(b"3"), STREAM_END], [http(b"", status=204)])
    connection = await connect()
    before = asyncio.get_running_loop().time()

    assert [(200, b"1"), (200, b"23"), (204, b"")] == [await ask(connection) for _ in range(3)]
    assert before <= connection.idle_since <= asyncio.get_running_loop().time()
    assert [REQUEST[-2:]] * 3 == [request.body for request in upstream.requests]
    assert 1 == upstream.connections


def at_once(connection: Connection) -> Iterator[bytes]:
    """What can be read without waiting."""
    while True:
        reading = connection.read_some()
        try:
            reading.send(None)
        except StopIteration as read:
            yield read.value
        else:
            reading.close()
            return


async def test_what_is_known_while_an_answer_comes(connect: Connect, upstream: RawUpstream) -> None:
    """Ended is what has come to its end; reusable what has come to a good one and is not gone."""
    go = asyncio.Event()
    upstream.next([STREAM_HEAD, piece(b"one"), go, STREAM_END, HANG])
    connection = await connect()
    assert (True, True, False) == (connection.is_alive(), connection.has_ended(), connection.is_reusable())
    connection.send(REQUEST)
    await connection.head()
    assert b"one" == await connection.read_some()
    assert (True, False, False) == (connection.is_alive(), connection.has_ended(), connection.is_reusable())
    go.set()
    assert b"" == await connection.read_some()
    assert (True, True, True) == (connection.is_alive(), connection.has_ended(), connection.is_reusable())
    connection.abort()
    assert (False, True, False) == (connection.is_alive(), connection.has_ended(), connection.is_reusable())


async def test_pieces_that_came_together_are_read_together(connect: Connect, upstream: RawUpstream) -> None:
    """Nobody has to read as often as the network brought something."""
    upstream.next([STREAM_HEAD, piece(b"one"), 0.01, piece(b"two"), 0.01, STREAM_END])
    connection = await connect()
    connection.send(REQUEST)
    await until(connection.has_ended)

    assert b"onetwo" == await connection.read_some()
    assert b"" == await connection.read_some()


async def test_an_answer_that_is_not_read_is_not_taken_in(connect: Connect, upstream: RawUpstream) -> None:
    """What is kept for a slow reader is bounded, and what was left at the provider comes when it reads on."""
    whole = b"x" * 16_000_000
    upstream.next([http(whole)])
    connection = await connect()
    connection.send(REQUEST)
    await connection.head()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(upstream.requests[0].answered.wait(), 0.2)
    gathered = [len(part) for part in at_once(connection)]

    assert GATHERED_LIMIT_BYTES < sum(gathered) <= GATHERED_LIMIT_BYTES + 256 * 1024
    assert {PIECE_LIMIT_BYTES} == set(gathered[:-1])
    assert len(whole) - sum(gathered) == len(await read(connection))
    assert connection.is_reusable()


async def test_an_answer_left_unread_does_not_silence_the_next(connect: Connect, upstream: RawUpstream) -> None:
    """The very last byte was one too many to be kept, and then nobody wanted any: the next answer still arrives."""
    upstream.next([http(b"x" * (GATHERED_LIMIT_BYTES + 1))], [http(b"next")])
    connection = await connect()
    connection.send(REQUEST)
    await until(connection.has_ended)
    connection.rest()

    assert (200, b"next") == await asyncio.wait_for(ask(connection), 10)


# Ends.


@pytest.mark.parametrize("end", [FIN, RST])
@pytest.mark.parametrize(
    ("came", "error_class"),
    [
        (b"", ConnectionLost),
        (b"HTTP/1.1 2", AnswerUnreadable),
        (b"HTTP/1.1 100 Continue\r\n\r\n", AnswerUnreadable),
    ],
    ids=["nothing", "a part", "an interim answer"],
)
async def test_an_end_before_the_head(
    connect: Connect,
    upstream: RawUpstream,
    gone: list[Connection],
    came: bytes,
    error_class: type[Exception],
    end: Step,
) -> None:
    """Before the first byte the request may be sent again at once; after it that needs thought."""
    upstream.next([came, end] if came else [end])
    connection = await connect()
    connection.send(REQUEST)
    for _ in range(2):
        with pytest.raises(UpstreamError) as caught:
            await connection.head()
        assert caught.type is error_class
    with pytest.raises(error_class):
        await connection.read_some()
    await until(lambda: gone == [connection])


@pytest.mark.parametrize(
    ("came", "end"), [(http(b"12345")[:-1], FIN), (http(b"12345")[:-1], RST), (UNTIL_CLOSE + b"1234", RST)]
)
async def test_an_end_inside_the_body(connect: Connect, upstream: RawUpstream, came: bytes, end: Step) -> None:
    """What had come can be read, and then it is said that it was not all. A reset ends no body properly."""
    upstream.next([came, end])
    connection = await connect()
    connection.send(REQUEST)
    await connection.head()
    assert b"1234" == await connection.read_some()
    with pytest.raises(AnswerUnreadable, match="cut off"):
        await connection.read_some()
    assert (True, False) == (connection.has_ended(), connection.is_reusable())


async def test_a_body_that_lasts_until_the_end(connect: Connect, upstream: RawUpstream) -> None:
    """Closing properly is its end."""
    upstream.next([UNTIL_CLOSE, b"1234", FIN])
    connection = await connect()
    connection.send(REQUEST)
    await connection.head()

    assert b"1234" == await read(connection)
    assert (True, False, False) == (connection.has_ended(), connection.is_reusable(), connection.is_alive())


@pytest.mark.parametrize("head", [STREAM_HEAD, UNTIL_CLOSE, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"])
async def test_what_we_end_ourselves_is_no_whole_answer(connect: Connect, upstream: RawUpstream, head: bytes) -> None:
    """Not even where the answer would last until the connection ends. The provider sees that nobody listens."""
    upstream.next([head, piece(b"1234"), HANG])
    connection = await connect()
    connection.send(REQUEST)
    await connection.head()
    assert b"1234" in await connection.read_some()
    waiting = asyncio.create_task(connection.read_some())
    await asyncio.sleep(0)
    connection.abort()

    with pytest.raises(AnswerUnreadable, match="cut off"):
        await waiting
    await asyncio.wait_for(upstream.requests[0].caller_left.wait(), 10)


async def test_ending_before_the_answer(connect: Connect, upstream: RawUpstream) -> None:
    """Whoever waits for it is told."""
    upstream.next([HANG])
    connection = await connect()
    connection.send(REQUEST)
    waiting = asyncio.create_task(connection.head())
    await upstream.received(1)
    connection.abort()

    with pytest.raises(ConnectionLost):
        await waiting


async def test_an_answer_that_is_none_ends_the_connection(
    connect: Connect, upstream: RawUpstream, gone: list[Connection]
) -> None:
    """At once, whether the provider goes on or not; the reason given is the first one."""
    upstream.next([STREAM_HEAD, piece(b"good"), b"0x4\r\nevil\r\n", HANG])
    connection = await connect()
    connection.send(REQUEST)
    await connection.head()
    with pytest.raises(AnswerUnreadable, match="no size"):
        await read(connection)
    await until(lambda: gone == [connection])
    with pytest.raises(AnswerUnreadable, match="no size"):
        await connection.read_some()

    assert (True, False) == (connection.has_ended(), connection.is_reusable())


async def test_a_request_on_a_connection_that_is_gone(
    connect: Connect, upstream: RawUpstream, gone: list[Connection]
) -> None:
    """Nothing is sent, and that is said; while the connection is being ended and after it."""
    connection = await connect()
    connection.abort()
    for _ in range(2):
        connection.send(REQUEST)
        with pytest.raises(ConnectionLost):
            await connection.head()
        await until(lambda: gone == [connection])

    assert [] == upstream.requests


# Bytes that nobody asked for.


async def test_bytes_while_the_connection_rests(
    connect: Connect, upstream: RawUpstream, gone: list[Connection]
) -> None:
    """They are not the next answer: the connection is ended."""
    go = asyncio.Event()
    upstream.next([http(b"x"), go, http(b"poison"), HANG])
    connection = await connect()
    await ask(connection)
    assert connection.is_alive()
    go.set()
    await until(lambda: gone == [connection])

    assert not connection.is_alive()


async def test_bytes_behind_an_answer_that_is_not_read_yet(
    connect: Connect, upstream: RawUpstream, gone: list[Connection]
) -> None:
    """The answer itself was whole and can still be read; the connection cannot be used again."""
    go = asyncio.Event()
    upstream.next([http(b"x"), go, b"more", HANG])
    connection = await connect()
    connection.send(REQUEST)
    await until(connection.has_ended)
    go.set()
    await until(lambda: gone == [connection])

    assert b"x" == await read(connection)
    assert not connection.is_reusable()


async def test_bytes_together_with_the_answer(connect: Connect, upstream: RawUpstream) -> None:
    """The same where they come in one piece."""
    upstream.next([http(b"x") + http(b"poison"), HANG])
    connection = await connect()
    connection.send(REQUEST)

    assert b"x" == await read(connection)
    assert (True, False) == (connection.is_alive(), connection.is_reusable())
