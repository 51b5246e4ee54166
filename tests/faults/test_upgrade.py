"""S-120: another release comes, on two nodes at once, and may go again: not a digit of the books changes by it.

The release before is what `find-token migrate --to` leaves; `tests/storage/test_migrating.py` holds that its code can write
beside the newer schema, and `tests/deploy/test_backup.py` that copies made meanwhile are whole.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

import pytest

from billing.money import UNITS_PER_USD
from proxy.demo import simulated_catalogue
from storage.migrating import FOLDER
from tests.faults.processes import answer
from tests.gateway import running_gateway
from tests.journeys.books import Books
from tests.journeys.mix import SECTIONS, Arrivals, draw_seed, make, plan, settings_text, simulated_providers

CALLS = 1_000 if os.environ.get("FIND_TOKEN_EXAM") == "1" else 40
CREDIT = 100 * UNITS_PER_USD
RELEASES = 2
"""So many steps of the schema are taken back: what this release brought, and the one before it."""


def sums(books: Books) -> tuple[object, ...]:
    """Everything that says how much money there is, and whose."""
    moved: Counter[str] = Counter()
    for name, amount in books.movements():
        moved[name] += amount
    rows = books.rows()
    balance = books.balance()
    return moved, len(rows), sum(row.cost for row in rows), balance.balance, balance.held


@pytest.mark.timeout(0 if CALLS > 100 else 120)
async def test_an_upgrade_on_two_nodes_at_once(database_url: str, tmp_path: Path) -> None:
    """Calls of every kind, the schema of an earlier release, two nodes that bring it up to date at the same moment, more calls:
    every sum is what it was, one node alone has changed anything, and the books of all of it agree."""
    seed = draw_seed()
    changes = sorted(path.stem for path in FOLDER.glob("[0-9]*.py"))
    (tmp_path / "find-token.toml").write_text(settings_text(database_url))
    books = Books(database_url)
    keys = books.open_account(CREDIT, 2 * CALLS)
    async with simulated_providers() as simulator:
        arrivals = Arrivals(simulator)
        planned = plan(seed, keys)
        told = []
        for part in (planned[:CALLS], planned[CALLS:]):
            catalogue = simulated_catalogue(simulator.url)
            async with running_gateway(catalogue, database_url, name=f"node{part[0].number}", **SECTIONS) as gateway:
                told += await make(gateway.url, part, arrivals)
                await books.until_nothing_is_held()
            before = sums(books)

            back = await answer(tmp_path, "migrate", "--to", changes[-1 - RELEASES])
            taken_back = sums(books)
            nodes = await asyncio.gather(*(answer(tmp_path, "migrate") for _ in range(2)))

            assert changes[-RELEASES:] == sorted(back["reverted"])
            assert changes[-RELEASES:] == [name for node in nodes for name in node["applied"]]
            assert before == taken_back == sums(books)
        books.prove_calls(told, arrivals)
    assert 0 < books.prove()
    audited = await answer(tmp_path, "audit")
    assert (True, len(books.rows()), 0) == (
        audited["ok"],
        audited["summary"]["calls"],
        audited["summary"]["open_holds"],
    )
