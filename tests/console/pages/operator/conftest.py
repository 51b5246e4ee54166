"""A gateway with an operator who is signed in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.raw_upstream import RawUpstream
from tests.gateway import book
from tests.operating import Office, running_office


@pytest.fixture
async def office(sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream) -> AsyncIterator[Office]:
    """On SQLite."""
    async with running_office(book(alpha.url, beta.url), sqlite_database_url) as running:
        yield running
