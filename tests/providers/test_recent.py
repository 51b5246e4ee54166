"""A memory that is bounded in number and in time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from providers.recent import Recent


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_last_word_counts() -> None:
    """And what was never said is not there."""
    recent: Recent[str, int] = Recent(3, 10, Clock())
    recent.remember("a", 1)
    recent.remember("a", 2)

    assert (2, None, 1) == (recent.find("a"), recent.find("b"), len(recent))


def test_the_oldest_goes_first() -> None:
    """Remembered again, an entry is young again."""
    recent: Recent[str, int] = Recent(3, 10, Clock())
    for name in "abcad":
        recent.remember(name, 0)

    assert [True, False, True, True] == [recent.find(name) is not None for name in "abcd"]


def test_what_is_idle_is_forgotten() -> None:
    """Exactly when its time is over, and its place is given back without anybody asking for it."""
    clock = Clock()
    recent: Recent[str, int] = Recent(100, 10, clock)
    recent.remember("a", 1)
    clock.now = 9.9
    assert 1 == recent.find("a")
    clock.now = 10
    assert None is recent.find("a")
    for name in "bcdef":
        recent.remember(name, 1)
    clock.now = 30
    for name in "ghi":
        recent.remember(name, 1)

    assert 3 == len(recent)


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 5))), st.integers(1, 4))
def test_it_remembers_what_a_list_would(words: list[tuple[int, float]], capacity: int) -> None:
    """Never more than its capacity; whatever is found is the last word on it, and it is not too old."""
    clock = Clock()
    recent: Recent[int, int] = Recent(capacity, 10, clock)
    said: dict[int, tuple[float, int]] = {}
    for number, (key, pause) in enumerate(words):
        clock.now += pause
        said.pop(key, None)
        said[key] = (clock.now, number)
        recent.remember(key, number)
        assert len(recent) <= capacity
    lately = dict([*said.items()][-capacity:])

    expected = {key: lately[key][1] if key in lately and clock.now - lately[key][0] < 10 else None for key in range(10)}
    assert expected == {key: recent.find(key) for key in range(10)}
