"""A caller's own provider keys over the API: register one, see which there are, remove one.

A key is sealed before it is stored, and only its last four characters are ever shown. It belongs to a provider of the
catalogue: no address can be given with it, so nothing that a caller chooses is ever fetched.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Annotated, Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import AfterValidator, Field

from console.answers import Body, answer, nothing_here, owner_of, read_body
from console.keys import Name, manager_of
from middlewares.errors import Refusal, invalid
from providers.catalogue import Catalogue
from storage.calls import shown_instant
from storage.connection import Connection
from storage.database import Database
from storage.provider_keys import (
    ProviderKeyRecord,
    ProviderKeys,
    UnknownProviderKey,
    list_provider_keys,
    register_provider_key,
    remove_provider_key,
)
from storage.sealing import Sealer

LARGEST_NUMBER_OF_KEYS: Final = 100


def _a_key(text: str) -> str:
    text = text.strip()
    if not (text.isascii() and text.isprintable() and 8 <= len(text) <= 1_000):
        raise ValueError("expected 8 to 1000 printable ASCII characters")
    return text


class NewProviderKey(Body):
    """The body of POST /byok/register."""

    provider: str = Field(max_length=200, description="A provider of this gateway.")
    api_key: Annotated[str, AfterValidator(_a_key)] = Field(description="Your key there. It is never shown again.")
    name: Name


class OwnProviderKeys:
    """The handlers, and what they share."""

    def __init__(
        self, database: Database, sealer: Sealer, kept: ProviderKeys, catalogue: Callable[[], Catalogue]
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._kept = kept
        self._catalogue = catalogue

    def register(self) -> Handler:
        """Seal and keep a key; the newest of a provider is used for its models."""

        async def handle(request: web.Request) -> web.StreamResponse:
            account_id = manager_of(request)
            return answer(await self.keep(account_id, await read_body(request, NewProviderKey)), status=201)

        return handle

    def list(self) -> Handler:
        """The keys that are registered, oldest first."""

        async def handle(request: web.Request) -> web.StreamResponse:
            return answer({"data": await self.find_all(owner_of(request)), "next_cursor": None})

        return handle

    def remove(self) -> Handler:
        """Remove a key and erase it."""

        async def handle(request: web.Request) -> web.StreamResponse:
            account_id, key_id = manager_of(request), request.match_info["id"]
            await self.erase(account_id, key_id)
            return answer({"id": key_id, "removed": True})

        return handle

    async def keep(self, account_id: str, wish: NewProviderKey) -> dict[str, Any]:
        """Seal and keep a key. Raises a Refusal."""
        known = self._catalogue().providers
        if wish.provider not in known:
            raise invalid(
                "provider", f"there is no provider {wish.provider[:60]!r} here; known are: {', '.join(known)}"
            )
        if not self._sealer.is_available:
            raise Refusal(
                "sealing_unavailable", "provider keys cannot be stored here: the operator has set no secret key"
            )
        record = await self._database.run(_register, self._sealer, account_id, wish, key=account_id)
        if record is None:
            raise invalid(None, f"an account has at most {LARGEST_NUMBER_OF_KEYS} provider keys; remove one first")
        self._kept.forget()
        return _as_json(record)

    async def find_all(self, account_id: str) -> builtins.list[dict[str, Any]]:
        """The account's keys, oldest first; there are never many."""
        return [_as_json(record) for record in await self._database.read(list_provider_keys, account_id)]

    async def erase(self, account_id: str, key_id: str) -> None:
        """Remove a key. Raises a Refusal."""
        if not await self._database.run(_remove, account_id, key_id, key=account_id):
            raise nothing_here()
        self._kept.forget()


def _register(
    connection: Connection, sealer: Sealer, account_id: str, body: NewProviderKey
) -> ProviderKeyRecord | None:
    if len(list_provider_keys(connection, account_id)) >= LARGEST_NUMBER_OF_KEYS:
        return None
    return register_provider_key(connection, sealer, account_id, body.provider, body.name, body.api_key)


def _remove(connection: Connection, account_id: str, key_id: str) -> bool:
    if not key_id.isprintable():
        return False
    try:
        remove_provider_key(connection, account_id, key_id)
    except UnknownProviderKey:
        return False
    return True


def _as_json(record: ProviderKeyRecord) -> dict[str, Any]:
    return {
        "id": record.provider_key_id,
        "provider": record.provider,
        "name": record.name,
        "last_four": record.last_four,
        "created": shown_instant(record.created),
    }
