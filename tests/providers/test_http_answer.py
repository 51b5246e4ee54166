"""Promises of the answer parser: the same answer however it is cut, and nothing that two readers could read differently."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from providers.http_answer import HEAD_LIMIT_BYTES, LINE_LIMIT_BYTES, AnswerParser, MalformedAnswer

OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = OK + b"Content-Length: 0\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = OK + b"\r\n"


@dataclass(frozen=True, slots=True)
class Read:
    """What a parser made of some bytes."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    ended: bool
    reusable: bool


def read(*parts: bytes) -> Read:
    """What is read when the bytes arrive in these parts. Raises MalformedAnswer."""
    parser = AnswerParser()
    body = b"".join([parser.feed(part) for part in parts])
    return Read(parser.status, tuple(parser.headers.items()), body, parser.ended, parser.reusable)


def outcome(*parts: bytes) -> Read | None:
    """The same; None for what is malformed."""
    try:
        return read(*parts)
    except MalformedAnswer:
        return None


def one_by_one(wire: bytes) -> list[bytes]:
    """Every byte for itself."""
    return [bytes([byte]) for byte in wire]


# Whole answers, made from what they are to say.

_TOKEN = st.text("ABCxyz019!#$%&'*+-.^_`|~", min_size=1, max_size=12)
_VALUE = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=20).map(
    lambda text: text.strip(" \t")
)
_FIELDS = st.lists(
    st.tuples(_TOKEN, _VALUE).filter(
        lambda field: field[0].lower() not in ("connection", "content-length", "transfer-encoding")
    ),
    max_size=4,
)
_EXTENSIONS = st.sampled_from([b"", b"", b" ", b";name=value", b' \t; name="a;b"'])
_BODIES = st.binary(max_size=80) | st.sampled_from([b"\r\n", b"0\r\n\r\n", OK, b"x" * 300])


@dataclass(frozen=True, slots=True)
class Sample:
    """An answer's bytes and what they say; without an end of its own it lasts until the connection's."""

    wire: bytes
    expected: Read


