"""Thousands of calls of which nearly a third go wrong: the books are equal to the last digit, nothing stays held, and the
metrics say what the billing log says.

Two workers as real processes, the real simulator, SQLite and PostgreSQL. Of a hundred calls thirty meet a provider that
refuses, hangs, breaks its stream or cannot be read, or have a caller who leaves. ``FIND_TOKEN_MIX_SEED=…`` makes the same calls
again.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from billing.money import UNITS_PER_USD, format_usd
from storage.calls import CallRow
from tests.faults.processes import SERVER, answer, started, write_files
from tests.journeys.books import Books
from tests.journeys.mix import Arrivals, draw_seed, make, plan_with_faults, simulated_providers

CALLS = 10_000 if os.environ.get("FIND_TOKEN_EXAM") == "1" else 200
FAULTY_PERCENT = 30
CREDIT = 1000 * UNITS_PER_USD
WORKERS = 2
NOTHING_HELD_SECONDS = 60
COUNTED_SECONDS = 10
"""A call is counted a moment after its hold has gone, and the supervisor reads what its workers wrote down."""
FAMILIES = ("requests", "spend_usd", "absorbed_usd", "tokens", "upstream_attempts", "upstream_cost_usd")
LABELS = ("provider", "model", "mode", "kind", "outcome", "code")
"""In the order in which the log is counted."""


async def test_calls_of_which_30_percent_go_wrong_leave_exact_books(database_url: str, tmp_path: Path) -> None:
    """No hold is left after a minute, balance, log and entries agree to the last digit, every call that reached a provider
    has exactly one line, and it says what its caller was told. What two workers counted is what the log says."""
    seed = draw_seed()
    books = Books(database_url)
    planned = plan_with_faults(seed, books.open_account(CREDIT, CALLS), FAULTY_PERCENT)
    async with simulated_providers() as simulator:
        arrivals = Arrivals(simulator)
        server = {**SERVER, "workers": WORKERS}
        settings = write_files(tmp_path, database_url, simulator.url, server=server)
        async with started(tmp_path, "serve", "--config", str(settings)) as gateway:
            told = await make(gateway.url, planned, arrivals, on_told=lambda one: arrivals[one.planned.number])
            ended = time.monotonic()
            await books.until_nothing_is_held(NOTHING_HELD_SECONDS)
            held_seconds = time.monotonic() - ended
            rows = books.rows()
            await until_counted(gateway.told["admin_url"], in_the_log(rows))
            assert 0 == await gateway.stop(), gateway.log.read_text()
        audited = await answer(tmp_path, "audit", "--config", str(settings))
    assert rows == books.rows()
    faulty = sum(call.kind.faulty for call in planned)
    print(f"{len(told)} calls, {faulty} faulty, {len(rows)} lines, nothing held after {held_seconds:.1f} s")
    print(Counter((row.billing_outcome, row.status) for row in rows))
    assert CALLS == len(told)
    assert FAULTY_PERCENT / 2 < 100 * faulty / CALLS < 2 * FAULTY_PERCENT
    assert {"complete", "cut_by_provider", "failed", "client_left"} <= {row.billing_outcome for row in rows}
    books.prove_calls(told, arrivals)
    spent = books.prove()
    assert 0 < spent
    assert (True, 0, len(rows)) == (audited["ok"], audited["summary"]["open_holds"], audited["summary"]["calls"])
    assert format_usd(spent) == audited["summary"]["charged"] == audited["summary"]["revenue"]


def in_the_log(rows: list[CallRow]) -> Counter[tuple[str, ...]]:
    """What the metrics must say of these lines, in whole units: of each family with the values of its labels."""
    counts: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        served = (str(row.provider), str(row.model))
        counts["requests", *served, row.mode, row.billing_outcome, str(row.status)] += 1
        counts["spend_usd", *served, row.mode] += row.cost
        counts["absorbed_usd", *served] += row.absorbed
        counts["tokens", *served, "prompt"] += row.prompt_tokens
        counts["tokens", *served, "cached"] += row.cached_tokens
        counts["tokens", *served, "completion"] += row.completion_tokens
        counts["tokens", *served, "reasoning"] += row.reasoning_tokens
        for attempt in row.attempts:
            counts["upstream_attempts", attempt.provider, attempt.model, attempt.outcome] += 1
            counts["upstream_cost_usd", attempt.provider, attempt.model] += attempt.upstream_cost
    return +counts


async def until_counted(admin_url: str, expected: Counter[tuple[str, ...]]) -> None:
    """Wait until the metrics say the same. AssertionError with what differs."""
    deadline = time.monotonic() + COUNTED_SECONDS
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{admin_url}/metrics") as reply:
                counted = _counted(await reply.text())
            differing = {key for key in expected.keys() | counted.keys() if expected[key] != counted[key]}
            if not differing:
                print(f"{len(expected)} numbers of {len(FAMILIES)} families are those of the log")
                return
            if time.monotonic() > deadline:
                raise AssertionError({key: (expected[key], counted[key]) for key in sorted(differing)})
            await asyncio.sleep(0.2)


def _counted(page: str) -> Counter[tuple[str, ...]]:
    """The samples of these families, in whole units."""
    counts: Counter[tuple[str, ...]] = Counter()
    for family in text_string_to_metric_families(page):
        name = family.name.removeprefix("findtoken_")
        for sample in family.samples if name in FAMILIES else ():
            if not sample.name.endswith("_total"):
                continue
            labels = (sample.labels[label] for label in LABELS if label in sample.labels)
            key = (name, *labels)
            if name == "requests" and not sample.labels["provider"]:
                continue  # Nobody was asked, so it has no line.
            counts[key] += round(sample.value * (UNITS_PER_USD if name.endswith("_usd") else 1))
    return +counts
