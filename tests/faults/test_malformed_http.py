"""Requests that two readers could understand in two ways: each is refused, and what hides behind it is never looked at."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from typing import Any

import pytest

from tests.fakes.raw_upstream import RawUpstream
from tests.gateway import PATH, Gateway, chat_body

BODY = json.dumps(chat_body("in the open")).encode()
HIDDEN = json.dumps(chat_body("hidden")).encode()
LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked"
IN_CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
SIZE = b"%x" % len(BODY)


def post(*headers: bytes, body: bytes = BODY, line: bytes = b"POST " + PATH.encode() + b" HTTP/1.1") -> bytes:
    """A call with a key to come (KEY), a host, and ``headers``."""
    own = (b"Host: gateway", b"Authorization: Bearer KEY", b"Content-Type: application/json")
    return b"\r\n".join((line, *own, *headers, b"", b"")) + body


def chunks(body: bytes) -> bytes:
    """A call whose body comes in the chunks given."""
    return post(CHUNKED, body=body)


def line(text: bytes) -> bytes:
    """A whole call but for its request line."""
    return post(LENGTH, line=text)


PATH_BYTES = PATH.encode()
CASES: dict[str, bytes] = {
    # Two lengths, or one that is none.
    "length, then chunks": post(LENGTH, CHUNKED, body=IN_CHUNKS),
    "chunks, then length": post(CHUNKED, LENGTH, body=IN_CHUNKS),
    "the same length twice": post(LENGTH, LENGTH),
    "two lengths": post(LENGTH, b"Content-Length: 3"),
    "a list of lengths": post(b"Content-Length: %d, %d" % (len(BODY), len(BODY))),
    "a length with a sign": post(b"Content-Length: +%d" % len(BODY)),
    "a negative length": post(b"Content-Length: -1"),
    "a hexadecimal length": post(b"Content-Length: 0x%x" % len(BODY)),
    "a length with a space": post(b"Content-Length: 1 1"),
    "a length with an underscore": post(b"Content-Length: 1_1"),
    "an empty length": post(b"Content-Length:"),
    "a length beyond 64 bits": post(b"Content-Length: 99999999999999999999999"),
    # Codings of the transfer that are not exactly chunked.
    "xchunked": post(b"Transfer-Encoding: xchunked", body=IN_CHUNKS),
    "gzip, chunked": post(b"Transfer-Encoding: gzip, chunked", body=IN_CHUNKS),
    "chunked, gzip": post(b"Transfer-Encoding: chunked, gzip", body=IN_CHUNKS),
    "chunked twice": post(b"Transfer-Encoding: chunked, chunked", body=IN_CHUNKS),
    "identity": post(b"Transfer-Encoding: identity", body=IN_CHUNKS),
    "two codings": post(b"Transfer-Encoding: identity", CHUNKED, body=IN_CHUNKS),
    "two codings, the other way": post(CHUNKED, b"Transfer-Encoding: identity", body=IN_CHUNKS),
    "a space before the colon": post(b"Transfer-Encoding : chunked", body=IN_CHUNKS),
    "a vertical tab before chunked": post(b"Transfer-Encoding:\x0bchunked", body=IN_CHUNKS),
    "chunked in quotes": post(b'Transfer-Encoding: "chunked"', body=IN_CHUNKS),
    "chunked and a comma": post(b"Transfer-Encoding: chunked,", body=IN_CHUNKS),
    "chunked with a parameter": post(b"Transfer-Encoding: chunked;q=1", body=IN_CHUNKS),
    "no coding": post(b"Transfer-Encoding:", body=IN_CHUNKS),
    "chunks in HTTP/1.0": post(CHUNKED, body=IN_CHUNKS, line=b"POST " + PATH_BYTES + b" HTTP/1.0"),
    # Ends of lines.
    "a bare line feed behind the request line": post(LENGTH).replace(b"HTTP/1.1\r\n", b"HTTP/1.1\n"),
    "bare line feeds": post(LENGTH).replace(b"\r\n", b"\n"),
    "a bare line feed behind a header": post(b"X-A: b\nX-C: d", LENGTH),
    "a bare line feed as the end": post(LENGTH).replace(b"\r\n\r\n", b"\r\n\n"),
    "a carriage return in a value": post(b"X-A: b\rX-C: d", LENGTH),
    "a carriage return behind the request line": post(LENGTH).replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r"),
    "a folded line": post(b"X-A: b\r\n c", LENGTH),
    "a folded coding": post(b"Transfer-Encoding:\r\n chunked", body=IN_CHUNKS),
    "a space before the first header": post(LENGTH).replace(b"Host:", b" Host:"),
    # Characters that do not belong there.
    "a zero in a value": post(b"X-A: b\0c", LENGTH),
    "a zero in a name": post(b"X\0A: b", LENGTH),
    "a zero in the path": line(b"POST " + PATH_BYTES + b"\0 HTTP/1.1"),
    "a control character in a value": post(b"X-A: b\x01c", LENGTH),
    "a delete in a value": post(b"X-A: b\x7fc", LENGTH),
    "a name without a colon": post(b"X-A", LENGTH),
    "no name": post(b": b", LENGTH),
    "a space in a name": post(b"X A: b", LENGTH),
    "a name that is not ASCII": post("X-Ä: b".encode(), LENGTH),
    "a path that is not ASCII": line("POST /v1/ä HTTP/1.1".encode()),
    # Sizes.
    "a header of 100 KB": post(b"X-A: " + b"b" * 100_000, LENGTH),
    "a name of 100 KB": post(b"X" * 100_000 + b": b", LENGTH),
    "10,000 headers": post(*(b"X-%d: b" % number for number in range(10_000)), LENGTH),
    "a line of 100 KB": line(b"POST /" + b"a" * 100_000 + b" HTTP/1.1"),
    "a head of 90 KB, each line within bounds": post(*(b"X-%d: %b" % (n, b"b" * 15_000) for n in range(6)), LENGTH),
    # Request lines.
    "HTTP/0.9": b"GET " + PATH_BYTES + b"\r\n\r\n",
    "HTTP/0.9 by name": line(b"POST " + PATH_BYTES + b" HTTP/0.9"),
    "HTTP/1.2": line(b"POST " + PATH_BYTES + b" HTTP/1.2"),
    "HTTP/2.0": line(b"POST " + PATH_BYTES + b" HTTP/2.0"),
    "the beginning of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http in small letters": line(b"POST " + PATH_BYTES + b" http/1.1"),
    "a tab between the words": line(b"POST\t" + PATH_BYTES + b"\tHTTP/1.1"),
    "a space behind the version": line(b"POST " + PATH_BYTES + b" HTTP/1.1 "),
    "a whole address": line(b"POST http://gateway" + PATH_BYTES + b" HTTP/1.1"),
    "another's address": line(b"POST http://elsewhere" + PATH_BYTES + b" HTTP/1.1"),
    "only a host": line(b"POST gateway:80 HTTP/1.1"),
    "a star": line(b"OPTIONS * HTTP/1.1"),
    "a fragment": line(b"POST " + PATH_BYTES + b"#part HTTP/1.1"),
    "CONNECT": line(b"CONNECT gateway:80 HTTP/1.1"),
    "TRACE": line(b"TRACE " + PATH_BYTES + b" HTTP/1.1"),
    "a method in small letters": line(b"post " + PATH_BYTES + b" HTTP/1.1"),
    "a method that is none": line(b"P@ST " + PATH_BYTES + b" HTTP/1.1"),
    "the beginning of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    # Hosts and expectations.
    "no host": post(LENGTH).replace(b"Host: gateway\r\n", b""),
    "two hosts": post(b"Host: elsewhere", LENGTH),
    "a host that is none": post(LENGTH).replace(b"Host: gateway", b"Host: a b/c@d"),
    "an expectation nobody knows": post(b"Expect: wonders", LENGTH),
    # Chunks.
    "a line feed in a chunk's extension": chunks(SIZE + b";a\nb\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a bare line feed behind a chunk's size": chunks(SIZE + b"\n" + BODY + b"\r\n0\r\n\r\n"),
    "a bare line feed behind a chunk": chunks(SIZE + b"\r\n" + BODY + b"\n0\r\n\r\n"),
    "something else behind a chunk": chunks(SIZE + b"\r\n" + BODY + b"XX0\r\n\r\n"),
    "bare line feeds at the end": chunks(SIZE + b"\r\n" + BODY + b"\r\n0\n\n"),
    "a bare line feed as the end of the chunks": chunks(SIZE + b"\r\n" + BODY + b"\r\n0\r\n\n"),
    "a negative chunk": chunks(b"-" + SIZE + b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a chunk with a sign": chunks(b"+" + SIZE + b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a chunk with a prefix": chunks(b"0x" + SIZE + b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a chunk with a space": chunks(SIZE + b" \r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a chunk without a size": chunks(b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a chunk beyond 64 bits": chunks(b"fffffffffffffffff\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a length behind the chunks": chunks(IN_CHUNKS[:-2] + b"Content-Length: 50\r\n\r\n"),
    "a coding behind the chunks": chunks(IN_CHUNKS[:-2] + b"Transfer-Encoding: gzip\r\n\r\n"),
}


async def tell(gateway: Gateway, data: bytes, *, pause_after: bytes = b"") -> bytes:
    """Send ``data`` and a whole hidden call behind it; all that is answered until the connection ends."""
    whole = (data + post(b"Content-Length: %d" % len(HIDDEN), body=HIDDEN)).replace(b"KEY", gateway.key.encode())
    first, mark, rest = whole.partition(pause_after) if pause_after else (whole, b"", b"")
    caller = await gateway.dial_raw(first + mark)
    if rest:
        await asyncio.sleep(0.02)
        caller.writer.write(rest)
    return await caller.read_all()


def refused(name: str, answer: bytes) -> None:
    """Exactly one answer: a 4xx in the contract's JSON, with the request id, and the end of the connection."""
    statuses = re.findall(rb"HTTP/1\.[01] (\d{3})", answer)
    assert 1 == len(statuses), (name, answer)
    assert b"4" == statuses[0][:1], (name, answer)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower(), (name, answer)
    error = json.loads(body)["error"]
    assert error["request_id"] == re.search(rb"(?i)x-findtoken-request-id: (\S+)", head)[1].decode(), name  # type: ignore[index]
    assert b"Traceback" not in answer
    assert b"aiohttp" not in answer.lower()


