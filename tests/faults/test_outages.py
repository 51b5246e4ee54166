"""A provider, or all of them, go away and come back under steady load: what callers see, and what upstreams are asked.

The short forms, always run, are the same stories at a slower pace; FIND_TOKEN_EXAM=1 runs their true lengths.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from billing.money import UNITS_PER_USD
from proxy.settings import Settings
from storage.audit import audit
from tests.fakes.raw_upstream import FIN, HANG, RawUpstream, as_asked, failure
from tests.faults.pace import EXAM, Counted, arrived, not_as, steadily
from tests.gateway import Gateway

pytestmark = pytest.mark.timeout(900 if EXAM else 120)
CREDIT = 1000 * UNITS_PER_USD
TRUE_TIMES = {"backoff_seconds": [1, 2, 4], "timeout_seconds": 30}


@pytest.mark.parametrize("how", ["503", "hangs up"])
async def test_an_outage_of_one_provider_is_seen_by_nobody_where_another_stands_in(
    how: str, start_gateway: Any, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """Every call is served, at no more than 1.2 upstream calls each; one probe at a time finds out when the provider is back,
    within thirty seconds."""
    rate, seconds = (100, 30) if EXAM else (20, 4)
    gateway: Gateway = await start_gateway(routing=TRUE_TIMES, credit=CREDIT)
    if not EXAM:
        gateway.process._health._open_seconds = 1.0
    away = Counted(alpha, lambda _request: failure(503), after_seconds=0.05)
    if how == "hangs up":
        away.answer = lambda _request: [FIN]
    loop = asyncio.get_running_loop()
    made = await steadily(gateway, rate, 0.5)
    away.forget()
    made += await steadily(gateway, rate, seconds - 0.5)
    calls = len(alpha.requests) + len(beta.requests)

    assert [] == not_as(200, made)
    assert calls <= 1.2 * len(made), (calls, len(made))
    probes = away.most
    assert probes <= 1, "one probe at a time"
    away.answer = as_asked()
    healed = loop.time()
    recovery = 0.0
    while not recovery:
        async with asyncio.timeout(30):
            found = await steadily(gateway, rate, 0.5)
        assert [] == not_as(200, found)
        recovery = next((one.ended - healed for one in found if one.reply.header("Provider") == "alpha"), 0.0)
    print(f"{how}: {len(made)} calls, {calls} upstream calls, {probes} probe at once, back after {recovery:.1f} s")

    assert recovery <= 30
    with gateway.database.session(snapshot=True) as connection:
        assert [] == audit(connection)
    assert 0 == gateway.balance().held


async def test_a_retry_storm_does_not_happen(start_gateway: Any, alpha: RawUpstream, beta: RawUpstream) -> None:
    """S-081: every upstream answers 503; once that is known upstreams see at most 1.2 calls for each request, callers are told
    within a second, and are served soon after it is mended."""
    rate, seconds, settled = (50, 30, 10) if EXAM else (20, 3.5, 1.5)
    gateway: Gateway = await start_gateway(routing=TRUE_TIMES)
    alpha.otherwise = beta.otherwise = lambda _request: failure(503)
    loop = asyncio.get_running_loop()
    began = loop.time()
    made = await steadily(gateway, rate, seconds)
    late = [one for one in made if one.began >= began + settled]
    asked = sum(arrived(upstream, began + settled, began + seconds) for upstream in (alpha, beta))

    assert asked <= 1.2 * len(late), (asked, len(late))
    assert [] == not_as(503, late)
    assert all(int(one.reply.headers["Retry-After"]) >= 1 for one in late)
    assert max(one.seconds for one in late) <= 1
    alpha.otherwise = beta.otherwise = as_asked()
    mended = loop.time()
    async with asyncio.timeout(30):
        while not any(one.reply.status == 200 for one in await steadily(gateway, rate, 0.5)):
            pass
    print(f"{asked} upstream calls for {len(late)} requests, served {loop.time() - mended:.1f} s after it was mended")


async def test_all_providers_go_and_come_back(start_gateway: Any, alpha: RawUpstream, beta: RawUpstream) -> None:
    """S-083: 503 within a second with Retry-After while all are away, one probe at a time at each, and the first success soon
    after it is mended."""
    rate, seconds, settled = (10, 60, 15) if EXAM else (10, 4, 1.5)
    gateway: Gateway = await start_gateway(routing=TRUE_TIMES)
    away = [Counted(one, lambda _request: failure(503), after_seconds=0.1) for one in (alpha, beta)]
    made = await steadily(gateway, rate, settled)
    for one in away:
        one.forget()
    made = await steadily(gateway, rate, seconds - settled)

    assert [] == not_as(503, made)
    assert all(1 <= int(one.reply.headers["Retry-After"]) <= 10 for one in made)
    assert max(one.seconds for one in made) <= 1
    assert 1 == max(one.most for one in away), "half open: one at a time, and it is asked"
    for one in away:
        one.answer = as_asked()
    loop = asyncio.get_running_loop()
    mended = loop.time()
    async with asyncio.timeout(30):
        while not any(one.reply.status == 200 for one in await steadily(gateway, rate, 0.5)):
            pass
    print(f"served {loop.time() - mended:.1f} s after it was mended")


async def test_nothing_is_spent_on_health(start_gateway: Any, alpha: RawUpstream, beta: RawUpstream) -> None:
    """S-029: an idle gateway whose health is asked all the time calls no model, and neither does one with an open circuit, with
    the free questions for lists of models that are asked by default."""
    asked = {"probe_seconds": Settings().routing.probe_seconds if EXAM else 0.1}
    gateway: Gateway = await start_gateway(routing=asked)
    gateway.process._health._open_seconds = 0.2
    alpha.otherwise = lambda _request: failure(503)
    await asyncio.gather(*(gateway.chat(model="lonely") for _ in range(5)))
    before = len(alpha.requests)
    for _ in range(600 if EXAM else 60):
        replies = [await gateway.get(path, admin=True) for path in ("/healthz", "/readyz")]
        assert [200, 200] == [reply.status for reply in replies]
        await asyncio.sleep(1 if EXAM else 0.01)

    posts = [one for one in alpha.requests[before:] + beta.requests if one.head.startswith(b"POST")]
    assert [] == posts
    assert alpha.listings
    assert beta.listings


async def test_a_process_without_time_blames_no_provider(start_gateway: Any, alpha: RawUpstream) -> None:
    """Limits that end late, because the process stood still, are told to callers as ever, but open no circuit."""
    gateway: Gateway = await start_gateway(routing={"retries": 0, "timeout_seconds": 0.3})
    alpha.otherwise = lambda _request: [HANG]
    for number in range(1, 6):
        calling = asyncio.ensure_future(gateway.chat(model="lonely"))
        await alpha.received(number)
        time.sleep(0.7)  # The loop that everything shares stands still.
        assert (504, "deadline_exceeded") == (await calling).code

    assert gateway.process._health.standing(("alpha", "lonely-upstream")).healthy
    assert {"timed_out"} == {attempt.outcome for row in gateway.rows() for attempt in row.attempts}
    async with asyncio.timeout(30):  # In time it is blamed.
        while gateway.process._health.standing(("alpha", "lonely-upstream")).healthy:
            await gateway.chat(model="lonely")
