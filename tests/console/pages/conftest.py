"""A gateway with somebody who is signed in, and what a browser of theirs asks; a shop with the same."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.raw_upstream import RawUpstream
from tests.gateway import Gateway, book, running_gateway
from tests.paying import Shop, running_shop
from tests.visiting import HERE, Browser, sign_in


@pytest.fixture
async def pages(sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream) -> AsyncIterator[Gateway]:
    """A gateway whose pages are where it listens."""
    async with running_gateway(book(alpha.url, beta.url), sqlite_database_url, server=HERE) as gateway:
        yield gateway


@pytest.fixture
def ada(pages: Gateway) -> Browser:
    """The browser of the account with ten dollars."""
    return sign_in(pages, "ada")[0]


@pytest.fixture
async def shop_pages(sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream) -> AsyncIterator[Shop]:
    """The same, taking payments."""
    async with running_shop(book(alpha.url, beta.url), sqlite_database_url, server=HERE) as shop:
        yield shop
        shop.prove()
