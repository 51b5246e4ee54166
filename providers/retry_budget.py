"""How many retries a provider gets: a share of the requests it gets, so that trouble is not answered with more traffic.

Pure: time is given. Requests and retries are counted by the second over a sliding window. A few retries are allowed whatever
the traffic, so that a lone caller gets its whole schedule. Asking another provider is no retry here: it is a request there.
"""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW_SECONDS: Final = 10
"""Longer than the waits of one schedule (1 + 2 + 4 s)."""
RETRIES_ALWAYS: Final = 20
"""Retries within a window that need no requests beside them."""
SHARE_PERCENT: Final = 20


class RetryBudget:
    """The requests and retries of one provider in the last seconds."""

    __slots__ = ("_always", "_percent", "_requests", "_retries", "_seconds")

    def __init__(self, percent: int = SHARE_PERCENT, always: int = RETRIES_ALWAYS) -> None:
        self._percent = percent
        self._always = always
        self._seconds: deque[list[int]] = deque()
        """Second, requests, retries: one entry for each second in the window in which something happened."""
        self._requests = 0
        self._retries = 0

    def request(self, now: float) -> None:
        """A call asks this provider for the first time."""
        self._entry(now)[1] += 1
        self._requests += 1

    def take(self, now: float) -> bool:
        """Whether a call may ask again; if so it is counted."""
        entry = self._entry(now)
        if self._retries >= max(self._always, self._requests * self._percent // 100):
            return False
        entry[2] += 1
        self._retries += 1
        return True

    def _entry(self, now: float) -> list[int]:
        second, seconds = int(now), self._seconds
        while seconds and seconds[0][0] <= second - WINDOW_SECONDS:
            _, requests, retries = seconds.popleft()
            self._requests -= requests
            self._retries -= retries
        if not seconds or seconds[-1][0] != second:
            seconds.append([second, 0, 0])
        return seconds[-1]


class RetryBudgets:
    """One budget for each provider; there are as many as the catalogue has providers."""

    def __init__(self) -> None:
        self._budgets: dict[str, RetryBudget] = {}

    def of(self, provider: str) -> RetryBudget:
        """The provider's budget."""
        budget = self._budgets.get(provider)
        if budget is None:
            budget = self._budgets[provider] = RetryBudget()
        return budget
