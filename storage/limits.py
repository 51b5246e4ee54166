"""How much of each limit is used: requests and tokens by the minute, calls at once, in this process's memory.

Rates are GCRA (the generic cell rate algorithm): a bucket of one minute that refills continuously, kept as one number, the
moment at which it will be full again. Source: ITU-T I.371, "virtual scheduling algorithm". A call stands under several
scopes (its account, its key); it passes all of them and is counted in each, or is refused and counted in none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from billing.values import value

WINDOW_SECONDS: Final = 60.0
BUCKETS_REMEMBERED: Final = 100_000
"""Buckets kept; full ones are dropped first, since a full bucket says nothing."""
CROWDED_SECONDS: Final = 1.0
"""What a call is told to wait that is one too many at once: nobody knows when another ends."""
_HAIR: Final = 1e-9
"""Sums of fractions would otherwise refuse the last request of a full bucket."""


@value
class Limits:
    """How much may be asked; 0 is no limit."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    concurrent_requests: int = 0

    def __bool__(self) -> bool:
        """Whether anything is limited."""
        return bool(self.requests_per_minute or self.tokens_per_minute or self.concurrent_requests)


@value
class Scope:
    """Who shares a limit: ``name`` is ``account:…`` or ``key:…``."""

    name: str
    limits: Limits


@value
class Verdict:
    """What the limits say of one call."""

    refused_by: Scope | None = None
    """Whose limit is used up; None where the call may pass."""
    kind: str = ""
    """Of what there was too much: requests, tokens or concurrency."""
    retry_after_seconds: float = 0.0
    """When the same call would pass if nobody else asked."""
    state: tuple[int, int, float] | None = None
    """Of the fullest request bucket: its limit, what is left, seconds until it is whole. None without one."""


PASSED: Final = Verdict()


class Limiter(Protocol):
    """What a gateway asks: the limits of one process, or those that several share."""

    async def start(self) -> None:
        """Before the first question."""

    async def close(self) -> None:
        """After the last one."""

    async def enter(self, scopes: Sequence[Scope], call_id: str) -> Verdict:
        """Count a call and take a place for it; a place that was taken must be left again."""

    def leave(self, scopes: Sequence[Scope], call_id: str) -> None:
        """The call is over: its places are free. Never waits."""

    async def take_tokens(self, scopes: Sequence[Scope], tokens: int) -> Verdict:
        """Take what a call will need; of a bucket that is smaller than that, all it can hold."""

    def correct_tokens(self, scopes: Sequence[Scope], taken: int, used: int) -> None:
        """The call used ``used`` where ``taken`` had been asked for. Never waits."""


