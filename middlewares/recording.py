"""The recording of one answer: bytes that one writer puts in and any number of readers follow, from the start or from an event.

Rules: every reader gets everything from where it began, in order, however writer and readers take turns; nobody waits for
a reader as long as all fits into the limits of this recording and of all together (`Room`). Beyond them the recording keeps
only what a present reader still needs and is no longer whole: the writer then waits for the slowest, as it would for a
caller's own connection, and whoever comes later is told that the beginning is gone.

Nothing here knows HTTP, the call, or the database.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

RECORDING_LIMIT_BYTES: Final = 8 * 1024 * 1024
"""One answer: some thirty thousand events of the usual size."""
ROOM_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""All recordings of one process together."""
PIECE_BYTES: Final = 256 * 1024
"""The most that a reader is given at once, so that its caller's pace is noticed."""


class BeginningGone(Exception):
    """What a reader asks for is not kept any more."""


class EventUnknown(Exception):
    """A reader asks for what follows an event that there never was."""


class Broken(Exception):
    """The answer ended in the middle, and nothing more will come."""


@dataclass(frozen=True, slots=True)
class Head:
    """What stands before an answer's bytes."""

    status: int
    headers: tuple[tuple[str, str], ...]
    streamed: bool


class Room:
    """How much all recordings may hold together; ``make_room`` is called when it is full, and may drop what is finished."""

    def __init__(self, limit_bytes: int = ROOM_LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.make_room: Callable[[], None] = lambda: None

    @property
    def is_full(self) -> bool:
        """Whether there is more than there may be."""
        return self.used_bytes > self.limit_bytes


class Tape:
    """Frames in order, the oldest of which may be gone. Positions count frames from the first that ever was."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self.first = 0
        """The position of the oldest frame that is left."""
        self._frames: list[bytes] = []
        self._behind = [0]
        """Positions behind events, in order: of the last that is gone (or of the start), then of each that is left."""
        self._events_dropped = 0

    @property
    def end(self) -> int:
        """The position behind the last frame."""
        return self.first + len(self._frames)

    @property
    def last_event(self) -> int:
        """The number of the last event."""
        return self._events_dropped + len(self._behind) - 1

    def append(self, frame: bytes, *, is_event: bool = False) -> None:
        """Add a frame; an event gets the next number."""
        self._frames.append(frame)
        self.size_bytes += len(frame)
        if is_event:
            self._behind.append(self.end)

    def behind(self, event: int) -> int:
        """The position right behind an event; 0 is the start. Raises EventUnknown, and BeginningGone if what follows it was
        dropped."""
        if not 0 <= event <= self.last_event:
            raise EventUnknown
        if event < self._events_dropped or (position := self._behind[event - self._events_dropped]) < self.first:
            raise BeginningGone
        return position

    def take(self, position: int, limit_bytes: int) -> tuple[bytes, int]:
        """What stands at a position, at most so much or one frame, and the position behind. Raises BeginningGone."""
        if position < self.first:
            raise BeginningGone
        start = stop = position - self.first
        size = 0
        while stop < len(self._frames) and (not size or size + len(self._frames[stop]) <= limit_bytes):
            size += len(self._frames[stop])
            stop += 1
        return b"".join(self._frames[start:stop]), self.first + stop

    def drop(self, before: int) -> int:
        """Forget the frames before a position. Returns how many bytes that were."""
        count = min(before, self.end) - self.first
        if count <= 0:
            return 0
        freed = sum(map(len, self._frames[:count]))
        del self._frames[:count]
        self.first += count
        self.size_bytes -= freed
        # The last event that is gone is kept in mind: what follows it may be all here.
        gone = bisect_right(self._behind, self.first) - 1
        del self._behind[:gone]
        self._events_dropped += gone
        return freed


class Recording:
    """One answer, as its writer makes it."""

    def __init__(self, room: Room, limit_bytes: int = RECORDING_LIMIT_BYTES) -> None:
        self.head: Head | None = None
        self.is_over = False
        self.error: BaseException | None = None
        """Why there is only the beginning of an answer, or nothing of it."""
        self.closes = False
        """Whether the connection of whoever reads this is to be closed behind it."""
        self.is_whole = True
        """Whether everything from the first byte is here."""
        self.on_left: Callable[[], None] = lambda: None
        """Called when the last reader has gone."""
        self.tape = Tape()
        self.readers: set[Reader] = set()
        self._room = room
        self._limit_bytes = limit_bytes
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def is_crowded(self) -> bool:
        """Whether there is more than may be kept."""
        return self.tape.size_bytes > self._limit_bytes or (self._room.is_full and not self.is_over)

    def begin(self, head: Head) -> None:
        """The head is known."""
        self.head = head
        self._wake()

    async def write(self, frame: bytes, *, is_event: bool = False) -> None:
        """Add a frame, and wait for the readers only if there is no room to go ahead of them."""
        self.tape.append(frame, is_event=is_event)
        self._room.used_bytes += len(frame)
        self._wake()
        if self.is_crowded and self._room.is_full:
            self._room.make_room()
        while self.is_crowded:
            self.is_whole = False
            self._drop(min((reader.position for reader in self.readers), default=self.tape.end))
            if not self.tape.size_bytes or not self.is_crowded:
                return
            await self.turn()

    def end(self, *, closes: bool = False) -> None:
        """Everything was written."""
        self.is_over, self.closes = True, closes
        self._wake()

    def fail(self, error: BaseException) -> None:
        """There is no answer, or no more of it."""
        self.is_over, self.error, self.closes = True, error, True
        self._wake()

    def read_from(self, event: int = 0) -> Reader:
        """A reader of everything behind that event; 0 is the start. Raises BeginningGone and EventUnknown."""
        reader = Reader(self, self.tape.behind(event))
        self.readers.add(reader)
        return reader

    def forget(self) -> None:
        """Let go of everything."""
        self.is_whole = False
        self._drop(self.tape.end)

    def left(self, reader: Reader) -> None:
        """A reader has gone."""
        self.readers.discard(reader)
        self._wake()
        if not self.readers:
            self.on_left()

    def moved(self) -> None:
        """A reader is further on."""
        if not self.is_whole:
            self._wake()

    def _drop(self, before: int) -> None:
        self._room.used_bytes -= self.tape.drop(before)

    async def turn(self) -> None:
        """Wait until something has changed."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        finally:
            if future in self._waiting:
                self._waiting.remove(future)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


class Reader:
    """One who follows a recording. `leave` must be called."""

    def __init__(self, recording: Recording, position: int) -> None:
        self.position = position
        self._recording = recording

    async def head(self) -> Head:
        """The head, as soon as it is known. Raises Broken if there will be none."""
        recording = self._recording
        while recording.head is None:
            if recording.error is not None:
                raise Broken
            await recording.turn()
        return recording.head

    async def read(self) -> bytes:
        """What comes next; nothing at the end. Raises Broken where the answer ends in the middle."""
        recording = self._recording
        while True:
            data, self.position = recording.tape.take(self.position, PIECE_BYTES)
            if data:
                recording.moved()
                return data
            if recording.error is not None:
                raise Broken
            if recording.is_over:
                return b""
            await recording.turn()

    @property
    def closes(self) -> bool:
        """Whether the connection is to be closed behind this answer; known at its end."""
        return self._recording.closes

    def leave(self) -> None:
        """Stop following; nothing the second time."""
        if self in self._recording.readers:
            self._recording.left(self)
