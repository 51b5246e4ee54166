"""Log lines: JSON, whole, in order, and never at the cost of whoever logs."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import metrics.logs
from metrics.logs import HEAP_LIMIT_BYTES, LINE_LIMIT_BYTES, JsonHandler, LineWriter, line_of


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Where to read and where to write."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            pass  # A test closed it.


def read(descriptor: int) -> list[dict[str, Any]]:
    """Every whole line that is in the pipe now."""
    os.set_blocking(descriptor, False)
    text = b""
    try:
        while part := os.read(descriptor, 1_000_000):
            text += part
    except BlockingIOError:
        pass
    return [json.loads(line) for line in text.splitlines()]


def test_lines_come_whole_and_in_order(pipe: tuple[int, int]) -> None:
    """What is on the heap when the writer is closed is still written."""
    writer = LineWriter(pipe[1])
    for number in range(300):
        writer.write(line_of("info", "test", {"number": number, "nothing": None}))
    writer.close()

    lines = read(pipe[0])

    assert list(range(300)) == [line["number"] for line in lines]
    assert {"time", "level", "event", "number"} == set(lines[0])


def test_a_reader_that_has_stopped_costs_lines_and_nothing_else(pipe: tuple[int, int]) -> None:
    """Beyond the heap's limit lines are dropped and counted; when it reads again one line says how many."""
    dropped: list[int] = []
    writer = LineWriter(pipe[1])
    writer.on_dropped = dropped.append
    line = line_of("info", "test", {"text": "x" * 1_000})
    written = 3 * HEAP_LIMIT_BYTES // len(line)

    for _ in range(written):
        writer.write(line)

    assert 0 < sum(dropped) < written
    lines: list[dict[str, Any]] = []
    with os.fdopen(os.dup(pipe[0]), "rb") as reader:
        for text in reader:
            lines.append(json.loads(text))
            if lines[-1]["event"] == "log_lines_dropped":
                break
    writer.close()
    lost = sum(line["count"] for line in lines if line["event"] == "log_lines_dropped")
    assert sum(dropped) == lost
    assert written - lost == sum(line["event"] == "test" for line in lines)


def test_closing_does_not_wait_for_a_reader_for_ever(pipe: tuple[int, int]) -> None:
    """A process that ends, ends."""
    writer = LineWriter(pipe[1])
    for _ in range(500):
        writer.write(b"x" * 1_000)

    before = time.monotonic()
    writer.close(timeout_seconds=0.2)

    assert time.monotonic() - before < 5


def test_a_disk_that_was_full_gets_the_lines_after_that(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What could not be written is lost and counted, and one line says how many; then the log goes on."""
    monkeypatch.setattr(metrics.logs, "AGAIN_SECONDS", 0.05)
    descriptor, file = os.open("/dev/full", os.O_WRONLY), tmp_path / "log"
    dropped: list[int] = []
    writer = LineWriter(descriptor)
    writer.on_dropped = dropped.append
    writer.write(line_of("info", "test", {"number": 1}))
    until = time.monotonic() + 10
    while not dropped and time.monotonic() < until:
        time.sleep(0.01)

    with file.open("wb") as there_is_room:
        os.dup2(there_is_room.fileno(), descriptor)
    writer.write(line_of("info", "test", {"number": 2}))
    writer.close()
    os.close(descriptor)

    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [1] == dropped
    assert [("test", 2, None), ("log_lines_dropped", None, 1)] == [
        (line["event"], line.get("number"), line.get("count")) for line in lines
    ]


def test_a_reader_that_is_gone_breaks_nothing(pipe: tuple[int, int]) -> None:
    """The thread ends; what is logged afterwards is lost."""
    os.close(pipe[0])
    writer = LineWriter(pipe[1])
    for _ in range(3):
        writer.write(b"line")
        time.sleep(0.06)
    writer.close()

    assert not writer._thread.is_alive()


def test_what_is_logged_has_its_message_and_its_trace(pipe: tuple[int, int]) -> None:
    """A record of `logging` becomes a line of the same form."""
    writer = LineWriter(pipe[1])
    logger = logging.getLogger("find-token.test")
    logger.propagate = False  # Others would show what they cannot format in their own ways.
    handler = JsonHandler(writer)
    logger.addHandler(handler)
    try:
        raise ValueError("broken")
    except ValueError:
        logger.exception("it is %s", "so")
    logger.warning("%s %s", "too few")
    logger.removeHandler(handler)
    logger.propagate = True
    writer.close()

    line, odd = read(pipe[0])

    assert ("error", "message", "find-token.test", "it is so") == tuple(
        line[name] for name in ("level", "event", "logger", "message")
    )
    assert line["trace"].endswith("ValueError: broken\n")
    assert "could not be written" in odd["message"]


@given(st.dictionaries(st.text(max_size=20), st.one_of(st.none(), st.integers(), st.text(max_size=9_000), st.binary())))
def test_whatever_is_told_is_one_line_of_json_within_the_limit(facts: dict[str, Any]) -> None:
    """Also half a surrogate pair, a number beyond 64 bits, a value of no JSON type."""
    line = line_of("info", "test", facts)

    assert b"\n" not in line
    assert len(line) <= LINE_LIMIT_BYTES
    assert {"time", "level", "event"} <= set(json.loads(line))
