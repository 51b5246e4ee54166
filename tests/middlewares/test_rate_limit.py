"""How often and how many at once: the bucket is exact, each account has its own, and what is refused costs nothing."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middlewares import rate_limit
from middlewares.rate_limit import RateLimiter
from tests.fakes.raw_upstream import HANG, RawUpstream, completion, failure, http
from tests.gateway import Gateway

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
    monkeypatch.setattr(rate_limit, "ACCOUNTS_REMEMBERED", 10)
    limiter = RateLimiter(2)
    assert [True, True, False] == [limiter.take("greedy", 0.0).allowed for _ in range(3)]
    for number in range(1000):
        assert limiter.take(f"stranger {number}", number * 1e-6).allowed
        assert len(limiter._full_at) <= 10
    assert not limiter.take("greedy", 0.001).allowed


def test_buckets_that_are_full_again_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """They say nothing; nobody else is forgotten for them."""
    monkeypatch.setattr(rate_limit, "ACCOUNTS_REMEMBERED", 3)
    limiter = RateLimiter(60)
    for account in ("a", "b", "c"):
        limiter.take(account, 0.0)
    limiter.take("c", 0.5)
    limiter.take("d", 1.2)

    assert {"c", "d"} == limiter._full_at.keys()


async def test_a_burst_over_the_limit(start_gateway: Any, alpha: RawUpstream) -> None:
    """300 at once at 60 a minute: 60 are served (a few more only if it takes seconds), the others 429, free and uncalled."""
    gateway: Gateway = await start_gateway(limits={"requests_per_minute": 60})
    loop = asyncio.get_running_loop()
    started = loop.time()
    replies = await asyncio.gather(*(gateway.chat() for _ in range(300)))
    refilled = int(loop.time() - started) + 1

    served = [reply for reply in replies if reply.status == 200]
    refused = [reply for reply in replies if reply.status != 200]
    assert 60 <= len(served) <= 60 + refilled
    assert {(429, "rate_limit_exceeded")} == {reply.code for reply in refused}
    assert {"rate_limit_error"} == {reply.error["type"] for reply in refused}
    assert all(int(reply.headers["Retry-After"]) >= 1 for reply in refused)
    assert len(served) == len(alpha.requests) == len(gateway.rows())
    assert len(refused) == await gateway.metric("rate_limited_total")
    assert len(refused) == await gateway.metric("requests_total", code="429", outcome="refused")
    gateway.prove()


async def test_what_the_headers_say(start_gateway: Any) -> None:
    """Limit, what is left, seconds until all are back: on served and on refused calls."""
    gateway: Gateway = await start_gateway(limits={"requests_per_minute": 2})
    replies = [await gateway.chat() for _ in range(3)]

    told = [[reply.headers[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining")] for reply in replies]
    assert [["2", "1"], ["2", "0"], ["2", "0"]] == told
    assert ["30", "60", "60"] == [reply.headers["X-RateLimit-Reset"] for reply in replies]
    assert (429, "30") == (replies[2].status, replies[2].headers["Retry-After"])
    assert None is replies[2].header("Mode")


async def test_every_account_has_its_own_limit_and_strangers_have_none(start_gateway: Any) -> None:
    """A neighbour's calls do not count, nor do those with a wrong key; all keys of one account count together."""
    gateway: Gateway = await start_gateway(limits={"requests_per_minute": 1})
    _, other = gateway.new_account("bob")
    wrong = await gateway.chat(headers={"Authorization": "Bearer sk-ft_nonsense"})
    own, neighbour, again = (
        await gateway.chat(),
        await gateway.chat(headers={"Authorization": f"Bearer {other}"}),
        await gateway.chat(),
    )

    assert [401, 200, 200, 429] == [reply.status for reply in (wrong, own, neighbour, again)]
    assert "X-RateLimit-Limit" not in wrong.headers
    assert 200 == (await gateway.get("/v1/models")).status, "other routes are not limited"


async def test_so_many_at_once_and_no_more(start_gateway: Any, alpha: RawUpstream) -> None:
    """The third of three at once is refused; one that ends, or fails, or whose caller leaves, makes room."""
    gateway: Gateway = await start_gateway(limits={"concurrent_requests": 2})
    gate = asyncio.Event()
    alpha.next([gate, http(completion())], [gate, *failure(400)])
    running = [asyncio.create_task(gateway.chat()) for _ in range(2)]
    await alpha.received(2)

    refused = await gateway.chat()

    assert (429, "concurrency_limit_exceeded") == refused.code
    assert "1" == refused.headers["Retry-After"]
    assert "X-RateLimit-Limit" not in refused.headers, "without a rate limit there is nothing to tell of it"
    assert 1 == await gateway.metric("rate_limited_total")
    gate.set()
    assert [200, 400] == sorted([(await one).status for one in running])
    alpha.next([HANG], [HANG])
    leaving = [await gateway.dial() for _ in range(2)]
    await alpha.received(4)
    for caller in leaving:
        caller.hang_up(by_reset=True)
    await gateway.settled(4)
    assert 200 == (await gateway.chat()).status
