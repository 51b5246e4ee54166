"""The front of the public port, from outside: what it judges, and that honest callers never meet it."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from proxy import front
from proxy.front import HEADERS_LIMIT
from tests.fakes.raw_upstream import RawUpstream, completion, http
from tests.gateway import PATH, Gateway, http_request

END = "Connection: close\r\n"


async def test_a_connection_that_says_nothing_is_closed(start_gateway: Any) -> None:
    """Without a word, for there was no question."""
    gateway: Gateway = await start_gateway(server={"header_timeout_seconds": 0.2})
    caller = await gateway.dial_raw(b"")

    assert b"" == await caller.read_all()


async def test_a_head_that_comes_in_pieces_is_served_if_it_is_in_time(gateway: Gateway) -> None:
    """Byte by byte, with a body in pieces, and a second request that begins in the middle of a piece."""
    data = http_request(b"{}", gateway.key) + http_request(b"{}", gateway.key, head=END)
    caller = await gateway.dial_raw(data[:1])
    for start in range(1, len(data), 7):
        caller.writer.write(data[start : start + 7])
        await asyncio.sleep(0)
    answer = await caller.read_all()

    assert [b"400", b"400"] == re.findall(rb"HTTP/1.1 (\d+)", answer)
    assert 2 == answer.count(b"model is missing")


async def test_a_long_answer_is_no_late_head(start_gateway: Any, alpha: RawUpstream) -> None:
    """The deadline of heads touches neither a call that runs longer, nor a pause between two requests."""
    gateway: Gateway = await start_gateway(server={"header_timeout_seconds": 0.2})
    alpha.next([0.6, http(completion())])
    caller = await gateway.dial()
    await caller.read_until(b"}}")
    await asyncio.sleep(0.5)
    caller.writer.write(http_request(b"{}", gateway.key, head=END))

    assert b"HTTP/1.1 400" in await caller.read_all()


async def test_a_second_head_that_never_ends_closes_the_connection(start_gateway: Any) -> None:
    """Also on a connection that was served before."""
    gateway: Gateway = await start_gateway(server={"header_timeout_seconds": 0.2})
    caller = await gateway.dial_raw(http_request(b"{}", gateway.key))
    await caller.read_until(b"}}")
    caller.writer.write(b"POST /v1")
    answer = await caller.read_all()

    assert b" 408 " in answer.partition(b"\r\n")[0]
    assert b"request_timeout" in answer


async def test_requests_sent_ahead_are_answered_in_order(gateway: Gateway) -> None:
    """More of them than are read at once."""
    paths = [f"/nothing/{number}" for number in range(100)]
    data = b"".join(http_request(b"", "none", path=path) for path in paths)
    caller = await gateway.dial_raw(data + http_request(b"", "none", head=END))
    answer = await caller.read_all()

    assert [b"404"] * 100 + [b"401"] == re.findall(rb"HTTP/1.1 (\d+)", answer)


async def test_more_connections_than_there_is_room_for(start_gateway: Any) -> None:
    """Those beyond are told so and closed; who leaves makes room."""
    gateway: Gateway = await start_gateway(server={"max_connections": 2})
    callers = [await gateway.dial_raw(b"P") for _ in range(2)]
    refused = await (await gateway.dial_raw(b"")).read_all()
    assert b" 503 " in refused.partition(b"\r\n")[0]
    assert b"overloaded" in refused
    assert b"Retry-After: 1" in refused
    assert 1 == await gateway.metric("turned_away_total", code="overloaded")
    for caller in callers:
        caller.hang_up(by_reset=True)
    async with asyncio.timeout(5):
        while (await gateway.chat()).status != 200:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("headers", [HEADERS_LIMIT - 3, HEADERS_LIMIT + 1])
async def test_so_many_headers_and_no_more(headers: int, gateway: Gateway) -> None:
    """The bound is where the pages say."""
    many = "".join(f"X-{number}: a\r\n" for number in range(headers - 2))
    answer = await (await gateway.dial_raw(http_request(b"{}", gateway.key, head=END + many))).read_all()

    assert (b" 431 " if headers > HEADERS_LIMIT else b" 400 ") in answer.partition(b"\r\n")[0]


async def test_a_refused_caller_hears_the_answer_before_the_end(gateway: Gateway) -> None:
    """Although he is still sending: closing at once would reset the connection, and the answer with it."""
    caller = await gateway.dial_raw(b"P@ST " + PATH.encode() + b" HTTP/1.1\r\n\r\n" + b"x" * 200_000)
    caller.writer.write(b"x" * 200_000)
    answer = await caller.read_all()

    assert b" 400 " in answer.partition(b"\r\n")[0]
    assert answer.endswith(b"}}")
    assert front.LINGER_SECONDS <= 1
