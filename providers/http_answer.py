"""One HTTP/1.1 answer from bytes, without I/O.

Rules: strict where leniency would let two readers disagree (line ends, lengths, chunk sizes, folded headers), silent about
what does not matter (reason phrase, trailers). Whatever breaks a rule is `MalformedAnswer`, and its connection is never
used again. Source: RFC 9112, sections 4 to 7.
"""

from __future__ import annotations

import functools
import re
from typing import Final

from multidict import CIMultiDict

HEAD_LIMIT_BYTES: Final = 64 * 1024
LINE_LIMIT_BYTES: Final = 4096
"""A chunk's size line or a trailer."""
KNOWN_HEADERS: Final = 1024
KNOWN_HEADER_BYTES: Final = 128
KNOWN_CHUNK_SIZES: Final = 1024

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [^\x00\r\n]*)?")
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LENGTH: Final = re.compile(r"[0-9]{1,15}")
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\r\n]*)?")
_PLAIN_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,12})\r\n")
"""Not left to int(), which takes 0x5 and 1_0 as well."""
_PLAIN_SIZE_LINE_BYTES: Final = 14
_BARE_LINE_END: Final = re.compile(rb"(?<!\r)\n")


class MalformedAnswer(Exception):
    """The bytes are not an HTTP/1.1 answer."""


# What the next bytes are. Plain numbers, because looking up an enum's member costs ten times as much, and every piece of
# every answer is looked at.
_EXPECTS_HEAD: Final = 0
_EXPECTS_LENGTH: Final = 1
_EXPECTS_CHUNK_SIZE: Final = 2
_EXPECTS_CHUNK_DATA: Final = 3
_EXPECTS_CHUNK_END: Final = 4
_EXPECTS_TRAILER: Final = 5
_EXPECTS_CLOSE: Final = 6
_EXPECTS_NOTHING: Final = 7


