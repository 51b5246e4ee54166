"""Gateways that take payments."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.raw_upstream import RawUpstream
from tests.gateway import book
from tests.paying import Shop, running_shop


@pytest.fixture
async def shop(sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream) -> AsyncIterator[Shop]:
    """A gateway over a fake Stripe, on SQLite; its books agree in the end."""
    async with running_shop(book(alpha.url, beta.url), sqlite_database_url) as running:
        yield running
        running.prove()


@pytest.fixture
async def any_shop(database_url: str, alpha: RawUpstream, beta: RawUpstream) -> AsyncIterator[Shop]:
    """The same on each kind of database."""
    async with running_shop(book(alpha.url, beta.url), database_url) as running:
        yield running
        running.prove()