def _head(status: int, fields: list[tuple[str, str]], version: int = 1) -> bytes:
    lines = [f"HTTP/1.{version} {status} Some reason", *(f"{name}: \t{value} " for name, value in fields)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@st.composite
def chunked_bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A body, and the same in chunks."""
    pieces = draw(st.lists(_BODIES.filter(bool), max_size=4))
    wire = b""
    for piece in pieces:
        size = draw(st.sampled_from([b"%x", b"%X", b"%05x"])) % len(piece)
        wire += size + draw(_EXTENSIONS) + b"\r\n" + piece + b"\r\n"
    wire += draw(st.sampled_from([b"0", b"000"])) + draw(_EXTENSIONS) + b"\r\n"
    wire += b"".join(draw(st.lists(st.sampled_from([b"X-Sum: 1\r\n", b"Content-Length: 9\r\n"]), max_size=2)))
    return b"".join(pieces), wire + b"\r\n"


@st.composite
def samples(draw: st.DrawFn, framings: tuple[str, ...] = ("length", "chunked", "none", "close")) -> Sample:
    """Valid answers of every framing, perhaps behind interim ones, perhaps with more bytes than belong to them."""
    framing, fields = draw(st.sampled_from(framings)), draw(_FIELDS)
    status = draw(st.sampled_from([204, 304] if framing == "none" else [200, 201, 404, 429, 503, 599]))
    version = draw(st.sampled_from([0, 1, 1, 1]))
    closes = draw(st.sampled_from(["", "", "close", "Keep-Alive", "keep-alive, Close"]))
    if closes:
        fields = [*fields, ("connection", closes)]
    body, framed = b"", b""
    if framing == "length":
        body = framed = draw(_BODIES)
        fields = [*fields, ("content-length", str(len(body)))]
    elif framing == "chunked":
        body, framed = draw(chunked_bodies())
        fields = [("Transfer-Encoding", draw(st.sampled_from(["chunked", "Chunked"]))), *fields]
    elif framing == "close":
        body = framed = draw(_BODIES)
    extra = b"" if framing == "close" else draw(st.sampled_from([b"", b"", b"\r\n", EMPTY, b"\0"]))
    interim = b"".join(draw(st.lists(st.sampled_from([_head(100, []), _head(103, [("Link", "</x>")])]), max_size=2)))
    reusable = version == 1 and "close" not in closes.lower() and framing != "close" and not extra
    return Sample(
        interim + _head(status, fields, version) + framed + extra,
        Read(status, tuple(fields), body, framing != "close", reusable),
    )


def cut(wire: bytes, places: list[int]) -> list[bytes]:
    """The same bytes in several parts; places beyond the end are counted around, so some fall close together."""
    edges = sorted({0, len(wire), *(place % (len(wire) + 1) for place in places)})
    return [wire[start:end] for start, end in pairwise(edges)]


PLACES = st.lists(st.integers(0, 400), max_size=12)


@settings(deadline=None, print_blob=True, max_examples=200)
@given(samples(), PLACES)
def test_an_answer_is_the_same_however_it_arrives(sample: Sample, places: list[int]) -> None:
    """Status, headers, body, whether it has ended and whether its connection may be used again."""
    assert sample.expected == read(sample.wire)
    assert sample.expected == read(*cut(sample.wire, places))
    assert sample.expected == read(*one_by_one(sample.wire))


_NASTY = [b"\r", b"\n", b"\r\n", b"\0", b" ", b":", b";", b"-", b"+", b"_", b"0x", b"0", b"\x0b", b"\xa0", b"HTTP/1.1"]


@settings(deadline=None, print_blob=True, max_examples=300)
@given(
    samples(), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), st.sampled_from(_NASTY)), max_size=3), PLACES
)
@example(Sample(CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n", Read(200, (), b"", True, True)), [], [50])
def test_a_damaged_answer_is_the_same_however_it_arrives(
    sample: Sample, damage: list[tuple[int, int, bytes]], places: list[int]
) -> None:
    """Whether it is refused does not depend on how the network cuts it, and if it is not, neither does what it says."""
    wire = sample.wire
    for place, length, nasty in damage:
        start = place % (len(wire) + 1)
        wire = wire[:start] + nasty + wire[start + length :]
    whole = outcome(wire)

    assert whole == outcome(*cut(wire, places))
    assert whole == outcome(*one_by_one(wire))


@settings(deadline=None, print_blob=True, max_examples=200)
@given(samples(framings=("length", "chunked")), st.integers(1, 10_000))
def test_a_part_is_never_taken_for_the_whole(sample: Sample, missing: int) -> None:
    """An answer that lacks its last bytes has not ended, and the end of the connection does not end it."""
    parser, end = AnswerParser(), 0
    while not parser.ended:
        parser.feed(sample.wire[end : end + 1])
        end += 1
    parser = AnswerParser()
    body = parser.feed(sample.wire[: max(0, end - missing)])

    assert sample.expected.body.startswith(body)
    assert (False, False) == (parser.ended, parser.feed_eof())


def test_bodies_without_an_end_of_their_own() -> None:
    """They end with the connection, which so cannot be used again."""
    parser = AnswerParser()

    assert b"one" == parser.feed(UNTIL_CLOSE + b"one")
    assert b"two" == parser.feed(b"two")
    assert (False, True, True, False) == (parser.ended, parser.feed_eof(), parser.ended, parser.reusable)


def test_what_a_parser_knows_before_the_end() -> None:
    """Whether anything came, then the head, then piece by piece the body, as soon as it is there."""
    parser = AnswerParser()
    assert (False, 0, False) == (parser.touched, parser.status, parser.ended)
    assert b"" == parser.feed(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2")
    assert (True, 0, False) == (parser.touched, parser.status, parser.ended)
    assert b"" == parser.feed(b"00 OK\r\nTransfer-Encoding: chunked\r\nRetry-After: 3\r\n\r\n")
    assert (200, "3", False) == (parser.status, parser.headers["retry-after"], parser.ended)
    assert b"abc" == parser.feed(b"6\r\nabc")
    assert b"def" == parser.feed(b"def\r\n0\r\n")
    assert not parser.ended
    assert b"" == parser.feed(b"\r\n")
    assert (True, True) == (parser.ended, parser.reusable)


@pytest.mark.parametrize("wire", [EMPTY, CHUNKED + b"0\r\n\r\n", b"HTTP/1.1 204 No\r\n\r\n"])
def test_bytes_behind_the_end_spoil_the_connection(wire: bytes) -> None:
    """Together with the answer or after it: they are no part of it, and nobody asked for them."""
    assert (True, True) == (read(wire).ended, read(wire).reusable)
    for late in (read(wire + b"x"), read(wire, b"x")):
        assert (b"", True, False) == (late.body, late.ended, late.reusable)


@pytest.mark.parametrize("status", [204, 304])
def test_answers_that_never_have_a_body(status: int) -> None:
    """Whatever their headers say of one."""
    for framing in (b"Content-Length: 5", b"Transfer-Encoding: chunked", b"X: y"):
        found = read(b"HTTP/1.1 %d X\r\n%s\r\n\r\n" % (status, framing))
        assert (b"", True, True) == (found.body, found.ended, found.reusable)


@pytest.mark.parametrize(
    ("headers", "reusable"),
    [
        (b"", True),
        (b"Connection: keep-alive\r\n", True),
        (b"Connection: close\r\n", False),
        (b"connection: CLOSE\r\n", False),
        (b"Connection: keep-alive\r\nConnection: close\r\n", False),
        (b"Connection: x, close\r\n", False),
    ],
)
def test_a_provider_may_ask_to_close(headers: bytes, reusable: bool) -> None:
    """In any of its Connection headers."""
    assert reusable == read(OK + headers + b"Content-Length: 0\r\n\r\n").reusable


def test_headers_are_taken_as_they_are() -> None:
    """In order, several of a name, values without the spaces around them and in Latin-1."""
    found = read(OK + b"A: 1\r\nb:\t2 \r\na:\xfc: x\r\nEmpty:\r\nContent-Length: 0\r\n\r\n")

    assert (("A", "1"), ("b", "2"), ("a", "\xfc: x"), ("Empty", ""), ("Content-Length", "0")) == found.headers


# What is refused.

_MALFORMED_HEADS = {
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "one bare line feed": b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 0\r\n\r\n",
    "bare carriage return": OK + b"A: b\rContent-Length: 0\r\n\r\n",
    "an empty line first": b"\r\n" + EMPTY,
    "NUL in a value": OK + b"A: b\0c\r\nContent-Length: 0\r\n\r\n",
    "NUL in a name": OK + b"A\0: b\r\nContent-Length: 0\r\n\r\n",
    "NUL in the reason": b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
    "folded header": OK + b"A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "folded first header": OK + b" A: b\r\nContent-Length: 0\r\n\r\n",
    "space before the colon": OK + b"Content-Length : 0\r\n\r\n",
    "no colon": OK + b"Content-Length 0\r\n\r\n",
    "no name": OK + b": 0\r\n\r\n",
    "name that is no token": OK + b"A(b): c\r\nContent-Length: 0\r\n\r\n",
    "name that is not ASCII": OK + b"\xc3\xbc: c\r\nContent-Length: 0\r\n\r\n",
    "length and chunks": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunks and length": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "two lengths, one of them alike": OK + b"Content-Length: 5\r\nContent-Length: 05\r\n\r\n",
    "a list of lengths": OK + b"Content-Length: 5, 5\r\n\r\n",
    "negative length": OK + b"Content-Length: -5\r\n\r\n",
    "signed length": OK + b"Content-Length: +5\r\n\r\n",
    "underscored length": OK + b"Content-Length: 1_0\r\n\r\n",
    "length in another script": OK + b"Content-Length: \xb2\r\n\r\n",
    "hexadecimal length": OK + b"Content-Length: 0x5\r\n\r\n",
    "empty length": OK + b"Content-Length:\r\n\r\n",
    "endless length": OK + b"Content-Length: " + b"9" * 16 + b"\r\n\r\n",
    "length behind a vertical tab": OK + b"Content-Length: \x0b5\r\n\r\n",
    "unknown coding": OK + b"Transfer-Encoding: gzip\r\n\r\n",
    "chunks of another coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "chunks twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "empty coding": OK + b"Transfer-Encoding:\r\n\r\n",
    "chunks behind a vertical tab": OK + b"Transfer-Encoding: \x0bchunked\r\n\r\n",
    "chunks before a hard space": OK + b"Transfer-Encoding: chunked\xa0\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "another version": b"HTTP/2 200\r\n\r\n",
    "a later version": b"HTTP/1.2 200 OK\r\n\r\n",
    "HTTP/2 itself": b"\0\0\x12\x04\0\0\0\0\0",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "TLS": b"\x15\x03\x03\0\x02\x02\x50",
    "no status": b"HTTP/1.1  OK\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a status beyond all classes": b"HTTP/1.1 600 OK\r\n\r\n",
    "a status in another script": "HTTP/1.1 ２00 OK\r\n\r\n".encode(),
    "two spaces": b"HTTP/1.1  200 OK\r\n\r\n",
    "an interim answer with a body": b"HTTP/1.1 100 X\r\nContent-Length: 1\r\n\r\nx" + EMPTY,
}


@pytest.mark.parametrize("wire", _MALFORMED_HEADS.values(), ids=_MALFORMED_HEADS.keys())
def test_a_malformed_head_is_refused(wire: bytes) -> None:
    """At once and not when the provider gives up waiting; whole, in two parts, byte by byte."""
    for parts in ([wire], [wire[:20], wire[20:]], one_by_one(wire)):
        with pytest.raises(MalformedAnswer):
            read(*parts)


_MALFORMED_CHUNKS = {
    "underscored size": b"1_0\r\n" + b"x" * 16 + b"\r\n",
    "signed size": b"+5\r\nhello\r\n",
    "negative size": b"-5\r\nhello\r\n",
    "negative nothing": b"-0\r\n\r\n",
    "prefixed size": b"0x5\r\nhello\r\n",
    "prefixed size in capitals": b"0X5\r\nhello\r\n",
    "prefixed nothing": b"0x0\r\n\r\n",
    "no size": b"\r\nhello\r\n",
    "an extension and no size": b";a=b\r\nhello\r\n",
    "space before the size": b" 5\r\nhello\r\n",
    "no hexadecimal size": b"g\r\n",
    "a size in another script": "５\r\nhello\r\n".encode(),
    "endless size": b"f" * 13 + b"\r\n",
    "NUL behind the size": b"5\0\r\nhello\r\n",
    "vertical tab behind the size": b"5\x0b\r\nhello\r\n",
    "bare line feed behind the size": b"5\nhello\r\n",
    "bare line feeds": b"5\nhello\n0\n\n",
    "bare carriage return": b"5\rhello\r\n",
    "bare line feed in an extension": b"5;a\nb\r\nhello\r\n",
    "bare line feed behind the chunk": b"5\r\nhello\n0\r\n\r\n",
    "longer than its size": b"3\r\nhello\r\n",
    "longer than its size, without an end": b"3\r\nhel!",
    "shorter than its size": b"7\r\nhello\r\n0\r\n\r\n",
    "bare line feed in a trailer": b"0\r\nA: b\nC: d\r\n\r\n",
    "bare line feed for the end": b"0\r\n\n",
    "bare carriage return in a trailer": b"0\r\nA\rb: c\r\n\r\n",
}


@pytest.mark.parametrize("chunks", _MALFORMED_CHUNKS.values(), ids=_MALFORMED_CHUNKS.keys())
def test_malformed_chunks_are_refused(chunks: bytes) -> None:
    """First or behind a good one, with the head or without, whole or byte by byte."""
    for before in (b"", b"4\r\ngood\r\n"):
        wire = before + chunks
        for parts in ([CHUNKED + wire], [CHUNKED, wire], [CHUNKED, *one_by_one(wire)]):
            with pytest.raises(MalformedAnswer):
                read(*parts)


def test_how_long_a_head_may_be() -> None:
    """Up to the limit; the same however it arrives, and without waiting for the end of one that is longer."""
    room = HEAD_LIMIT_BYTES - len(OK + b"X: " + b"\r\nContent-Length: 0")
    longest = OK + b"X: " + b"y" * room + b"\r\nContent-Length: 0\r\n\r\n"
    longer = longest.replace(b"yy", b"yyy", 1)

    for parts in ([longest], [longest[:-1], longest[-1:]], [longest[:70], longest[70:]]):
        assert read(*parts).ended
    for parts in ([longer], [longer[:-1], longer[-1:]], [longer[:-1]], [longer[:70], longer[70:]]):
        with pytest.raises(MalformedAnswer, match="too long"):
            read(*parts)


@pytest.mark.parametrize("start", [b"5;", b"0\r\nX: "], ids=["size", "trailer"])
def test_how_long_a_line_between_chunks_may_be(start: bytes) -> None:
    """Up to the limit, as with heads."""
    before, line = start[: start.rfind(b"\n") + 1], start[start.rfind(b"\n") + 1 :]
    longest = CHUNKED + before + line + b"y" * (LINE_LIMIT_BYTES - len(line)) + b"\r\n"
    longer = longest.replace(b"yy", b"yyy", 1)

    for parts in ([longest], [longest[:-1], longest[-1:]], [longest[:70], longest[70:]]):
        assert 200 == read(*parts).status
    for parts in ([longer], [longer[:-1], longer[-1:]], [longer[:-1]], [longer[:70], longer[70:]]):
        with pytest.raises(MalformedAnswer, match="too long"):
            read(*parts)
