"""A gateway on each kind of database, a way to ask its account plane, and gateways that take payments."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import pytest

from tests.fakes.raw_upstream import RawUpstream
from tests.gateway import Gateway, Reply, book
from tests.paying import Shop, running_shop
from tests.signing_in import Desk, running_desk


class Ask(Protocol):
    """Ask the account plane something; the answer as it came."""

    async def __call__(self, method: str, path: str, body: Any = None, *, key: str = "") -> Reply: ...


@pytest.fixture
async def plane(start_gateway: Callable[..., Awaitable[Gateway]], database_url: str) -> Gateway:
    """A gateway with ten dollars on its account; once on each kind of database."""
    return await start_gateway(database_url=database_url)


def asking(gateway: Gateway) -> Ask:
    """Ask ``gateway``, with its account's key unless another is given."""

    async def ask(method: str, path: str, body: Any = None, *, key: str = "") -> Reply:
        return await gateway.send(
            b"" if body is None else json.dumps(body).encode(),
            method=method,
            path=path,
            headers={"Authorization": f"Bearer {key or gateway.key}"},
        )

    return ask


@pytest.fixture
def ask(plane: Gateway) -> Ask:
    """Ask `plane`."""
    return asking(plane)


@pytest.fixture
def ask_of() -> Callable[[Gateway], Ask]:
    """The same for a gateway of the test's own."""
    return asking


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


@pytest.fixture
async def desk(sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream) -> AsyncIterator[Desk]:
    """A gateway that mails to a fake mail server, on SQLite."""
    async with running_desk(book(alpha.url, beta.url), sqlite_database_url) as running:
        yield running


@pytest.fixture
async def any_desk(database_url: str, alpha: RawUpstream, beta: RawUpstream) -> AsyncIterator[Desk]:
    """The same on each kind of database."""
    async with running_desk(book(alpha.url, beta.url), database_url) as running:
        yield running


@pytest.fixture
async def gateway_without_mail(sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream) -> AsyncIterator[Desk]:
    """A gateway whose operator has set up no mail."""
    async with running_desk(book(alpha.url, beta.url), sqlite_database_url, mail={"host": ""}) as running:
        yield running
