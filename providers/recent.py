"""What was seen lately, by key: bounded in number, and forgotten when nobody has asked to remember it again for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

_SWEPT_AT_ONCE: Final = 2
"""Entries looked at whenever one is remembered: more than one, so that what is over goes faster than new things come."""


class Recent(Generic[Key, Value]):
    """At most ``capacity`` values; the one that was remembered longest ago goes first. ``clock`` never runs backwards."""

    def __init__(self, capacity: int, idle_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._values: dict[Key, tuple[float, Value]] = {}

    def __len__(self) -> int:
        return len(self._values)

    def find(self, key: Key) -> Value | None:
        """What was remembered under ``key``, unless that is too long ago."""
        found = self._values.get(key)
        if found is None:
            return None
        if self._clock() - found[0] >= self._idle_seconds:
            del self._values[key]
            return None
        return found[1]

    def remember(self, key: Key, value: Value) -> None:
        """Keep ``value``; its time begins anew."""
        values, now = self._values, self._clock()
        values.pop(key, None)
        for _ in range(_SWEPT_AT_ONCE):
            oldest = next(iter(values), None)
            if oldest is None or (len(values) < self._capacity and now - values[oldest][0] < self._idle_seconds):
                break
            del values[oldest]
        values[key] = (now, value)
