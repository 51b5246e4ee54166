"""The last of the month's free calls on a key of the caller's own, and the first of the next month's: exact, for everybody.

Many calls at once over the wire, on SQLite and on PostgreSQL. The counter is set by SQL, since nobody makes a million calls
to test what comes after them. Usage is 1000/500 at 0.14/0.28: the list price is 0.00028 USD, 5 % of it 0.000014.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.app import Gateway as Process
from storage.database import open_database
from tests.fakes.raw_upstream import FIN, STREAM_HEAD, Answer, RawUpstream, Received, as_asked, failure, piece, said
from tests.gateway import Gateway, Reply, book, quick_settings

FREE_CALLS = 1_000_000
LEFT = 10
FEE = 1400
OWN_KEY = {"provider_key": {"provider": "alpha", "api_key": "caller-own-key-0123456789"}}
JANUARY, FEBRUARY = "2027-01", "2027-02"
LAST_INSTANT = datetime(2027, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC)
FIRST_INSTANT = datetime(2027, 2, 1, tzinfo=UTC)


def answer_or_fail(request: Received) -> Answer:
    """A prompt of "refuse" is refused, one of "break" is broken off after its first words; others get what they ask for."""
    prompt = request.json["messages"][0]["content"]
    if prompt == "refuse":
        return failure(400)
    if prompt == "break":
        return [STREAM_HEAD, piece(said("Hello")), FIN]
    return as_asked()(request)


@pytest.fixture
def provider(alpha: RawUpstream) -> RawUpstream:
    """An upstream that fails when it is told to."""
    alpha.otherwise = answer_or_fail
    return alpha


@pytest.fixture(params=["Asia/Shanghai", "America/St_Johns"])
def far_from_utc(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process, as if the machine stood elsewhere: eight hours ahead of UTC, three and a half behind."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    assert time.timezone != 0
    yield
    monkeypatch.undo()
    time.tzset()


def set_used(gateway: Gateway, used: int, month: str) -> None:
    """The counter, as if the account had made so many calls in that month."""
    sql = """INSERT INTO byok_month (account_id, month, used) VALUES (?, ?, ?)
        ON CONFLICT (account_id, month) DO UPDATE SET used = excluded.used"""
    with gateway.database.session() as connection:
        connection.execute(sql, (gateway.account_id, month, used))


def used(gateway: Gateway) -> dict[str, int]:
    """The counter of every month."""
    with gateway.database.session(snapshot=True) as connection:
        sql = "SELECT month, used FROM byok_month WHERE account_id = ? ORDER BY month"
        return dict(connection.execute(sql, (gateway.account_id,)).fetchall())


async def ask(gateway: Gateway, number: int = 0, text: str = "Hello") -> Reply:
    """A call on the caller's own key, every other one a stream."""
    return await gateway.chat(text, stream=number % 2 == 1 or text == "break", **OWN_KEY)


async def at_once(gateways: list[Gateway], count: int, *texts: str) -> list[Reply]:
    """So many calls at the same moment, shared among gateways and prompts."""
    asked = zip(range(count), itertools.cycle(gateways), itertools.cycle(texts or ("Hello",)), strict=False)
    return await asyncio.gather(*(ask(gateway, number, text) for number, gateway, text in asked))


def costs(replies: list[Reply]) -> Counter[str | None]:
    """How often each cost was told."""
    streams = ("event-stream" in reply.headers["Content-Type"] for reply in replies)
    return Counter(
        reply.bill["cost"] if stream else reply.header("Cost") for stream, reply in zip(streams, replies, strict=True)
    )


@asynccontextmanager
async def second(
    gateway: Gateway, upstream: RawUpstream, clock: Callable[[], datetime] = lambda: LAST_INSTANT
) -> AsyncIterator[Gateway]:
    """Another process of the same installation: the same books, the same clock."""
    database = open_database(gateway.database_url)
    catalogue = book(upstream.url, upstream.url)
    process = Process(quick_settings(gateway.database_url), catalogue, database, clock=clock)
    other = Gateway(process, database, gateway.database_url, gateway.session)
    other.account_id, other.key = gateway.account_id, gateway.key
    await process.start()
    try:
        yield other
    finally:
        await process.close()


@pytest.mark.parametrize("count", [20, 200])
async def test_the_last_ten_free_calls(
    count: int, database_url: str, start_gateway: Any, provider: RawUpstream
) -> None:
    """S-012, S-027: of many at once exactly ten are free, the others pay the fee; log, balance and counter say the same."""
    gateway: Gateway = await start_gateway(database_url=database_url, clock=lambda: LAST_INSTANT)
    set_used(gateway, FREE_CALLS - LEFT, JANUARY)
    replies = await at_once([gateway], count)

    assert {"0": LEFT, "0.000014": count - LEFT} == costs(replies)
    assert {"byok"} == {reply.header("Mode") for reply in replies}
    assert {0: LEFT, FEE: count - LEFT} == Counter(row.cost for row in gateway.rows())
    assert {("byok", "provider_key", 0)} == {(row.mode, row.payer, row.provider_cost) for row in gateway.rows()}
    assert {JANUARY: FREE_CALLS} == used(gateway)
    assert count == len(provider.requests)
    gateway.prove()