class AnswerParser:
    """Feed it what the connection brings; it gives back the body, piece by piece, without its framing."""

    __slots__ = ("_expect", "_left", "_pending", "headers", "reusable", "status", "touched")

    def __init__(self) -> None:
        self.status = 0
        """0 until the head has arrived."""
        self.headers: CIMultiDict[str] = CIMultiDict()
        self.touched = False
        """Whether any byte has arrived."""
        self.reusable = False
        """Whether the connection may carry another request once the answer has ended."""
        self._expect = _EXPECTS_HEAD
        self._pending = b""
        self._left = 0

    @property
    def ended(self) -> bool:
        """Whether the answer is complete."""
        return self._expect is _EXPECTS_NOTHING

    def feed(self, data: bytes) -> bytes:
        """The body bytes in ``data``. Raises MalformedAnswer, after which nothing may be fed. Bytes behind the end are no
        body; the connection is not reusable then."""
        self.touched = True
        if self._expect is _EXPECTS_CLOSE:
            return data
        if self._expect is _EXPECTS_LENGTH and not self._pending and len(data) <= self._left:
            self._left -= len(data)
            if not self._left:
                self._expect = _EXPECTS_NOTHING
            return data
        data = self._pending + data
        self._pending = b""
        if not self.status:
            rest = self._read_head(data)
            return b"" if rest is None else self._read_body(rest)
        return self._read_body(data)

    def feed_eof(self) -> bool:
        """The connection was closed: whether that ends the answer properly."""
        if self._expect is _EXPECTS_CLOSE:
            self._expect = _EXPECTS_NOTHING
        return self.ended

    def _read_head(self, data: bytes) -> bytes | None:
        """The bytes behind the head; None while it is not complete. Interim answers (1xx) are passed over."""
        while True:
            end = _end_of(b"\r\n\r\n", data, 0, HEAD_LIMIT_BYTES)
            if not b"HTTP/1.".startswith(data[:7]):
                raise MalformedAnswer("the answer does not begin like HTTP")
            if end < 0:
                self._pending = data
                return None
            status_line, *lines = data[:end].split(b"\r\n")
            data = data[end + 4 :]
            found = _STATUS_LINE.fullmatch(status_line)
            if found is None:
                raise MalformedAnswer("the answer does not begin like HTTP")
            status = int(found[2])
            headers = _read_headers(lines)
            if status >= 200:
                break
            if status == 101:
                raise MalformedAnswer("the answer changes the protocol")
        self.status, self.headers = status, headers
        connection = ",".join(headers.getall("Connection", [])).lower()
        self.reusable = found[1] == b"1" and "close" not in connection
        self._expect = self._framing()
        return data

    def _framing(self) -> int:
        """How the body ends. RFC 9112, section 6.3."""
        if self.status in (204, 304):
            return _EXPECTS_NOTHING
        codings = self.headers.getall("Transfer-Encoding", [])
        lengths = self.headers.getall("Content-Length", [])
        if codings:
            if [coding.lower() for coding in codings] != ["chunked"] or lengths:
                raise MalformedAnswer("the answer's framing is ambiguous")
            return _EXPECTS_CHUNK_SIZE
        if lengths:
            if len(set(lengths)) > 1 or not _LENGTH.fullmatch(lengths[0]):
                raise MalformedAnswer("the answer's length is ambiguous")
            self._left = int(lengths[0])
            return _EXPECTS_LENGTH if self._left else _EXPECTS_NOTHING
        self.reusable = False
        return _EXPECTS_CLOSE

    def _read_body(self, data: bytes) -> bytes:
        if self._expect is _EXPECTS_CLOSE:
            return data
        if self._expect is _EXPECTS_LENGTH:
            return self._read_length(data)
        if self._expect is _EXPECTS_NOTHING:
            self._no_more(data)
            return b""
        return self._read_chunks(data)

    def _read_length(self, data: bytes) -> bytes:
        if len(data) < self._left:
            self._left -= len(data)
            return data
        body, rest = data[: self._left], data[self._left :]
        self._expect = _EXPECTS_NOTHING
        self._no_more(rest)
        return body

    def _read_chunks(self, data: bytes) -> bytes:
        """Take the chunk framing off as much of ``data`` as is there; an unfinished line waits for the next bytes."""
        pieces: list[bytes] = []
        position = self._read_whole_chunks(data, pieces) if self._expect is _EXPECTS_CHUNK_SIZE else 0
        while self._expect is not _EXPECTS_NOTHING and position < len(data):
            if self._expect is _EXPECTS_CHUNK_DATA:
                piece = data[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._expect = _EXPECTS_CHUNK_END
                continue
            if self._expect is _EXPECTS_CHUNK_END and not b"\r\n".startswith(data[position : position + 2]):
                raise MalformedAnswer("a chunk is longer than its size")
            end = _end_of(b"\r\n", data, position, LINE_LIMIT_BYTES)
            if end < 0:
                self._pending = data[position:]
                break
            self._read_line(data[position:end])
            position = end + 2
        if self._expect is _EXPECTS_NOTHING:
            self._no_more(data[position:])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_whole_chunks(self, data: bytes, pieces: list[bytes]) -> int:
        """The usual case, in a tight loop: chunks that are there from size to end. Where the first other one begins."""
        position = 0
        while True:
            begin = data.find(b"\n", position, position + _PLAIN_SIZE_LINE_BYTES) + 1
            size = _plain_chunk_size(data[position:begin])
            end = begin + size
            if not size or data[end : end + 2] != b"\r\n":
                return position
            pieces.append(data[begin:end])
            position = end + 2

    def _read_line(self, line: bytes) -> None:
        """A line between chunks: the end of one, the size of the next, or a trailer."""
        if self._expect is _EXPECTS_CHUNK_END:
            self._expect = _EXPECTS_CHUNK_SIZE
        elif self._expect is _EXPECTS_CHUNK_SIZE:
            found = _CHUNK_SIZE.fullmatch(line)
            if found is None:
                raise MalformedAnswer("a chunk has no size")
            self._left = int(found[1], 16)
            self._expect = _EXPECTS_CHUNK_DATA if self._left else _EXPECTS_TRAILER
        elif not line:
            self._expect = _EXPECTS_NOTHING
        elif b"\n" in line or b"\r" in line:
            raise MalformedAnswer("a line of the answer has a wrong end")

    def _no_more(self, rest: bytes) -> None:
        """Bytes behind the end belong to nothing that was asked: the connection cannot be trusted with another request."""
        if rest:
            self.reusable = False


@functools.lru_cache(maxsize=KNOWN_CHUNK_SIZES)
def _plain_chunk_size(line: bytes) -> int:
    """The size in a line that holds nothing else; 0 for the last chunk's, and for any other line. Remembers, because the
    chunks of one stream have few sizes."""
    found = _PLAIN_CHUNK_SIZE.fullmatch(line)
    return 0 if found is None else int(found[1], 16)


def _end_of(mark: bytes, data: bytes, start: int, limit: int) -> int:
    """Where the head or line that begins at ``start`` ends; below 0 while its end has not come.

    Raises MalformedAnswer where it is longer than ``limit``, however it arrives, and where lines end without a carriage
    return: the end that is waited for would never come.
    """
    end = data.find(mark, start, start + limit + len(mark))
    if end < 0:
        if len(data) - start >= limit + len(mark):
            raise MalformedAnswer("the head of the answer, or a line between chunks, is too long")
        if _BARE_LINE_END.search(data, start):
            raise MalformedAnswer("a line of the answer has a wrong end")
    return end


def _read_headers(lines: list[bytes]) -> CIMultiDict[str]:
    return CIMultiDict(
        [_known_header(line) if len(line) <= KNOWN_HEADER_BYTES else _read_header(line) for line in lines]
    )


def _read_header(line: bytes) -> tuple[str, str]:
    """One line as name and value."""
    name, colon, value = line.partition(b":")
    if not colon or _NAME.fullmatch(name) is None or b"\r" in value or b"\n" in value or b"\x00" in value:
        raise MalformedAnswer("the answer has a header that is none")
    return name.decode("ascii"), value.strip(b" \t").decode("latin-1")


_known_header = functools.lru_cache(maxsize=KNOWN_HEADERS)(_read_header)
"""Remembers short lines: answers of one provider differ in few of theirs."""
