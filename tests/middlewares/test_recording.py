"""Every reader gets everything, however writer and readers take turns; memory is bounded, and what is gone is said to be."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middlewares.recording import (
    PIECE_BYTES,
    BeginningGone,
    Broken,
    EventUnknown,
    Head,
    Reader,
    Recording,
    Room,
    Tape,
)

FRAMES = st.lists(st.binary(min_size=1, max_size=40), max_size=30)
TURNS = st.lists(st.integers(0, 3), min_size=1, max_size=40)


async def turns(number: int) -> None:
    """Let others go first, so many times."""
    for _ in range(number):
        await asyncio.sleep(0)


async def read_all(reader: Reader, pauses: list[int]) -> bytes:
    """Everything to the end, with pauses in between."""
    data, position = b"", 0
    try:
        while part := await reader.read():
            data += part
            await turns(pauses[position % len(pauses)])
            position += 1
    finally:
        reader.leave()
    return data


@given(frames=FRAMES, writing=TURNS, reading=st.lists(st.tuples(st.integers(0, 60), TURNS), max_size=6))
def test_every_reader_gets_the_whole(
    frames: list[bytes], writing: list[int], reading: list[tuple[int, list[int]]]
) -> None:
    """Whenever they come, during the writing or after it, and however they take turns."""

    async def story() -> list[bytes]:
        recording = Recording(Room())

        async def write() -> None:
            for number, frame in enumerate(frames):
                await turns(writing[number % len(writing)])
                await recording.write(frame)
            recording.end()

        async def read(after: int, pauses: list[int]) -> bytes:
            await turns(after)
            return await read_all(recording.read_from(), pauses)

        _, *read_bytes = await asyncio.gather(write(), *(read(after, pauses) for after, pauses in reading))
        return read_bytes

    assert [b"".join(frames)] * len(reading) == asyncio.run(story())


@given(
    frames=FRAMES,
    writing=TURNS,
    reading=st.lists(TURNS, min_size=1, max_size=4),
    late=st.integers(0, 60),
    limit=st.integers(0, 200),
    shared=st.booleans(),
)
def test_beyond_the_limits_who_is_there_still_gets_the_whole(
    frames: list[bytes], writing: list[int], reading: list[list[int]], late: int, limit: int, shared: bool
) -> None:
    """Readers from the start lose nothing; whoever comes later gets the whole or is told. No more is kept than the limit and
    the frame being written, whether the limit is its own or the room's."""
    largest = max(map(len, frames), default=0)

    async def story() -> tuple[list[bytes], bytes | None, int]:
        room = Room(limit) if shared else Room()
        recording = Recording(room) if shared else Recording(room, limit)
        readers = [recording.read_from() for _ in reading]
        most = 0

        async def write() -> None:
            nonlocal most
            for number, frame in enumerate(frames):
                await turns(writing[number % len(writing)])
                await recording.write(frame)
                most = max(most, room.used_bytes)
            recording.end()

        async def come_late() -> bytes | None:
            await turns(late)
            try:
                return await read_all(recording.read_from(), [0])
            except BeginningGone:
                return None

        tasks = [read_all(reader, pauses) for reader, pauses in zip(readers, reading, strict=True)]
        _, latecomer, *got = await asyncio.gather(write(), come_late(), *tasks)
        return got, latecomer, most

    got, latecomer, most = asyncio.run(story())
    assert [b"".join(frames)] * len(reading) == got
    assert latecomer in (None, b"".join(frames))
    assert limit + largest >= most


