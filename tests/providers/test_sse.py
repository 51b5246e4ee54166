"""Promises of the event reader: no byte is lost or added, and the events mean the same however the stream is cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from providers.sse import BYTE_ORDER_MARK, DONE, EVENT_LIMIT_BYTES, EventReader, EventTooLarge, comment, data_of, encode


def read(*parts: bytes) -> tuple[list[bytes], bytes]:
    """The events of a stream that arrives in these parts, and what is left of it."""
    reader = EventReader()
    events = [event for part in parts for event in reader.feed(part)]
    return events, reader.rest()


def data(*parts: bytes) -> list[bytes]:
    """What the events say, those without data left out."""
    return [said for event in read(*parts)[0] if (said := data_of(event)) is not None]


def reference(document: bytes) -> list[bytes]:
    """What a whole document says, by the steps of WHATWG HTML 9.2.6, as plainly as they can be written down."""
    if document.startswith(BYTE_ORDER_MARK):
        document = document[3:]
    dispatched = []
    buffer = line = b""
    position = 0
    while position < len(document):
        byte = document[position : position + 1]
        position += 1
        if byte not in (b"\r", b"\n"):
            line += byte
            continue
        if byte == b"\r" and document[position : position + 1] == b"\n":
            position += 1
        if not line:
            if buffer:
                dispatched.append(buffer[:-1])
            buffer = b""
        elif not line.startswith(b":"):
            field, _, value = line.partition(b":")
            if value.startswith(b" "):
                value = value[1:]
            if field == b"data":
                buffer += value + b"\n"
        line = b""
    return dispatched


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b"data: x\n\n", [b"x"]),
        (b"data:x\n\n", [b"x"]),
        (b"data:  x \n\n", [b" x "]),
        (b"data: x\r\n\r\n", [b"x"]),
        (b"data: x\r\r", [b"x"]),
        (b"data: x\n\r", [b"x"]),
        (b"data: x\r\n\n", [b"x"]),
        (b"data: x\n\r\n", [b"x"]),
        (b"data: x\r\r\n", [b"x"]),
        (b"data: x\rdata: y\n\n", [b"x\ny"]),
        (b"data: x\ry\n\n", [b"x"]),
        (b"data: a\ndata:b\ndata\ndata: \n\n", [b"a\nb\n\n"]),
        (b"data\n\n", [b""]),
        (b"data:\n\n", [b""]),
        (b"data: \n\n", [b""]),
        (b"\n\n\ndata: x\n\n\n\n", [b"x"]),
        (b": comment\n\n", []),
        (b": comment\ndata: x\nid: 7\nretry: 1\nevent: e\n\n", [b"x"]),
        (b"event: e\n\n", []),
        (b"data2: x\n\ndatax\n\n Data: x\n\n", []),
        (b"data : x\n\n", []),
        (BYTE_ORDER_MARK + b"data: x\n\n", [b"x"]),
        (BYTE_ORDER_MARK + b"data:x\r\n\r\ndata: y\n\n", [b"x", b"y"]),
        (b"data: " + BYTE_ORDER_MARK + b"\n\n", [BYTE_ORDER_MARK]),
        (b"data: never ended", []),
        (b"data: x\n", []),
        (b"data: \xff\x00\n\n", [b"\xff\x00"]),
        (b"", []),
    ],
)
def test_the_forms_an_event_may_have(document: bytes, expected: list[bytes]) -> None:
    """All three line ends and their mixtures, the space that may be missing, several data lines, comments, the mark."""
    assert expected == reference(document)
    assert expected == data(document)
    assert expected == data(*(document[i : i + 1] for i in range(len(document))))


@pytest.mark.parametrize("blank_line", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n", b"\r\n\r", b"\n\r"])
def test_an_event_is_out_as_soon_as_its_blank_line_is(blank_line: bytes) -> None:
    """Nothing waits for the next event. A CR ends the blank line, so the LF of a CR LF may be all that stays behind."""
    sent = b"data: x" + blank_line
    events, rest = read(*(bytes([byte]) for byte in sent))

    assert [b"x"] == [data_of(event) for event in events]
    assert sent == events[0] + rest
    assert rest in (b"", b"\n")


def test_a_line_end_cut_in_two_ends_one_line() -> None:
    """CR at the end of one read and LF at the begin of the next are one line end, not a blank line."""
    assert ([], b"data: x\r\n") == read(b"data: x\r", b"\n")
    assert [b"x\ny"] == data(b"data: x\r", b"\ndata: y\r", b"\n\r", b"\n")
    assert [b"x", b"y"] == data(b"data: x\r\n\r", b"\ndata: y\r\n\r", b"\n")


def test_a_third_line_end_is_kept_for_the_next_event() -> None:
    """Blank lines between events mean nothing, and are not lost either."""
    assert ([b"data: x\n\n"], b"\n") == read(b"data: x\n\n\n")
    assert ([b"data: x\n\n", b"\ndata: y\n\n"], b"") == read(b"data: x\n\n\ndata: y\n\n")
    assert ([b"data: x\n\n", b"\n\n"], b"\n") == read(b"data: x\n\n\n\n\n")


_LINES = st.sampled_from(
    [b"data: x", b"data:{\"a\":1}", b"data", b"data:", b"data:  ", b": c", b":", b"id: 1", b"x", b"", b"", b"data: " + b"y" * 40]
) | st.binary(max_size=4).map(lambda line: b"data: " + line)  # fmt: skip
_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
_OF_ONE_KIND = _ENDS.flatmap(lambda end: st.lists(_LINES.map(lambda line: line + end), max_size=12)).map(b"".join)
_MIXED = st.lists(st.tuples(_LINES, _ENDS | st.just(b"")).map(b"".join), max_size=12).map(b"".join)
_DOCUMENTS = st.tuples(st.sampled_from([b"", BYTE_ORDER_MARK]), _OF_ONE_KIND | _MIXED).map(b"".join)
_CUTS = st.lists(st.integers(0, 300), max_size=12).map(sorted) | st.just(list(range(300)))


def split(document: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *(min(cut, len(document)) for cut in cuts), len(document)]
    return [document[start:end] for start, end in itertools.pairwise(edges)]


@settings(deadline=None, print_blob=True)
@given(st.binary(max_size=120) | st.text("\r\nd", max_size=60).map(str.encode) | _DOCUMENTS, _CUTS)
@example(b"data: x\n\n\n", [])
def test_no_byte_is_lost_or_added(document: bytes, cuts: list[int]) -> None:
    """All events and the rest are the bytes that went in, for any bytes and any cuts."""
    events, rest = read(*split(document, cuts))

    assert document == b"".join(events) + rest


@settings(deadline=None, print_blob=True, max_examples=300)
@given(_DOCUMENTS, _CUTS)
def test_events_say_the_same_however_they_are_cut(document: bytes, cuts: list[int]) -> None:
    """Equal to a reading of the whole document by the letter of the specification."""
    expected = reference(document)

    assert expected == data(document)
    assert expected == data(*split(document, cuts))


def test_a_line_of_8_mib_passes() -> None:
    """Whole, however it arrives."""
    event = b"data: " + b"x" * (8 * 1024 * 1024) + b"\n\n"
    parts = [event[start : start + 65_536] for start in range(0, len(event), 65_536)]

    assert ([event], b"") == read(event)
    assert ([event], b"") == read(*parts)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_an_event_beyond_the_limit_is_refused(line_end: bytes) -> None:
    """Up to the limit is kept, the next byte is too much; many lines without a blank one are one event too."""
    line = b"data: " + b"x" * (100 - 6 - len(line_end)) + line_end
    reader = EventReader(limit_bytes=1000)
    for _ in range(10):
        assert [] == reader.feed(line)

    with pytest.raises(EventTooLarge, match="more than 1000 bytes"):
        reader.feed(b"x")
    assert reader.is_empty, "what was refused takes no memory"


def test_the_limit_is_for_one_event() -> None:
    """A long stream of small events is no large event, and the largest event is told by the limit that is in force."""
    reader = EventReader(limit_bytes=100)
    events = [
        event
        for _ in range(100)
        for event in reader.feed(b"data: 12345\n\n" * 3 + b"data: 1234") + reader.feed(b"5\n\n")
    ]

    assert [b"data: 12345\n\n"] * 400 == events
    with pytest.raises(EventTooLarge, match=str(EVENT_LIMIT_BYTES)):
        EventReader().feed(b"x" * (EVENT_LIMIT_BYTES + 1))


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_byte_by_byte_a_long_event_is_read(line_end: bytes) -> None:
    """200 KB in single bytes: bytes that were searched are not searched again."""
    event = b"data: " + b"x" * 997 + line_end + (b": " + b"y" * 997 + line_end) * 200 + line_end
    events, rest = read(*(event[i : i + 1] for i in range(len(event))))

    assert [b"x" * 997] == [data_of(event) for event in events]
    assert event == events[0] + rest


def test_what_we_send_reads_back() -> None:
    """Our own events and comments are read as what they are."""
    assert [b'{"a":1}', b"[DONE]"] == data(encode(b'{"a":1}') + comment("keep-alive") + DONE)
    assert b": keep-alive\n\n" == comment("keep-alive")
