"""An upstream of raw sockets, and the way to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from providers.transport import PooledTransport
from tests.fakes.raw_upstream import RawUpstream


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    """A server of raw sockets."""
    server = await RawUpstream().start()
    yield server
    await server.close()


@pytest.fixture
async def transport() -> AsyncIterator[PooledTransport]:
    """The transport under test, started."""
    pool = PooledTransport()
    await pool.start()
    yield pool
    await pool.close()
