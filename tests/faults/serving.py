"""A gateway as an operator runs it, before the simulator: its files, an account with credit, a key, and what one asks of it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from billing.money import UNITS_PER_USD
from storage.accounts import create_account
from storage.database import open_database
from storage.keys import create_key
from storage.migrating import migrate
from storage.postings import post_credit
from tests.faults.processes import COMMAND, SERVER, Running, started, write_files
from tests.journeys.mix import simulated_providers

EMAIL = "a@example.com"
CREDIT = 1000 * UNITS_PER_USD
MODEL = "qwen-max"
SLOWLY, QUICKLY = (f'pieces=50 SIM:{{"kind": "none", "pieces_per_second": {speed}}}' for speed in ("4.00", "4000"))
"""The same answer to prompts of the same length."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A gateway as an operator runs it, its files, and a key."""

    running: Running
    folder: Path
    key: str

    @property
    def settings(self) -> Path:
        """The settings file."""
        return self.folder / "find-token.toml"

    @property
    def catalogue(self) -> Path:
        """The catalogue."""
        return self.folder / "catalogue.toml"

    async def ask(self, session: aiohttp.ClientSession, text: str = "Hello", **fields: Any) -> tuple[int, str, Any]:
        """A call of one provider alone: status, cost, and the body's text."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "provider": {"allow_fallbacks": False}}
        async with session.post(
            f"{self.running.url}/v1/chat/completions",
            json=body | fields,
            headers={"Authorization": f"Bearer {self.key}"},
        ) as reply:
            text = await reply.text()
            return reply.status, reply.headers.get("X-FindToken-Cost", ""), text

    async def reload(self, session: aiohttp.ClientSession) -> tuple[int, Any]:
        """What the admin listener says to POST /-/reload."""
        async with session.post(f"{self.running.told['admin_url']}/-/reload") as reply:
            return reply.status, await reply.json()

    async def metric(self, session: aiohttp.ClientSession, name: str, **labels: str) -> float:
        """One sample; 0 if there is none."""
        async with session.get(f"{self.running.told['admin_url']}/metrics") as reply:
            families = text_string_to_metric_families(await reply.text())
            samples = [one for family in families for one in family.samples]
            return sum(one.value for one in samples if one.name == f"findtoken_{name}" and one.labels == labels)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@asynccontextmanager
async def serving(
    folder: Path,
    database_url: str = "",
    *,
    program: tuple[str, ...] = COMMAND,
    errors_to: int | None = None,
    routing: Mapping[str, Any] | None = None,
    **server: Any,
) -> AsyncIterator[Serving]:
    """The installed command, on SQLite unless another database is named; ``server`` are settings of that table."""
    url = database_url or f"sqlite:///{folder}/books.db"
    table: Mapping[str, Any] = {**SERVER, **server}
    async with simulated_providers() as simulator:
        settings = write_files(
            folder, url, simulator.url, server=table, **({} if routing is None else {"routing": routing})
        )
        key = await asyncio.to_thread(open_account, url)  # The database may be behind a wire that this loop carries.
        command = ("serve", "--config", str(settings))
        async with started(folder, *command, program=program, errors_to=errors_to) as running:
            yield Serving(running, folder, key)


def open_account(database_url: str) -> str:
    """A database with the schema and one account with credit; its key."""
    database = open_database(database_url)
    migrate(database)
    with database.session() as connection:
        account = create_account(connection, EMAIL)
        post_credit(connection, f"gift:{account.id}", account.id, CREDIT, "promotion", "a test", 1)
        return create_key(connection, account.id, "test", "sk-ft_")[1]