@pytest.mark.parametrize("split", [False, True], ids=["in one piece", "head and body apart"])
async def test_malformed_requests_are_refused_and_hide_nothing(
    split: bool, gateway: Gateway, alpha: RawUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of 80 cases is a 4xx and closes; the call behind it reaches no provider and no log; no trace is logged (S-090)."""
    caplog.set_level(logging.INFO)
    assert len(CASES) >= 60
    for name, data in CASES.items():
        answer = await tell(gateway, data, pause_after=b"\r\n\r\n" if split else b"")
        refused(name, answer)
    assert [] == alpha.requests
    assert [] == gateway.rows()
    assert [] == [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(CASES) <= await gateway.metric("turned_away_total") + await gateway.metric("requests_total")
    gateway.prove()


GOOD: dict[str, bytes] = {
    "plain": post(LENGTH),
    "chunks": chunks(IN_CHUNKS),
    "chunks in capitals": post(b"Transfer-Encoding: CHUNKED", body=IN_CHUNKS),
    "chunks with an extension and a trailer": chunks(SIZE + b";a=b\r\n" + BODY + b"\r\n0\r\nX-A: b\r\n\r\n"),
    "spaces around a length": post(b"Content-Length: \t%d \t" % len(BODY)),
    "an empty line before": b"\r\n" + post(LENGTH),
    "HTTP/1.0": post(LENGTH, b"Connection: keep-alive", line=b"POST " + PATH_BYTES + b" HTTP/1.0"),
    "a host with a port": post(LENGTH).replace(b"Host: gateway", b"Host: [::1]:8080"),
}


async def test_what_is_well_formed_is_served_and_so_is_what_follows(gateway: Gateway, alpha: RawUpstream) -> None:
    """The same door is open to those who keep to the form, with another request right behind."""
    for name, data in GOOD.items():
        before = len(alpha.requests)
        follow = post(b"Content-Length: %d" % len(HIDDEN), b"Connection: close", body=HIDDEN)
        caller = await gateway.dial_raw((data + follow).replace(b"KEY", gateway.key.encode()))
        answer = await caller.read_all()
        assert [b"200", b"200"] == re.findall(rb"HTTP/1\.[01] (\d{3})", answer), (name, answer)
        assert before + 2 == len(alpha.requests), name
    await gateway.settled(2 * len(GOOD))
    gateway.prove()


async def test_an_offer_of_another_protocol_is_ignored(gateway: Gateway) -> None:
    """Some clients offer HTTP/2 with every first request: they are served, and the connection ends."""
    offers: list[Any] = [b"h2c", b"websocket"]
    for offer in offers:
        data = post(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + offer, LENGTH)
        caller = await gateway.dial_raw(data.replace(b"KEY", gateway.key.encode()))
        answer = await caller.read_all()
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert b"Connection: close" in answer
