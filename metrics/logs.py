"""Log lines as JSON, one object a line, written by a thread of their own: whoever logs never waits for who reads.

A pipe whose reader has stopped blocks whoever writes to it. So lines are put on a heap of bounded size and a thread takes
them from there, many at a time. What does not fit is dropped and counted, and as soon as there is room again one line says
how many were lost. A line is at most `LINE_LIMIT_BYTES` long.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

LINE_LIMIT_BYTES: Final = 8_192
"""A trace is cut to fit; the line of a call is far below (middlewares/observe.py)."""
HEAP_LIMIT_BYTES: Final = 1_048_576
"""Lines that wait for the reader; what comes beyond is dropped."""
NOBODY_READS: Final = frozenset({errno.EPIPE, errno.EBADF})
"""Nobody will ever read again. What else keeps a line from being written, a full disk above all, passes."""
AGAIN_SECONDS: Final = 1.0
"""How long the thread waits after it could not write."""
GATHER_SECONDS: Final = 0.05
"""How long the thread lets lines gather: under load it then writes twenty times a second, and not for each line."""
TEXT_LIMIT: Final = 2_000
"""Characters of a message, and of a trace's end."""


class LineWriter:
    """The heap and the thread that empties it into a file descriptor. `write` may be called from any thread."""

    def __init__(self, descriptor: int, *, limit_bytes: int = HEAP_LIMIT_BYTES) -> None:
        self.on_dropped: Callable[[int], None] | None = None
        """Called with the number of lines lost, from the thread that lost them; for metrics."""
        self._descriptor = descriptor
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._lines: list[bytes] = []
        self._bytes = 0
        self._untold = 0
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="log-writer", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Put a line on the heap, without its end; drop it if the heap is full. Never waits."""
        with self._lock:
            if self._bytes + len(line) > self._limit_bytes:
                self._untold += 1
                dropped = True
            else:
                dropped = False
                self._lines.append(line)
                self._bytes += len(line) + 1
                if len(self._lines) == 1:
                    self._wanted.set()
        if dropped and self.on_dropped is not None:
            self.on_dropped(1)

    def close(self, *, timeout_seconds: float = 1.0) -> None:
        """Write what is on the heap, for at most so long: a reader that has stopped must not keep the process."""
        self._closing = True
        self._wanted.set()
        self._thread.join(timeout_seconds)

    def _serve(self) -> None:
        while True:
            self._wanted.wait()
            if not self._closing:
                time.sleep(GATHER_SECONDS)
            chunk = self._take()
            if not chunk:
                if self._closing:
                    return
                continue
            for part in _in_parts(chunk):
                try:
                    while part:
                        part = part[os.write(self._descriptor, part) :]
                except OSError as error:
                    if error.errno in NOBODY_READS:
                        return  # Lines are dropped once the heap is full.
                    self._lose(part.count(b"\n"))
                    if not self._closing:
                        time.sleep(AGAIN_SECONDS)

    def _lose(self, lines: int) -> None:
        with self._lock:
            self._untold += lines
        if self.on_dropped is not None:
            self.on_dropped(lines)

    def _take(self) -> bytes:
        """Everything on the heap as one text, with a line about what was lost before."""
        with self._lock:
            lines, self._lines, self._bytes = self._lines, [], 0
            lost, self._untold = self._untold, 0
            if not self._closing:
                self._wanted.clear()
        if lost:
            lines.append(line_of("warning", "log_lines_dropped", {"count": lost}))
        return b"".join(line + b"\n" for line in lines)


def _in_parts(chunk: bytes) -> Iterator[bytes]:
    """Whole lines, as many as a pipe takes at once without mixing them with another process's."""
    start = 0
    while len(chunk) - start > select.PIPE_BUF:
        end = chunk.rfind(b"\n", start, start + select.PIPE_BUF) + 1 or chunk.index(b"\n", start) + 1
        yield chunk[start:end]
        start = end
    yield chunk[start:]


class JsonHandler(logging.Handler):
    """What the program says through `logging`, as lines of the same form. Never raises, never waits."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record: its message, and the end of its trace if it has one."""
        try:
            facts: dict[str, Any] = {"logger": record.name, "message": record.getMessage()[:TEXT_LIMIT]}
            if record.exc_info is not None and record.exc_info[1] is not None:
                facts["trace"] = "".join(traceback.format_exception(record.exc_info[1]))[-TEXT_LIMIT:]
            self._writer.write(line_of(record.levelname.lower(), "message", facts, seconds=record.created))
        except Exception as error:  # noqa: BLE001 - a log line must not break what it tells of
            facts = {"logger": record.name, "message": f"a record could not be written: {error!r}"[:TEXT_LIMIT]}
            self._writer.write(line_of("error", "message", facts))


class _Clock:
    """The second that was written last and its text: writing one anew costs more than all the rest of a line."""

    last = (-1, "")


def _shown_time(seconds: float) -> str:
    """ISO 8601 in UTC, with milliseconds."""
    second = int(seconds // 1)
    known, text = _Clock.last  # Read and written at once, since any thread may log.
    if known != second:
        text = f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"
        _Clock.last = (second, text)
    return f"{text}.{int((seconds - second) * 1000):03d}Z"


def line_of(level: str, event: str, facts: Mapping[str, Any], *, seconds: float | None = None) -> bytes:
    """One line: when, how serious, what, and its facts; those that are None are left out."""
    if None in facts.values():
        facts = {name: value for name, value in facts.items() if value is not None}
    shown = {"time": _shown_time(time.time() if seconds is None else seconds), "level": level, "event": event, **facts}
    try:
        line = orjson.dumps(shown)
    except TypeError:  # Half a surrogate pair in a text, or a value of no JSON type.
        line = orjson.dumps({name: ascii(value)[:TEXT_LIMIT] for name, value in shown.items()})
    if len(line) > LINE_LIMIT_BYTES:
        return orjson.dumps({**dict(list(shown.items())[:3]), "message": "a line that was too long was left out"})
    return line
