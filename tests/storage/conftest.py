"""Databases with the schema in place, accounts with money on them, and calls to settle."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from storage.accounts import create_account
from storage.calls import AttemptRow, CallRow
from storage.database import Database, open_database
from storage.ledger import Ledger, Settlement, post_credit
from storage.migrating import migrate
from tests.gateway import place_empty_books

NewAccount = Callable[..., str]
MakeSettlement = Callable[..., Settlement]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with the schema, its threads running; on each kind."""
    async with _running(database_url) as opened:
        yield opened


@pytest.fixture
async def sqlite_database(sqlite_database_url: str) -> AsyncIterator[Database]:
    """A SQLite database with the schema, its threads running."""
    async with _running(sqlite_database_url) as opened:
        yield opened


@pytest.fixture
async def postgres_database(postgres_database_url: str) -> AsyncIterator[Database]:
    """A PostgreSQL database with the schema, its threads running."""
    async with _running(postgres_database_url) as opened:
        yield opened


class _running:  # noqa: N801 - reads as a word in `async with`
    """Migrate, start, and close a database."""

    def __init__(self, url: str) -> None:
        place_empty_books(url)
        self._database = open_database(url)

    async def __aenter__(self) -> Database:
        migrate(self._database)
        await self._database.start()
        return self._database

    async def __aexit__(self, *_exception: object) -> None:
        await self._database.close()


@pytest.fixture
async def ledger(database: Database) -> AsyncIterator[Ledger]:
    """The ledger of a living process called p1."""
    opened = Ledger(database, "p1")
    await opened.heartbeat()
    yield opened
    await opened.close()


@pytest.fixture
def new_account(database: Database) -> NewAccount:
    """Opens an account with some credit and returns its id."""
    return account_maker(database)


@pytest.fixture
def account_maker_for() -> Callable[[Database], NewAccount]:
    """The same for a database of the test's own."""
    return account_maker


def account_maker(database: Database) -> NewAccount:
    numbers: Iterator[int] = itertools.count(1)

    def make(credit: int = 0) -> str:
        number = next(numbers)
        with database.session() as connection:
            account = create_account(connection, f"person{number}@example.com")
            if credit:
                post_credit(connection, f"gift:{account.id}", account.id, credit, "promotion", "a test", 1)
        return account.id

    return make


@pytest.fixture
def make_settlement() -> MakeSettlement:
    """How a call ended: `make_settlement(request_id, account_id, provider_cost, fee, …)`; other facts by name."""
    return settlement


def settlement(
    request_id: str,
    account_id: str,
    provider_cost: int = 0,
    fee: int = 0,
    *,
    absorbed: int = 0,
    byok: bool = False,
    delivered: bool = True,
    attempts: tuple[AttemptRow, ...] | None = None,
    **facts: Any,
) -> Settlement:
    values: dict[str, Any] = {
        "request_id": request_id,
        "account_id": account_id,
        "created": 1_000_000,
        "key_id": "key_1",
        "path": "/v1/chat/completions",
        "requested_model": "deepseek-chat",
        "model": "deepseek-chat",
        "provider": "deepseek",
        "mode": "byok" if byok else "standard",
        "payer": "auto",
        "streamed": False,
        "status": 200,
        "billing_outcome": "complete",
        "usage_source": "provider",
        "provider_cost": provider_cost,
        "fee": fee,
        "cost": provider_cost + fee,
        "absorbed": absorbed,
    }
    served = AttemptRow(
        number=1,
        provider="deepseek",
        model="deepseek-chat",
        upstream_model="deepseek-flash",
        outcome="ok",
        status=200,
        code=None,
        latency_ms=12,
        prompt_tokens=10,
        completion_tokens=20,
        upstream_cost=provider_cost,
        borne_by="account",
    )
    row = CallRow(**{**values, **facts})
    return Settlement(row, (served,) if attempts is None else attempts, delivered)
