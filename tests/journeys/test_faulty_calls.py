"""Thousands of calls of which nearly a third go wrong: the books are equal to the last digit, and nothing stays held.

A real process, the real simulator, SQLite and PostgreSQL. Of a hundred calls thirty meet a provider that refuses, hangs,
breaks its stream or cannot be read, or have a caller who leaves. ``FIND_TOKEN_MIX_SEED=…`` makes the same calls again.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

from billing.money import UNITS_PER_USD, format_usd
from tests.faults.processes import answer, started, write_files
from tests.journeys.books import Books
from tests.journeys.mix import Arrivals, draw_seed, make, plan_with_faults, simulated_providers

CALLS = 10_000 if os.environ.get("FIND_TOKEN_EXAM") == "1" else 200
FAULTY_PERCENT = 30
CREDIT = 1000 * UNITS_PER_USD
NOTHING_HELD_SECONDS = 60


async def test_calls_of_which_30_percent_go_wrong_leave_exact_books(database_url: str, tmp_path: Path) -> None:
    """No hold is left after a minute, balance, log and entries agree to the last digit, every call that reached a provider
    has exactly one line, and it says what its caller was told."""
    seed = draw_seed()
    books = Books(database_url)
    planned = plan_with_faults(seed, books.open_account(CREDIT, CALLS), FAULTY_PERCENT)
    async with simulated_providers() as simulator:
        arrivals = Arrivals(simulator)
        settings = write_files(tmp_path, database_url, simulator.url)
        async with started(tmp_path, "serve", "--config", str(settings)) as gateway:
            told = await make(gateway.url, planned, arrivals, on_told=lambda one: arrivals[one.planned.number])
            ended = time.monotonic()
            await books.until_nothing_is_held(NOTHING_HELD_SECONDS)
            held_seconds = time.monotonic() - ended
            assert 0 == await gateway.stop(), gateway.log.read_text()
        audited = await answer(tmp_path, "audit", "--config", str(settings))
    rows = books.rows()
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