async def test_two_gateways_share_the_counter(database_url: str, start_gateway: Any, provider: RawUpstream) -> None:
    """Ten free calls in all, not ten for each."""
    gateway: Gateway = await start_gateway(database_url=database_url, clock=lambda: LAST_INSTANT)
    set_used(gateway, FREE_CALLS - LEFT, JANUARY)
    async with second(gateway, provider) as other:
        replies = await at_once([gateway, other], 60)

    assert {"0": LEFT, "0.000014": 50} == costs(replies)
    assert {JANUARY: FREE_CALLS} == used(gateway)
    gateway.prove()


async def test_what_fails_gives_its_free_call_back(
    database_url: str, start_gateway: Any, provider: RawUpstream
) -> None:
    """S-012, S-027: refused before a byte or broken after one, they cost nothing and count for nothing, free or not: whatever
    else goes on at the same time, ten calls that are delivered are free in the end."""
    gateway: Gateway = await start_gateway(database_url=database_url, clock=lambda: LAST_INSTANT)
    set_used(gateway, FREE_CALLS - LEFT, JANUARY)
    # Five broken streams in a row would put the provider out of use, so there are four at a time.
    fifth_breaks = ("refuse", "refuse", "refuse", "refuse", "break")
    await at_once([gateway], 20, *fifth_breaks)
    assert {JANUARY: FREE_CALLS - LEFT} == used(gateway)

    await ask(gateway)
    await at_once([gateway], 24, "refuse", "refuse", "Hello", "refuse", "Hello", "break")
    await at_once([gateway], 11)
    used_before = used(gateway)
    await at_once([gateway], 20, *fifth_breaks)

    outcomes: dict[str, Counter[int]] = {}
    for row in gateway.rows():
        outcomes.setdefault(row.billing_outcome, Counter())[row.cost] += 1
    assert {"failed": {0: 44}, "cut_by_provider": {0: 12}, "complete": {0: LEFT, FEE: 10}} == outcomes
    assert {JANUARY: FREE_CALLS} == used_before == used(gateway)
    gateway.prove()


async def test_without_a_balance_the_free_calls_are_all_there_is(
    database_url: str, start_gateway: Any, provider: RawUpstream
) -> None:
    """S-027: with nothing on the balance they are free; beyond them 402, and the provider is not called."""
    gateway: Gateway = await start_gateway(database_url=database_url, credit=0, clock=lambda: LAST_INSTANT)
    set_used(gateway, FREE_CALLS - LEFT, JANUARY)
    replies = await at_once([gateway], 20)

    refused = [reply.code for reply in replies if reply.status != 200]
    assert [(402, "insufficient_credits")] * 10 == refused
    assert {"0": LEFT} == costs([reply for reply in replies if reply.status == 200])
    assert LEFT == len(provider.requests)
    assert {JANUARY: FREE_CALLS} == used(gateway)
    gateway.prove(credit=0)


async def test_the_month_ends_at_midnight_in_utc(
    far_from_utc: None, database_url: str, start_gateway: Any, provider: RawUpstream
) -> None:
    """S-030: to the microsecond, wherever the machine stands: calls of the old month and of the new one, at once, count
    apart, also by two gateways. A call belongs to the month in which it came in."""
    instants = itertools.cycle([LAST_INSTANT, FIRST_INSTANT])

    def clock() -> datetime:
        return next(instants)

    gateway: Gateway = await start_gateway(database_url=database_url, clock=clock)
    set_used(gateway, FREE_CALLS, JANUARY)
    async with second(gateway, provider, clock) as other:
        assert {"0": 20, "0.000014": 20} == costs(await at_once([gateway, other], 40))

    assert {JANUARY: FREE_CALLS, FEBRUARY: 20} == used(gateway)
    at = {LAST_INSTANT: FEE, FIRST_INSTANT: 0}
    assert {(int(instant.timestamp() * 10**6), cost): 20 for instant, cost in at.items()} == Counter(
        (row.created, row.cost) for row in gateway.rows()
    )
    set_used(gateway, FREE_CALLS - LEFT, FEBRUARY)
    assert {"0": LEFT, "0.000014": 30} == costs(await at_once([gateway], 40))
    gateway.prove()


async def test_a_call_goes_back_to_the_month_it_was_taken_from(start_gateway: Any, provider: RawUpstream) -> None:
    """One that came in before midnight and broke after it."""
    now = [LAST_INSTANT]
    gateway: Gateway = await start_gateway(clock=lambda: now[0])
    go_on = asyncio.Event()
    provider.next([STREAM_HEAD, piece(said("Hello")), go_on, FIN])
    asked = asyncio.create_task(ask(gateway, text="break"))
    await provider.received(1)
    now[0] = FIRST_INSTANT
    await ask(gateway)
    assert {JANUARY: 1, FEBRUARY: 1} == used(gateway)
    go_on.set()
    await asked

    assert {JANUARY: 0, FEBRUARY: 1} == used(gateway)
