"""The scripts count as the process's own buckets do, and what they keep is gone when it says nothing any more."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, cast

import pytest

from storage.limit_scripts import CORRECT, DIGESTS, MICRO, RENEW, TAKE
from storage.limits import Buckets
from tests.fakes.redis_server import RedisServer, running_redis

KEYS = ("bucket", "leases")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A Redis for this file."""
    with running_redis() as running:
        yield running


@pytest.fixture
def redis(server: RedisServer) -> RedisServer:
    """It, emptied."""
    server.command("FLUSHALL")
    return server


def take(redis: RedisServer, limit: int, amount: int = 1, most: int = 0, call: str = "a") -> list[int]:
    """One question of one scope."""
    return cast("list[int]", redis.command("EVAL", TAKE, 2, *KEYS, call, 30 * MICRO, limit, amount, most))


@pytest.mark.parametrize("limit", [1, 7, 60, 999])
def test_it_allows_what_a_bucket_of_our_own_allows(limit: int, redis: RedisServer) -> None:
    """Amounts of any size, at the times that Redis says it was asked: the same verdict, the same wait to a thousandth."""
    seed = random.randrange(2**32)
    print("seed", seed)
    amounts, own = random.Random(seed), Buckets()
    for _ in range(60):
        amount = amounts.randint(1, max(1, limit // 5))
        seconds, micros = cast("tuple[int, int]", redis.command("TIME"))
        now = seconds + micros / MICRO
        refused, _, wait, _, missing = take(redis, limit, amount)
        expected = own.wait("a", limit, amount, now)
        assert abs(expected - wait / MICRO) < 0.2
        if not refused:
            own.move("a", limit, amount, now)
        assert abs(own.state("a", limit, now)[2] - missing / MICRO) < 0.2


def test_what_is_kept_ends_by_itself(redis: RedisServer) -> None:
    """A bucket when it is full again, leases when they have run out: strangers fill no memory."""
    take(redis, 60, 1, 5)

    assert 1_000 < cast("int", redis.command("PTTL", "bucket")) <= 2_001
    assert 30_000 < cast("int", redis.command("PTTL", "leases")) <= 31_000


def test_giving_back_never_makes_more_than_a_full_bucket(redis: RedisServer) -> None:
    """However much it is; and what is used beyond is missing."""
    take(redis, 60, 30)
    redis.command("EVAL", CORRECT, 1, "bucket", 60, -1_000)
    assert [0, 1] == [take(redis, 60, 60)[0], take(redis, 60, 2)[0]]
    redis.command("EVAL", CORRECT, 1, "bucket", 60, 60)
    assert 60 < take(redis, 60, 1)[2] / MICRO < 62


def test_places_are_counted_and_renewed(redis: RedisServer) -> None:
    """The third of two is refused; who renews keeps his place, also in a Redis that forgot it."""
    assert [0, 0, 1] == [take(redis, 0, 1, 2, call)[0] for call in ("a", "b", "c")]
    redis.command("FLUSHALL")
    redis.command("EVAL", RENEW, 1, "leases", 30 * MICRO, "a", "b")

    assert [1, 2] == take(redis, 0, 1, 2, "c")[:2]


def test_every_script_is_known_by_its_digest(redis: RedisServer) -> None:
    """The one that Redis gives it."""
    told: list[Any] = [redis.command("SCRIPT", "LOAD", script) for script in DIGESTS]

    assert list(DIGESTS.values()) == [digest.decode() for digest in told]
