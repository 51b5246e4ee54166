"""Hold and settlement: pairs per second, and CPU per pair, by database and by how many callers wait at once.

    python -m bench.ledger.run [--pairs N] [--rounds N] [--json]

A pair is what a call costs the books: a hold that is durable, then a settlement that is durable, with two entries, its row
in the billing log and its attempt. CPU is the time of every thread of this process, so with PostgreSQL the server's own
work is not in it. Exits with 1 when the books do not agree afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from billing.values import blank
from storage.accounts import create_account
from storage.audit import audit
from storage.calls import AttemptRow, CallRow
from storage.database import Database, open_database
from storage.ledger import Ledger, Purpose, Settlement, post_credit
from storage.migrating import migrate
from tests.fakes.postgres import running_postgres

CALLERS = (1, 64)
ACCOUNTS = 16
HOLD, PROVIDER_COST, FEE = 200_000, 20_000, 1_100
PURPOSE = Purpose("key_bench", "/v1/chat/completions", "deepseek-chat", "credits", streamed=False, started=1)


def settlement(request_id: str, account_id: str) -> Settlement:
    """A complete answer of the usual kind, written down as the gateway does it."""
    row = blank(CallRow)
    row.request_id = request_id
    row.created = time.time_ns() // 1000
    row.account_id = account_id
    row.key_id = "key_bench"
    row.path = "/v1/chat/completions"
    row.requested_model = "deepseek-chat"
    row.model = "deepseek-chat"
    row.provider = "deepseek"
    row.mode = "standard"
    row.payer = "credits"
    row.streamed = False
    row.status = 200
    row.billing_outcome = "complete"
    row.usage_source = "provider"
    row.prompt_tokens = 1000
    row.completion_tokens = 100
    row.held = HOLD
    row.provider_cost = PROVIDER_COST
    row.fee = FEE
    row.cost = PROVIDER_COST + FEE
    row.price_version = "deepseek-chat:deepseek/deepseek-flash@2026-09-10"
    row.price_rule = "plain"
    row.fee_percent = "5.5"
    row.latency_ms = 500
    row.estimated = False
    row.anomalous = False
    row.cached_tokens = 0
    row.cache_write_tokens = 0
    row.reasoning_tokens = 0
    row.absorbed = 0
    row.first_content_ms = None
    row.balance_after = 0
    row.attempts = ()
    attempt = blank(AttemptRow)
    attempt.number = 1
    attempt.provider = "deepseek"
    attempt.model = "deepseek-chat"
    attempt.upstream_model = "deepseek-flash"
    attempt.outcome = "served"
    attempt.status = 200
    attempt.code = ""
    attempt.latency_ms = 500
    attempt.prompt_tokens = 1000
    attempt.completion_tokens = 100
    attempt.upstream_cost = PROVIDER_COST
    attempt.borne_by = "account"
    return Settlement(row, (attempt,), delivered=True)


async def sample(
    ledger: Ledger, accounts: list[str], callers: int, pairs: int, numbers: Iterator[int]
) -> dict[str, float]:
    """So many pairs by so many callers at once."""
    left = iter(range(pairs))

    async def call() -> None:
        for _ in left:
            number = next(numbers)
            request_id, account_id = f"req_{number:028x}", accounts[number % len(accounts)]
            deadline = time.time_ns() // 1000 + 10**9
            await ledger.hold(request_id, account_id, (HOLD,), deadline=deadline, purpose=PURPOSE)
            await ledger.settle(settlement(request_id, account_id))

    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*[call() for _ in range(callers)])
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {"pairs_per_second": pairs / seconds, "cpu_us_per_pair": cpu / pairs * 1e6}


async def measure(database: Database, pairs: int, rounds: int) -> dict[int, dict[str, float]]:
    """The medians of the rounds, for each number of callers."""
    migrate(database)
    with database.session() as connection:
        accounts = [create_account(connection, f"bench{number}@example.com").id for number in range(ACCOUNTS)]
        for account_id in accounts:
            post_credit(connection, f"gift:{account_id}", account_id, 10**15, "promotion", "bench", 1)
    await database.start()
    ledger = Ledger(database, "bench")
    await ledger.heartbeat()
    numbers = itertools.count()
    samples: dict[int, list[dict[str, float]]] = {callers: [] for callers in CALLERS}
    for _ in range(rounds):
        for callers in CALLERS:
            share = pairs if callers > 1 else pairs // 10
            samples[callers].append(await sample(ledger, accounts, callers, share, numbers))
    await ledger.close()
    await database.close()
    with database.session(snapshot=True) as connection:
        if found := audit(connection):
            sys.exit(f"the books do not agree: {found[0].sentence}")
    return {
        callers: {name: statistics.median(one[name] for one in taken) for name in taken[0]}
        for callers, taken in samples.items()
    }


@contextmanager
def databases() -> Iterator[dict[str, str]]:
    """The URL of each kind of database, empty, on this machine's disk."""
    with (
        tempfile.TemporaryDirectory(prefix="find-token-bench-") as folder,
        running_postgres(fsync=True) as postgres_url,
    ):
        yield {"SQLite, synchronous=FULL": f"sqlite:///{Path(folder).absolute()}/bench.db", "PostgreSQL": postgres_url}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    with databases() as urls:
        for name, url in urls.items():
            found[name] = asyncio.run(measure(open_database(url), options.pairs, options.rounds))
    if options.json:
        print(json.dumps(found))
        return
    print("| database | callers | pairs per second | CPU µs per pair |\n| --- | --- | --- | --- |")
    for name, by_callers in found.items():
        for callers, figures in by_callers.items():
            print(f"| {name} | {callers} | {figures['pairs_per_second']:.0f} | {figures['cpu_us_per_pair']:.0f} |")


if __name__ == "__main__":
    main()
