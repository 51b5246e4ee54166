"""Money under everything that goes wrong at once: the books add up to the last digit, and nothing stays held.

Real sockets, the real simulator, the real `find-token audit`, on SQLite and on PostgreSQL. A mix that failed is made again
with the seed it printed: ``FIND_TOKEN_MIX_SEED=… pytest tests/journeys/test_money.py``.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from billing.money import UNITS_PER_USD, format_usd, parse_usd
from proxy.demo import simulated_catalogue
from tests.gateway import Gateway, Reply, running_gateway
from tests.journeys.books import Books
from tests.journeys.mix import (
    SECTIONS,
    Arrivals,
    Told,
    draw_seed,
    make,
    plan,
    settings_text,
    simulated_providers,
)

CALLS = 500
CREDIT = 100 * UNITS_PER_USD


async def test_500_mixed_calls_leave_books_that_add_up(
    database_url: str, tmp_path: Path, command: Callable[..., Any]
) -> None:
    """Start balance − Σ costs in the log = balance; no hold; a line for each call that reached a provider, and no other;
    `find-token audit` and the metrics agree."""
    seed = draw_seed()
    books = Books(database_url)
    keys = books.open_account(CREDIT, CALLS)
    async with (
        simulated_providers() as simulator,
        running_gateway(simulated_catalogue(simulator.url), database_url, **SECTIONS) as gateway,
    ):
        arrivals = Arrivals(simulator)
        told = await make(gateway.url, plan(seed, keys), arrivals)
        await books.until_nothing_is_held()

        assert CALLS == len(told)
        assert_everything_happened(told, books)
        books.prove_calls(told, arrivals)
        assert 0 < books.prove()
        await assert_metrics_equal_the_log(gateway, books)

        settings = tmp_path / "find-token.toml"
        settings.write_text(settings_text(database_url))
        audited = await asyncio.to_thread(command, "audit", "--config", settings)
    rows = books.rows()
    print(Counter((row.billing_outcome, row.status) for row in rows), f"{len(told) - len(rows)} without a line")
    assert (True, []) == (audited["ok"], audited["disagreements"])
    assert (len(rows), 0) == (audited["summary"]["calls"], audited["summary"]["open_holds"])
    assert format_usd(sum(row.cost for row in rows)) == audited["summary"]["charged"] == audited["summary"]["revenue"]


def assert_everything_happened(told: list[Told], books: Books) -> None:
    """The mix was one: every way a call can end has occurred, and plain, streamed and failed-over calls have."""
    rows = books.rows()
    assert {"complete", "cut_by_provider", "failed", "client_left", "client_left_before_first_byte"} <= {
        row.billing_outcome for row in rows
    }
    assert {True, False} == {row.streamed for row in rows if row.cost}
    assert any(row.cost and row.model != row.requested_model for row in rows)
    statuses = {one.status for one in told}
    assert {200, 400, 404, None} <= statuses
    assert statuses & {502, 503, 504}, "which of them depends on how the faults fall"


async def assert_metrics_equal_the_log(gateway: Gateway, books: Books) -> None:
    """What `spend_usd_total` says for each provider and model is what the log says, to the last digit."""
    logged: Counter[tuple[str | None, str | None]] = Counter()
    for row in books.rows():
        logged[row.provider, row.model] += row.cost
    counted = {
        (labels["provider"], labels["model"]): round(value * UNITS_PER_USD)
        for name, labels, value in await gateway.metrics()
        if name == "findtoken_spend_usd_total"
    }
    assert dict(logged) == counted


async def test_50_calls_at_once_on_a_balance_for_3(database_url: str) -> None:
    """Three are served and the others refused with 402 and what a program needs; providers see the three alone, and at no
    moment is more held than there is."""
    books = Books(database_url)
    async with (
        simulated_providers() as simulator,
        running_gateway(simulated_catalogue(simulator.url), database_url) as gateway,
    ):
        hold = (await ask(gateway, gateway.key, 0, stream=True)).money("Hold")
        journal_began = len(simulator.state.journal.calls())
        [(_, key)] = books.open_account(3 * hold)
        lowest: list[int] = []
        watch = asyncio.create_task(watch_balance(books, lowest))
        replies = await asyncio.gather(*(ask(gateway, key, number) for number in range(1, 51)))
        watch.cancel()
        seen = [asked_for(call.body) for call in simulator.state.journal.calls()[journal_began:]]

    served = [number for number, reply in enumerate(replies, 1) if reply.status == 200]
    refused = [reply for reply in replies if reply.status != 200]
    costs = [reply.money("Cost") for reply in replies if reply.status == 200]
    assert (3, 47) == (len(served), len(refused))
    assert served == sorted(seen)
    # What the three give back does not pay for a fourth, so "three" does not depend on who was quicker.
    assert 2 * hold < sum(costs) <= 3 * hold
    for reply in refused:
        assert (402, "insufficient_credits") == reply.code
        assert hold == parse_usd(reply.error["required_usd"])
        assert 0 <= parse_usd(reply.error["available_usd"]) < hold
        assert 0 <= reply.error["affordable_max_tokens"] < 200
    assert 5 < len(lowest)
    assert 0 <= min(lowest)
    assert sorted(costs) == sorted(row.cost for row in books.rows())
    assert sum(costs) == books.credit - books.balance().balance
    assert books.balance().held == 0


async def ask(gateway: Gateway, key: str, number: int, **fields: Any) -> Reply:
    """A call that costs nearly all of its hold, of a model with one price and, here, one provider."""
    return await gateway.chat(
        f'Number {number:2}, pieces=200 SIM:{{"kind":"none","latency_seconds":0.3}}',
        headers={"Authorization": f"Bearer {key}"},
        model="qwen-max",
        max_tokens=200,
        provider={"allow_fallbacks": False},
        **fields,
    )


def asked_for(body: bytes) -> int:
    """The number in a request that a provider received."""
    found = re.search(rb"Number ([ \d]\d),", body)
    assert found is not None
    return int(found[1])


async def watch_balance(books: Books, lowest: list[int]) -> None:
    """Look again and again at the balance, and at what of it is not held."""
    while True:
        balance = await asyncio.to_thread(books.balance)
        lowest.append(min(balance.balance, balance.available))
