"""Calls per second, and what a call costs, by workers and by nodes: plain calls from 64 callers, each row in its turn.

    python -m bench.scale.run [--rounds N] [--requests N] [--json]

Workers share one port (`find-token serve --workers N`), nodes are processes of their own on one PostgreSQL, each asked by its
part of the callers. CPU is that of all gateway processes together and, beside it, of all of PostgreSQL's. Callers and upstream
run on the same machine: on few cores it is they and the gateway that share them, so what more processes can give is what the
cores have left. Exits with 1 when a request failed or the books do not balance.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from billing.money import UNITS_PER_USD
from storage.accounts import create_account
from storage.database import open_database
from storage.keys import create_key
from storage.migrating import migrate
from storage.postings import post_credit
from tests.fakes.postgres import running_server

# The peer's bench is a script, and so are its parts.
sys.path.insert(0, str(Path(__file__).parents[1] / "passthrough"))
import load
from run import CATALOGUE, HERE, command, cpu_seconds, start

CALLERS = 64
ACCOUNTS = 16
"""Each with a key of its own; callers use them in turn, as those of one account wait for each other's row."""
SETTINGS = """
catalogue = "catalogue.toml"

[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
workers = {workers}

[limits]
requests_per_minute = 0

[storage]
database = "{database}"
"""


@dataclass(frozen=True)
class Row:
    """One arrangement."""

    name: str
    database: str
    workers: int
    nodes: int


ROWS = (
    Row("SQLite, 1 worker", "sqlite", 1, 1),
    Row("SQLite, 2 workers", "sqlite", 2, 1),
    Row("PostgreSQL, 1 worker", "postgresql", 1, 1),
    Row("PostgreSQL, 2 workers", "postgresql", 2, 1),
    Row("PostgreSQL, 2 nodes", "postgresql", 1, 2),
    Row("PostgreSQL, 3 nodes", "postgresql", 1, 3),
)


def family(pid: int) -> Iterator[int]:
    """A process and all that it has started."""
    yield pid
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        yield from family(child)


def cpu_of(pids: list[int]) -> float:
    """CPU seconds of these processes and of all that they have started."""
    return sum(cpu_seconds(process) for pid in pids for process in family(pid))


@dataclass(frozen=True)
class Running:
    """The gateways of a row: where they listen, their processes, and the keys of the accounts."""

    ports: list[int]
    pids: list[int]
    keys: list[str]
    folder: Path


def open_accounts(database_url: str) -> list[str]:
    """A database with accounts that can pay for everything; a key of each."""
    database = open_database(database_url)
    migrate(database)
    keys = []
    with database.session() as connection:
        for number in range(ACCOUNTS):
            account = create_account(connection, f"bench{number}@example.com")
            post_credit(connection, f"gift:{account.id}", account.id, 1000 * UNITS_PER_USD, "promotion", "bench", 1)
            keys.append(create_key(connection, account.id, "bench", "sk-ft_")[1])
    return keys


def started(resources: ExitStack, row: Row, folder: Path, database: str, upstream_port: int) -> Running:
    """The gateways of a row, on a database with accounts that can pay for everything."""
    folder.mkdir()
    (folder / "catalogue.toml").write_text(CATALOGUE.format(port=upstream_port))
    (folder / "find-token.toml").write_text(SETTINGS.format(workers=row.workers, database=database))
    keys = open_accounts(database)
    found = [
        start(resources, [str(Path(sys.executable).with_name("find-token")), "serve", "--json"], None, folder)
        for _ in range(row.nodes)
    ]
    ports = [int(json.loads(line)["url"].rsplit(":", 1)[1]) for _, line in found]
    return Running(ports, [process.pid for process, _ in found], keys, folder)


async def ask(running: Running, requests: int) -> load.Result:
    """All callers at once, spread over accounts and nodes; together so many requests."""
    parts = [
        load.run(
            running.ports[number % len(running.ports)],
            load.request_bytes(running.keys[number % ACCOUNTS], streamed=False),
            callers=1,
            requests=requests // CALLERS,
        )
        for number in range(CALLERS)
    ]
    whole = load.Result()
    loop = asyncio.get_running_loop()
    began = loop.time()
    for one in await asyncio.gather(*parts):
        whole.requests += one.requests
        whole.failures += one.failures
        whole.latencies += one.latencies
    whole.seconds = loop.time() - began
    return whole


def measure(running: Running, postgres: list[int], requests: int, rounds: int) -> dict[str, float]:
    """Medians over the rounds."""
    asyncio.run(ask(running, max(requests // 4, CALLERS)))
    seen: list[tuple[float, float, float, float]] = []
    for _ in range(rounds):
        gateway, database = cpu_of(running.pids), cpu_of(postgres)
        result = asyncio.run(ask(running, requests))
        if result.failures:
            raise SystemExit(f"{result.failures} requests failed")
        gateway, database = cpu_of(running.pids) - gateway, cpu_of(postgres) - database
        count = result.requests
        seen.append(
            (count / result.seconds, gateway / count * 1e6, database / count * 1e6, result.percentile(0.5) * 1e3)
        )
    names = ("calls_per_second", "gateway_us", "postgres_us", "p50_ms")
    return {name: statistics.median(one[place] for one in seen) for place, name in enumerate(names)}


def one_row(row: Row, upstream_port: int, requests: int, rounds: int) -> dict[str, float]:
    """One arrangement on an empty database, from start to stop."""
    with tempfile.TemporaryDirectory(prefix="find-token-bench-") as name, ExitStack() as resources:
        folder = Path(name) / "gateway"
        database, postgres = f"sqlite:///{folder}/bench.db", []
        if row.database == "postgresql":
            server = resources.enter_context(running_server(fsync=True))
            database, postgres = server.url, [server.pid]
        with ExitStack() as gateways:
            running = started(gateways, row, folder, database, upstream_port)
            figures = measure(running, postgres, requests, rounds)
        if not command(folder, "audit")["ok"]:
            raise SystemExit(f"{row.name}: the books do not balance")
    return figures


def main() -> None:
    """Measure every row and print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="find-token-bench-") as name, ExitStack() as resources:
        upstream = [sys.executable, str(HERE / "upstream.py"), "0"]
        _, port = start(resources, upstream, None, Path(name))
        found = {row.name: one_row(row, int(port), options.requests, options.rounds) for row in ROWS}
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{os.cpu_count()} cores, {CALLERS} callers, {ACCOUNTS} accounts\n")
    print("| | calls per second | gateway, CPU µs per call | PostgreSQL, CPU µs per call | p50 ms |")
    print("| --- | --- | --- | --- | --- |")
    for title, row_figures in found.items():
        print(f"| {title} | {' | '.join(f'{figure:.0f}' for figure in row_figures.values())} |")


if __name__ == "__main__":
    main()