class Buckets:
    """One GCRA bucket per name."""

    def __init__(self) -> None:
        self._full_at: dict[str, float] = {}

    def wait(self, name: str, limit: int, amount: float, now: float) -> float:
        """Seconds until ``amount`` could be taken; 0 if it can be now."""
        wait = max(self._full_at.get(name, now), now) + amount * WINDOW_SECONDS / limit - now - WINDOW_SECONDS
        return wait if wait > _HAIR else 0.0

    def move(self, name: str, limit: int, amount: float, now: float) -> None:
        """Take ``amount`` out, whether it is there or not; less than 0 gives back."""
        if name not in self._full_at:
            if amount <= 0:
                return
            if len(self._full_at) >= BUCKETS_REMEMBERED:
                self._forget(now)
        self._full_at[name] = max(self._full_at.get(name, now), now) + amount * WINDOW_SECONDS / limit

    def state(self, name: str, limit: int, now: float) -> tuple[int, int, float]:
        """The limit, what is left of it, and the seconds until nothing is missing."""
        missing_seconds = max(self._full_at.get(name, now) - now, 0.0)
        left = int((WINDOW_SECONDS - missing_seconds) * limit / WINDOW_SECONDS + 1e-6)
        return limit, max(left, 0), missing_seconds

    def _forget(self, now: float) -> None:
        """Drop full buckets; if none is full, the fullest half."""
        kept = {name: full_at for name, full_at in self._full_at.items() if full_at > now}
        if len(kept) >= BUCKETS_REMEMBERED:
            emptiest_first = sorted(kept, key=kept.__getitem__, reverse=True)
            kept = {name: kept[name] for name in emptiest_first[: BUCKETS_REMEMBERED // 2]}
        self._full_at = kept


class LocalLimits:
    """The limits of one process. Nothing here waits."""

    def __init__(self) -> None:
        self._requests = Buckets()
        self._tokens = Buckets()
        self._running: dict[str, int] = {}

    async def start(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def enter(self, scopes: Sequence[Scope], call_id: str) -> Verdict:  # noqa: ARG002 - what runs is counted, not named
        """Count a call and take a place for it."""
        now = asyncio.get_running_loop().time()
        verdict = self._look(scopes, now)
        if verdict is not PASSED:
            return verdict
        for scope in scopes:
            if scope.limits.requests_per_minute:
                self._requests.move(scope.name, scope.limits.requests_per_minute, 1, now)
            if scope.limits.concurrent_requests:
                self._running[scope.name] = self._running.get(scope.name, 0) + 1
        return Verdict(state=self._state(scopes, now))

    def leave(self, scopes: Sequence[Scope], call_id: str) -> None:  # noqa: ARG002 - what runs is counted, not named
        """The call is over: its places are free."""
        for scope in scopes:
            if scope.limits.concurrent_requests:
                left = self._running.get(scope.name, 1) - 1
                if left:
                    self._running[scope.name] = left
                else:
                    self._running.pop(scope.name, None)

    def take_back(self, scopes: Sequence[Scope], call_id: str) -> None:
        """The call did not take place: its requests are given back, too."""
        now = asyncio.get_running_loop().time()
        self.leave(scopes, call_id)
        for scope in scopes:
            if scope.limits.requests_per_minute:
                self._requests.move(scope.name, scope.limits.requests_per_minute, -1, now)

    async def take_tokens(self, scopes: Sequence[Scope], tokens: int) -> Verdict:
        """Take what a call will need; of a bucket that is smaller than that, all it can hold."""
        now = asyncio.get_running_loop().time()
        limited = [scope for scope in scopes if scope.limits.tokens_per_minute]
        for scope in limited:
            limit = scope.limits.tokens_per_minute
            if wait := self._tokens.wait(scope.name, limit, min(tokens, limit), now):
                return Verdict(scope, "tokens", wait)
        for scope in limited:
            limit = scope.limits.tokens_per_minute
            self._tokens.move(scope.name, limit, min(tokens, limit), now)
        return PASSED

    def correct_tokens(self, scopes: Sequence[Scope], taken: int, used: int) -> None:
        """The call used ``used`` where ``taken`` had been asked for."""
        now = asyncio.get_running_loop().time()
        for scope in scopes:
            if limit := scope.limits.tokens_per_minute:
                self._tokens.move(scope.name, limit, used - min(taken, limit), now)

    def _look(self, scopes: Sequence[Scope], now: float) -> Verdict:
        for scope in scopes:
            most = scope.limits.concurrent_requests
            if most and self._running.get(scope.name, 0) >= most:
                return Verdict(scope, "concurrency", CROWDED_SECONDS, self._state(scopes, now))
        for scope in scopes:
            limit = scope.limits.requests_per_minute
            if limit and (wait := self._requests.wait(scope.name, limit, 1, now)):
                return Verdict(scope, "requests", wait, self._requests.state(scope.name, limit, now))
        return PASSED

    def _state(self, scopes: Sequence[Scope], now: float) -> tuple[int, int, float] | None:
        states = [
            self._requests.state(scope.name, scope.limits.requests_per_minute, now)
            for scope in scopes
            if scope.limits.requests_per_minute
        ]
        return min(states, key=lambda state: state[1]) if states else None
