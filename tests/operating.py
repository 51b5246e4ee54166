"""A gateway with operators, for tests of their pages: one of them is signed in, and so is somebody who is none."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from providers.catalogue import Catalogue
from storage.accounts import find_account_by_email
from storage.entries import page_entries
from storage.receipts import EntryRow
from tests.gateway import Gateway, Reply, running_gateway
from tests.visiting import HERE, Browser, sign_in

OPERATOR = "grace@example.com"


@dataclass(frozen=True, slots=True)
class Office:
    """The gateway, the operator's browser, and that of the account with ten dollars."""

    gateway: Gateway
    grace: Browser
    ada: Browser

    def account_id(self, email: str) -> str:
        """The id of an account."""
        with self.gateway.database.session(snapshot=True) as connection:
            found = find_account_by_email(connection, email)
        assert found is not None, email
        return found.id

    def entries(self, kind: str) -> list[EntryRow]:
        """The ledger's lines of a kind, newest first."""
        with self.gateway.database.session(snapshot=True) as connection:
            return page_entries(connection, kind=kind)[0]

    def execute(self, sql: str, *values: object) -> None:
        """Change the books behind the gateway's back."""
        with self.gateway.database.session() as connection:
            connection.execute(sql, values)


def hidden(reply: Reply, action: str) -> dict[str, str]:
    """The hidden fields of the form on a page that is sent to ``action``, without the word of the page."""
    form = re.search(rf'<form[^>]*action="{re.escape(action)}"[^>]*>(.*?)</form>', reply.body.decode(), re.DOTALL)
    assert form is not None, reply.body.decode()
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', form[1])
    return {name: html.unescape(value) for name, value in found if name != "form_word"}


@asynccontextmanager
async def running_office(
    catalogue: Catalogue, database_url: str, **sections: Mapping[str, Any]
) -> AsyncIterator[Office]:
    """Start one. The settings write the operator's address in a spelling of their own."""
    sections = {"sign_in": {"operators": [OPERATOR.title()]}, "server": HERE, **sections}
    async with running_gateway(catalogue, database_url, **sections) as gateway:
        ada, grace = sign_in(gateway, "ada", "grace")
        yield Office(gateway, grace, ada)
