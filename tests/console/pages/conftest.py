"""A gateway with somebody who is signed in, and what a browser of theirs asks; a shop with the same."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.raw_upstream import RawUpstream
from tests.gateway import Gateway, book, running_gateway
from tests.paying import Shop, running_shop
from tests.visiting import Browser, Everybody, Somebody


def sign_in(gateway: Gateway, *names: str) -> list[Browser]:
    """Browsers of people who are signed in: the first is the gateway's own account, the others have accounts of their own."""
    everybody = gateway.process.visitors
    assert isinstance(everybody, Everybody)
    browsers = []
    for number, name in enumerate(names):
        account_id = gateway.account_id if number == 0 else gateway.new_account(name)[0]
        everybody.known[name] = Somebody(f"session_{name}", account_id, f"{name}@example.com")
        browsers.append(Browser(gateway, name))
    return browsers


@pytest.fixture
async def pages(sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream) -> AsyncIterator[Gateway]:
    """A gateway that knows who is signed in."""
    async with running_gateway(book(alpha.url, beta.url), sqlite_database_url, visitors=Everybody()) as gateway:
        yield gateway


@pytest.fixture
def ada(pages: Gateway) -> Browser:
    """The browser of the account with ten dollars."""
    return sign_in(pages, "ada")[0]


@pytest.fixture
async def shop_pages(sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream) -> AsyncIterator[Shop]:
    """A gateway that takes payments and knows who is signed in."""
    async with running_shop(book(alpha.url, beta.url), sqlite_database_url, visitors=Everybody()) as shop:
        yield shop
        shop.prove()
