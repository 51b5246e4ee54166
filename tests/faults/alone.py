"""One gateway as a process of its own, between an upstream and callers of the test's: what streams do to its memory and loop."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from billing.money import UNITS_PER_USD
from storage.accounts import create_account
from storage.audit import audit
from storage.calls import CallRow, list_calls
from storage.database import Database, open_database
from storage.identifiers import now_microseconds
from storage.keys import create_key
from storage.ledger import find_balance, post_credit
from tests.faults.processes import SERVER, Running, started
from tests.gateway import Caller, chat_body, empty_books, http_request
from tests.journeys.mix import settings_text

CREDIT = 1000 * UNITS_PER_USD
PROGRAM = (sys.executable, "-m", "tests.faults.watched")
CATALOGUE = """
[providers.alpha]
dialect = "openai"
base_url = "{url}"
keys = ["canary/alpha/0123456789"]
{provider}
[models.standard]
provider = "alpha"
context = 131_072
max_output = 8_192
capabilities = ["tools", "n", "json_object"]

[[models.standard.prices]]
from = 2026-01-01
input = 0.14
output = 0.28
"""


@dataclass(frozen=True, slots=True)
class Alone:
    """The process, its books and a key."""

    running: Running
    database: Database
    account_id: str
    key: str
    watch: Path

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the API."""
        host, _, port = self.running.url.removeprefix("http://").partition(":")
        return host, int(port)

    def request(self, text: str = "Hello", **fields: Any) -> bytes:
        """A call as it goes over the wire."""
        return http_request(json.dumps(chat_body(text, **{"max_tokens": 8000, **fields})).encode(), self.key)

    async def dial(self, text: str = "Hello", **fields: Any) -> Caller:
        """A call on a socket of its own, its answer unread."""
        reader, writer = await asyncio.open_connection(*self.address, limit=2**26)
        writer.write(self.request(text, **fields))
        return Caller(reader, writer)

    def memory(self, name: str = "VmRSS") -> int:
        """Resident memory in bytes: now, or at its most (`VmHWM`)."""
        status = Path(f"/proc/{self.running.process.pid}/status").read_text()
        found = re.search(rf"{name}:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def forget_the_most(self) -> None:
        """Let `VmHWM` begin anew."""
        Path(f"/proc/{self.running.process.pid}/clear_refs").write_text("5")

    def cpu_seconds(self) -> float:
        """Processor time of all its threads so far."""
        tasks = Path(f"/proc/{self.running.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    async def worst(self) -> Mapping[str, float]:
        """How late the loop was at most, and how long busy, since this was last asked."""
        self.watch.unlink(missing_ok=True)
        os.kill(self.running.process.pid, signal.SIGUSR1)
        async with asyncio.timeout(10):
            while not self.watch.exists():
                await asyncio.sleep(0.01)
        found: Mapping[str, float] = json.loads(self.watch.read_text())
        return found

    def rows(self) -> list[CallRow]:
        """The billing log, all of it."""
        rows: list[CallRow] = []
        cursor: str | None = None
        with self.database.session(snapshot=True) as connection:
            while True:
                page, cursor = list_calls(connection, self.account_id, limit=1000, cursor=cursor)
                rows += page
                if cursor is None:
                    return rows

    def held(self) -> int:
        """What is held now."""
        with self.database.session(snapshot=True) as connection:
            return find_balance(connection, self.account_id).held

    def prove(self) -> None:
        """The books agree with themselves, and the balance with the log."""
        with self.database.session(snapshot=True) as connection:
            assert [] == audit(connection)
            balance = find_balance(connection, self.account_id)
        assert (CREDIT - sum(row.cost for row in self.rows()), 0) == (balance.balance, balance.held)


@asynccontextmanager
async def alone(
    folder: Path, upstream_url: str, *, provider: str = "", **sections: Mapping[str, Any]
) -> AsyncIterator[Alone]:
    """Start it over SQLite with one account; ``provider`` is further lines of the provider's table, ``sections`` settings."""
    (folder / "books.db").write_bytes(empty_books())
    url = f"sqlite:///{folder / 'books.db'}"
    (folder / "catalogue.toml").write_text(CATALOGUE.format(url=upstream_url, provider=provider))
    settings = folder / "find-token.toml"
    merged = {"server": SERVER, "limits": {"requests_per_minute": 0}, **sections}
    settings.write_text('catalogue = "catalogue.toml"\n\n' + settings_text(url, **merged))
    database = open_database(url)
    with database.session() as connection:
        account = create_account(connection, "ada@example.com")
        post_credit(connection, "gift", account.id, CREDIT, "promotion", "test", now_microseconds())
        _, key = create_key(connection, account.id, "test", "sk-ft_")
    watch = folder / "watch.json"
    async with started(folder, str(watch), "serve", "--config", str(settings), program=PROGRAM) as running:
        yield Alone(running, database, account.id, key, watch)
