"""How much of each limit is used: the bucket is exact, its waits are true, and its memory is bounded."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import limits
from storage.limits import Buckets, Limits, LocalLimits, Scope


@dataclass
class Decision:
    """What a bucket says of one request."""

    allowed: bool
    remaining: int
    retry_after_seconds: float
    reset_seconds: float


class RateLimiter:
    """Buckets of one limit, asked and taken from in one go."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.buckets = Buckets()

    def take(self, name: str, now: float) -> Decision:
        wait = self.buckets.wait(name, self.limit, 1, now)
        if not wait:
            self.buckets.move(name, self.limit, 1, now)
        _, left, reset = self.buckets.state(name, self.limit, now)
        return Decision(not wait, left, wait, reset)


# Limits whose interval is exact in binary, with times in eighths of a second: the arithmetic of both sides is then exact.
EXACT_LIMITS = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60, 120, 240)


class Bucket:
    """The textbook bucket: full at the start, refilled continuously, exact."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.tokens = Fraction(limit)
        self.seen = Fraction(0)

    def take(self, now: Fraction) -> bool:
        self.tokens = min(Fraction(self.limit), self.tokens + (now - self.seen) * self.limit / 60)
        self.seen = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


def test_a_whole_minute_may_come_at_once_and_no_more() -> None:
    """60 a minute: of 300 at once 60 pass, a second later one more, a minute later 60 again."""
    limiter = RateLimiter(60)

    assert 60 == sum(limiter.take("a", 100.0).allowed for _ in range(300))
    assert [True, False] == [limiter.take("a", 101.0).allowed for _ in range(2)]
    assert 60 == sum(limiter.take("a", 161.0).allowed for _ in range(300))
    assert limiter.take("b", 161.0).allowed, "every account has a bucket of its own"


@settings(deadline=None, print_blob=True, max_examples=200)
@given(st.sampled_from(EXACT_LIMITS), st.lists(st.integers(0, 400), max_size=200))
def test_it_decides_as_the_textbook_bucket_does(limit: int, eighths: list[int]) -> None:
    """Request for request, with the same number left, for any times between requests."""
    limiter, bucket = RateLimiter(limit), Bucket(limit)
    now = Fraction(1000)
    bucket.seen = now
    for eighth in eighths:
        now += Fraction(eighth, 8)
        expected = bucket.take(now)
        decision = limiter.take("a", float(now))
        assert (expected, int(bucket.tokens)) == (decision.allowed, decision.remaining)


@settings(deadline=None, print_blob=True, max_examples=200)
@given(st.integers(1, 1000), st.lists(st.floats(0, 30), min_size=1, max_size=200))
def test_no_stretch_of_time_sees_more_than_the_limit_allows(limit: int, gaps: list[float]) -> None:
    """In any stretch of T seconds at most limit + T x limit / 60 pass, whatever the times are."""
    limiter, now, passed = RateLimiter(limit), 0.0, []
    for gap in gaps:
        now += gap
        passed += [now for _ in range(20) if limiter.take("a", now).allowed]
    for first, start in enumerate(passed):
        for last in range(first, len(passed)):
            assert last - first + 1 <= limit + (passed[last] - start) * limit / 60 + 1e-3


@settings(deadline=None, print_blob=True, max_examples=100)
@given(st.integers(1, 1000), st.integers(1, 1200))
def test_the_wait_it_names_is_neither_too_short_nor_too_long(limit: int, requests: int) -> None:
    """After it the request passes; a moment before it does not. The bucket is whole again at the reset."""
    limiter = RateLimiter(limit)
    decision = [limiter.take("a", 0.0) for _ in range(requests)][-1]
    if decision.allowed:
        assert 0.0 == decision.retry_after_seconds
        return
    assert not limiter.take("a", decision.retry_after_seconds - 1e-6).allowed
    assert limiter.take("a", decision.retry_after_seconds).allowed
    # That one took a request more, so the bucket is whole one interval after the reset that was named.
    whole = decision.reset_seconds + 60 / limit
    assert limit == sum(limiter.take("a", whole).allowed for _ in range(limit + 5))


def test_memory_is_bounded_and_full_buckets_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is at the limit stays at the limit, however many strangers come."""
    monkeypatch.setattr(limits, "BUCKETS_REMEMBERED", 10)
    limiter = RateLimiter(2)
    assert [True, True, False] == [limiter.take("greedy", 0.0).allowed for _ in range(3)]
    for number in range(1000):
        assert limiter.take(f"stranger {number}", number * 1e-6).allowed
        assert len(limiter.buckets._full_at) <= 10
    assert not limiter.take("greedy", 0.001).allowed


def test_buckets_that_are_full_again_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """They say nothing; nobody else is forgotten for them."""
    monkeypatch.setattr(limits, "BUCKETS_REMEMBERED", 3)
    limiter = RateLimiter(60)
    for account in ("a", "b", "c"):
        limiter.take(account, 0.0)
    limiter.take("c", 0.5)
    limiter.take("d", 1.2)

    assert {"c", "d"} == limiter.buckets._full_at.keys()


async def test_all_scopes_pass_or_none_is_counted() -> None:
    """A call that its key's limit refuses takes nothing from its account."""
    account, key = Scope("account:a", Limits(requests_per_minute=5)), Scope("key:k", Limits(requests_per_minute=1))
    local = LocalLimits()
    verdicts = [await local.enter((account, key), f"call {number}") for number in range(4)]

    assert [None, key, key, key] == [verdict.refused_by for verdict in verdicts]
    assert (5, 3) == ((await local.enter((account,), "another")).state or ())[:2]


async def test_places_are_counted_and_left() -> None:
    """At most so many at once, in each scope; who leaves makes room, and nothing is remembered of those who left."""
    scope = Scope("account:a", Limits(concurrent_requests=2))
    local = LocalLimits()
    first, _, third = [await local.enter((scope,), str(number)) for number in range(3)]
    assert (None, "concurrency") == (first.refused_by, third.kind)

    local.leave((scope,), "0")

    assert (await local.enter((scope,), "4")).refused_by is None
    local.leave((scope,), "1")
    local.leave((scope,), "4")
    assert {} == local._running


async def test_tokens_are_taken_and_put_right() -> None:
    """What was not used is there again, what was used beyond is missing; a call larger than the bucket takes all of it."""
    scope = Scope("account:a", Limits(tokens_per_minute=1000))
    local = LocalLimits()
    assert (await local.take_tokens((scope,), 5000)).refused_by is None
    refused = await local.take_tokens((scope,), 500)
    assert ("tokens", True) == (refused.kind, 29 < refused.retry_after_seconds <= 30)

    local.correct_tokens((scope,), 5000, 100)
    assert (await local.take_tokens((scope,), 890)).refused_by is None
    local.correct_tokens((scope,), 890, 2890)

    assert 120 < (await local.take_tokens((scope,), 100)).retry_after_seconds < 130


async def test_a_burst_of_tokens_cannot_pass_what_the_limit_allows() -> None:
    """A hundred at once, each of a tenth of the limit: ten pass, whatever they will have used."""
    scope = Scope("account:a", Limits(tokens_per_minute=1000))
    local = LocalLimits()

    verdicts = await asyncio.gather(*(local.take_tokens((scope,), 100) for _ in range(100)))

    assert 10 == sum(verdict.refused_by is None for verdict in verdicts)