@given(frames=st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.booleans()), max_size=30), data=st.data())
def test_what_stands_behind_an_event(frames: list[tuple[bytes, bool]], data: st.DataObject) -> None:
    """Everything that was written after it, comments included; or that it is gone, or that there never was one."""
    tape = Tape()
    for frame, is_event in frames:
        tape.append(frame, is_event=is_event)
    dropped = data.draw(st.integers(0, len(frames)))
    freed = tape.drop(dropped)
    events = [position for position, (_, is_event) in enumerate(frames, 1) if is_event]
    event = data.draw(st.integers(-1, len(events) + 1))

    assert sum(len(frame) for frame, _ in frames[:dropped]) == freed
    assert len(events) == tape.last_event
    if not 0 <= event <= len(events):
        with pytest.raises(EventUnknown):
            tape.behind(event)
        return
    position = events[event - 1] if event else 0
    if position < dropped:
        with pytest.raises(BeginningGone):
            tape.take(tape.behind(event), 1000)
    else:
        found, end = tape.take(tape.behind(event), 1000)
        assert b"".join(frame for frame, _ in frames[position:]) == found
        assert len(frames) == end


def test_pieces_are_not_endless() -> None:
    """A reader is given so much at once, and never less than a frame."""
    tape = Tape()
    for _ in range(3):
        tape.append(b"x" * 10)

    assert [(b"x" * 20, 2), (b"x" * 10, 1), (b"", 3)] == [tape.take(0, 25), tape.take(0, 1), tape.take(3, 25)]
    tape.drop(1)
    with pytest.raises(BeginningGone):
        tape.take(0, 25)
    assert PIECE_BYTES >= 1


async def test_a_writer_waits_only_where_there_is_no_room() -> None:
    """Within the limit a reader who stands still keeps nobody waiting; beyond it the slowest does, until it moves or leaves."""
    recording = Recording(Room(), 10)
    slow, slower = recording.read_from(), recording.read_from()
    await asyncio.wait_for(recording.write(b"x" * 10), 1)
    writing = asyncio.create_task(recording.write(b"y"))
    await turns(5)
    assert not writing.done()
    await slow.read()
    await turns(5)
    assert not writing.done()
    slower.leave()
    await asyncio.wait_for(writing, 1)
    assert not recording.is_whole
    with pytest.raises(BeginningGone):
        recording.read_from()


async def test_a_full_room_asks_for_space_first() -> None:
    """What is finished goes before anybody loses a beginning."""
    room = Room(10)
    old, new = Recording(room), Recording(room)
    room.make_room = old.forget
    await old.write(b"x" * 8)
    old.end()
    await new.write(b"y" * 8)

    assert (True, 8) == (new.is_whole, room.used_bytes)
    assert b"y" * 8 == await new.read_from().read()


async def test_the_head_comes_first_or_never() -> None:
    """Whoever waits for it is told as soon as it is known, or that there will be none."""
    recording = Recording(Room())
    waiting = asyncio.create_task(recording.read_from().head())
    await turns(2)
    head = Head(200, (), True)
    recording.begin(head)
    assert head == await waiting
    failed = Recording(Room())
    told = asyncio.create_task(failed.read_from().head())
    await turns(2)
    failed.fail(ValueError("x"))
    with pytest.raises(Broken):
        await told


async def test_an_answer_that_ends_in_the_middle_is_told_to_be_broken() -> None:
    """After everything that there is."""
    recording = Recording(Room())
    reader = recording.read_from()
    await recording.write(b"half")
    recording.fail(ValueError("x"))

    assert (b"half", True) == (await reader.read(), reader.closes)
    with pytest.raises(Broken):
        await reader.read()


async def test_the_last_to_leave_is_noticed() -> None:
    """Once, and not while anybody is left."""
    recording = Recording(Room())
    left: list[str] = []
    recording.on_left = lambda: left.append("left")
    one, two = recording.read_from(), recording.read_from()
    one.leave()
    assert [] == left
    two.leave()
    two.leave()
    assert ["left"] == left


async def test_a_waiter_who_gives_up_leaves_nothing_behind() -> None:
    """Thousands of callers may leave while a provider is silent."""
    recording = Recording(Room())
    reader = recording.read_from()
    waiting = asyncio.create_task(reader.read())
    await turns(2)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert [] == recording._waiting
