"""simulator/delivery.py: what a caller sees on the wire, byte by byte, and what is written down about it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from simulator.checkout import CheckoutRoutes
from simulator.facts import KEYS
from simulator.journal import RecordedCall
from simulator.server import Running, create_app, root_url
from simulator.settings import Settings
from simulator.state import SimulatorState

Ask = Callable[..., Awaitable[Any]]
Order = Callable[..., Awaitable[None]]
Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def send(simulator: Running, provider: str = "openai", text: str = "Hi pieces=6", **fields: Any) -> Wire:
    """Send one chat request over a bare socket."""
    host, port = simulator.url.removeprefix("http://").split(":")
    body = {"model": "deepseek-flash", "messages": [{"role": "user", "content": text}], **fields}
    payload = json.dumps(body).encode()
    head = (
        f"POST /{provider}/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEYS[provider]}\r\n"
        f"Content-Length: {len(payload)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode() + payload)
    await writer.drain()
    return reader, writer


async def ended(simulator: Running) -> RecordedCall:
    """The only call in the journal, once it is over."""
    (call,) = simulator.state.journal.calls()
    async with asyncio.timeout(5):
        while call.ended_at is None:
            await asyncio.sleep(0.005)
    return call


async def leave(writer: asyncio.StreamWriter) -> None:
    """Close the caller's end."""
    writer.close()
    await writer.wait_closed()


async def test_a_whole_answer_keeps_the_connection(simulator: Running) -> None:
    """Headers, chunks, the closing chunk; the record says so."""
    reader, writer = await send(simulator, stream=True)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert (await reader.readuntil(b"0\r\n\r\n")).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    call = await ended(simulator)
    assert (call.completed, call.peer_left, call.pieces_sent, call.status) == (True, False, 6, 200)
    assert not reader.at_eof()
    await leave(writer)


async def test_a_reset_before_anything(simulator: Running, order: Order) -> None:
    """Not a byte, and the error a reset gives."""
    await order("openai", "reset")
    reader, writer = await send(simulator)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.transport.abort()
    call = await ended(simulator)
    assert (call.completed, call.status, call.fault) == (False, 0, "reset")


async def test_a_reset_after_some_pieces(simulator: Running, order: Order) -> None:
    """What was sent can be read before the reset comes."""
    await order("openai", "reset_after", chunks=2)
    reader, writer = await send(simulator, stream=True)
    received = await reader.readuntil(b"\n\n\r\n")
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.transport.abort()
    assert received.count(b'"delta":{"content"') == 2
    assert (await ended(simulator)).pieces_sent == 2


async def test_a_cut_is_a_proper_end_of_the_body(simulator: Running, order: Order) -> None:
    """The HTTP body ends as it should; only the stream in it does not."""
    await order("openai", "cut_after", chunks=2)
    reader, writer = await send(simulator, stream=True)
    received = await reader.readuntil(b"\r\n0\r\n\r\n")
    assert received.count(b'"delta":{"content"') == 2
    assert b"[DONE]" not in received
    assert not (await ended(simulator)).completed
    await leave(writer)


async def test_a_drop_is_no_end_of_the_body(simulator: Running, order: Order) -> None:
    """The connection closes without the closing chunk."""
    await order("openai", "drop_after", chunks=2)
    reader, writer = await send(simulator, stream=True)
    received = await reader.read()
    assert received.count(b'"delta":{"content"') == 2
    assert not received.endswith(b"0\r\n\r\n")
    await leave(writer)


async def test_a_plain_body_shorter_than_it_claims(simulator: Running, order: Order) -> None:
    """Content-Length promises the whole."""
    await order("openai", "drop_after")
    reader, writer = await send(simulator)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    (length,) = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length")]
    assert 0 < len(body) < length
    await leave(writer)


@pytest.mark.parametrize(("kind", "sent"), [("hang", b""), ("headers_then_hang", b"HTTP/1.1 200 OK")])
async def test_a_hang_ends_when_the_caller_leaves(simulator: Running, order: Order, kind: str, sent: bytes) -> None:
    """Nothing, or headers and nothing; the record is closed when the caller is gone."""
    await order("openai", kind)
    reader, writer = await send(simulator, stream=True)
    head = await reader.readuntil(b"\r\n\r\n") if sent else b""
    assert head.startswith(sent)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.05)
    assert simulator.state.journal.calls()[0].ended_at is None
    await leave(writer)
    call = await ended(simulator)
    assert (call.completed, call.peer_left) == (False, True)


async def test_a_caller_that_leaves_in_the_middle_is_noticed(simulator: Running, order: Order) -> None:
    """With the number of pieces that were sent until then."""
    await order("openai", "slow", seconds=0.01)
    reader, writer = await send(simulator, text="Hi pieces=500", stream=True)
    await reader.readuntil(b'"delta":{"content"')
    await leave(writer)
    call = await ended(simulator)
    assert call.peer_left
    assert not call.completed
    assert 1 <= call.pieces_sent < 400


async def test_a_caller_that_leaves_before_the_first_byte_is_noticed(simulator: Running, order: Order) -> None:
    """While the provider is thinking."""
    await order("openai", "none", latency_seconds=60)
    _, writer = await send(simulator)
    await asyncio.sleep(0.05)
    await leave(writer)
    call = await ended(simulator)
    assert (call.peer_left, call.pieces_sent, call.status) == (True, 0, 0)


async def test_every_byte_its_own_chunk(simulator: Running, order: Order) -> None:
    """Split bytes arrive in chunks of one byte each."""
    await order("openai", "split_bytes")
    reader, writer = await send(simulator, stream=True)
    await reader.readuntil(b"\r\n\r\n")
    received = await reader.readuntil(b"\r\n0\r\n\r\n")
    assert received.startswith(b"1\r\nd\r\n1\r\na\r\n1\r\nt\r\n1\r\na\r\n1\r\n:\r\n")
    await leave(writer)


async def test_latency_and_speed_pass(ask: Ask, simulator: Running, http: aiohttp.ClientSession) -> None:
    """Ten pieces at a hundred a second after a tenth take at least two tenths, however they are asked for."""
    speed = {"latency_seconds": 0.1, "pieces_per_second": 100}
    async with http.put(f"{simulator.url}/_simulator/settings", json=speed):
        pass
    clock = asyncio.get_running_loop().time
    for streamed in (True, False):
        began = clock()
        await ask("openai", "pieces=10", stream=streamed)
        assert clock() - began >= 0.2


async def test_a_server_error_page_without_content_type_has_none(simulator: Running) -> None:
    """The header is left out, not sent empty."""
    host, port = simulator.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /deepseek/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 401")
    assert b"content-type" not in head.lower()
    await leave(writer)


async def test_a_caller_that_leaves_is_noticed_without_cancellation_too() -> None:
    """A server that does not cancel its handlers finds out when it writes."""
    state, checkout = SimulatorState(Settings(pieces_per_second=200)), CheckoutRoutes()
    runner = web.AppRunner(
        create_app(state, checkout), access_log=None, handler_cancellation=False, shutdown_timeout=0.1
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    simulator = Running(runner, root_url("127.0.0.1", runner.addresses[0][1]), state, checkout)
    reader, writer = await send(simulator, text="Hi pieces=2000", stream=True)
    await reader.readuntil(b'"delta":{"content"')
    await leave(writer)
    call = await ended(simulator)
    assert (call.completed, call.peer_left) == (False, True)
    await simulator.close()
