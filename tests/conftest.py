"""What all tests share."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from hypothesis import HealthCheck, Phase, settings

from middlewares.observe import utc_now
from providers.catalogue import Catalogue
from tests.fakes.postgres import running_postgres
from tests.fakes.raw_upstream import RawUpstream
from tests.gateway import CREDIT, BookLock, Gateway, book, running_gateway

# `make exam`: the same properties with many more examples. A test that fixes its own max_examples keeps it.
settings.register_profile(
    "exam", max_examples=5_000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
# `make mutants`: few examples, always the same, and what fails is not made smaller, because every mutant is tried with them.
settings.register_profile(
    "mutants",
    max_examples=20,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
if os.environ.get("FIND_TOKEN_EXAM") == "1":
    settings.load_profile("exam")
elif os.environ.get("FIND_TOKEN_MUTANTS") == "1":
    settings.load_profile("mutants")


_schema_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL server of our own, on a port of the system's choice, without fsync."""
    with running_postgres(fsync=False) as url:
        yield url


@pytest.fixture
def postgres_database_url(postgres_url: str) -> str:
    """An empty PostgreSQL schema of this test's own: the same to whoever connects as an empty database, made in no time."""
    name = f"test_{next(_schema_numbers)}"
    connection = psycopg2.connect(postgres_url)
    connection.autocommit = True
    connection.cursor().execute(f"CREATE SCHEMA {name}")
    connection.close()
    return f"{postgres_url}?options=-csearch_path%3D{name}"


@pytest.fixture
def sqlite_database_url(tmp_path: Path) -> str:
    """A SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'find-token.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database; the test runs once on each kind."""
    kind = "postgres" if request.param == "postgresql" else request.param
    return str(request.getfixturevalue(f"{kind}_database_url"))


@pytest.fixture
async def alpha() -> AsyncIterator[RawUpstream]:
    """The upstream of the models `standard`, `lonely` and `dear`."""
    upstream = await RawUpstream().start()
    yield upstream
    await upstream.close()


@pytest.fixture
async def beta() -> AsyncIterator[RawUpstream]:
    """The upstream of the model `alternative`, which may stand in for `standard`."""
    upstream = await RawUpstream().start()
    yield upstream
    await upstream.close()


@pytest.fixture
async def start_gateway(
    sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream
) -> AsyncIterator[Callable[..., Awaitable[Gateway]]]:
    """Start a gateway with settings, credit or a catalogue of the test's own; it is closed when the test is over."""
    async with AsyncExitStack() as resources:

        async def start(
            catalogue: Catalogue | None = None,
            *,
            credit: int = CREDIT,
            database_url: str = sqlite_database_url,
            stall_seconds: float = 5.0,
            clock: Callable[[], datetime] = utc_now,
            providers: Mapping[str, Mapping[str, Any]] | None = None,
            name: str = "ada",
            **sections: Mapping[str, Any],
        ) -> Gateway:
            chosen = catalogue if catalogue is not None else book(alpha.url, beta.url, **(providers or {}))
            return await resources.enter_async_context(
                running_gateway(
                    chosen, database_url, credit=credit, stall_seconds=stall_seconds, clock=clock, name=name, **sections
                )
            )

        yield start


@pytest.fixture
async def gateway(start_gateway: Callable[..., Awaitable[Gateway]]) -> Gateway:
    """A gateway over `alpha` and `beta` with quick settings and ten dollars on its account."""
    return await start_gateway()


@pytest.fixture
def book_lock(sqlite_database_url: str) -> Iterator[BookLock]:
    """Another process that can lock the books of `gateway`, and of what `start_gateway` starts on SQLite."""
    lock = BookLock(sqlite_database_url)
    yield lock
    lock.release()
