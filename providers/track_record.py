"""The last answers of an upstream: how many were good, and how fast they came. Bounded, and counted only when asked."""

from __future__ import annotations

from collections import deque
from typing import Final

REMEMBERED: Final = 256
"""Attempts that are remembered; older ones say little of how it is now."""
FAILED: Final = -1.0


class TrackRecord:
    """Newest last; an attempt is its latency in seconds, or a failure."""

    __slots__ = ("_attempts",)

    def __init__(self) -> None:
        self._attempts: deque[float] = deque(maxlen=REMEMBERED)

    def served(self, latency_seconds: float | None) -> None:
        """A good answer; None where nobody saw when its first content came."""
        self._attempts.append(float("inf") if latency_seconds is None else latency_seconds)

    def failed(self) -> None:
        """The provider failed."""
        self._attempts.append(FAILED)

    @property
    def samples(self) -> int:
        """How many attempts are remembered."""
        return len(self._attempts)

    @property
    def uptime(self) -> float | None:
        """The share of good answers, from 0 to 1; None where nothing was tried."""
        if not self._attempts:
            return None
        return sum(attempt >= 0 for attempt in self._attempts) / len(self._attempts)

    def latency(self, share: float) -> float | None:
        """The latency that this share of the good answers does not exceed; None where there is none."""
        known = sorted(attempt for attempt in self._attempts if 0 <= attempt < float("inf"))
        if not known:
            return None
        return known[min(len(known) - 1, int(share * len(known)))]
