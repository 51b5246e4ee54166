"""The pages of keys: those that ask us, and those of one's own at providers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import web

from console.answers import Page
from console.byok import NewProviderKey
from console.keys import KeyChange, NewKey
from console.pages.forms import fill
from console.pages.showing import Shower, done, page_of
from console.pages.visiting import Visitor
from console.services import Services
from middlewares.errors import Problem, Refusal
from providers.catalogue import Catalogue

PAGE_ROWS: Final = 25
NUMBERS: Final = ("requests_per_minute", "tokens_per_minute", "concurrent_requests")
LIMITS: Final = ("expires_at", "spend_limit", *NUMBERS)
"""What may be taken away from a key by emptying its field."""
_EMPTY: Final = dict.fromkeys(("name", "provider", "spend_limit_reset", "allowed_models", *LIMITS), "")


class KeyPages:
    """The pages, and what they share."""

    def __init__(self, shower: Shower, services: Services, catalogue: Callable[[], Catalogue]) -> None:
        self._shower = shower
        self._services = services
        self._catalogue = catalogue

    async def show(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """The account's keys, and the form for a new one."""
        return await self._list(request, visitor)

    async def create(self, request: web.Request, visitor: Visitor, fields: dict[str, str]) -> web.StreamResponse:
        """Make a key, and show it this once."""
        try:
            wish = fill(NewKey, _with_models(fields), numbers=NUMBERS)
            shown, key = await self._services.keys.make(visitor.account_id, wish)
        except Refusal as error:
            return await self._list(request, visitor, fault=error.problem, given=fields)
        return await self._shower.show(request, visitor, "my/key_made.html", key=key, shown=shown)

    async def one(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """One key, and the form to change it."""
        return await self._one(request, visitor)

    async def change(self, request: web.Request, visitor: Visitor, fields: dict[str, str]) -> web.StreamResponse:
        """Change a key: a field that was emptied takes its limit away."""
        try:
            wish = _change_of(fields)
            await self._services.keys.alter(visitor.account_id, request.match_info["id"], wish)
        except Refusal as error:
            return await self._one(request, visitor, fault=error.problem, given=fields)
        return done("/my/keys", "changed")

    async def revoke(self, request: web.Request, visitor: Visitor, _fields: dict[str, str]) -> web.StreamResponse:
        """Revoke a key for good."""
        await self._services.keys.end(visitor.account_id, request.match_info["id"])
        return done("/my/keys", "revoked")

    async def providers(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """The account's keys at providers, and the form to register one."""
        return await self._providers(request, visitor)

    async def register(self, request: web.Request, visitor: Visitor, fields: dict[str, str]) -> web.StreamResponse:
        """Seal and keep a provider key."""
        try:
            await self._services.own.keep(visitor.account_id, fill(NewProviderKey, fields))
        except Refusal as error:
            given = {name: text for name, text in fields.items() if name != "api_key"}
            return await self._providers(request, visitor, fault=error.problem, given=given)
        return done("/my/providers", "registered")

    async def remove(self, request: web.Request, visitor: Visitor, _fields: dict[str, str]) -> web.StreamResponse:
        """Remove and erase a provider key."""
        await self._services.own.erase(visitor.account_id, request.match_info["id"])
        return done("/my/providers", "removed")

    async def _list(
        self,
        request: web.Request,
        visitor: Visitor,
        *,
        fault: Problem | None = None,
        given: Mapping[str, str] | None = None,
    ) -> web.Response:
        keys, cursor = await self._services.keys.find_page(visitor.account_id, page_of(request, Page, PAGE_ROWS))
        return await self._shower.show(
            request, visitor, "my/keys.html", fault=fault, keys=keys, cursor=cursor, given={**_EMPTY, **(given or {})}
        )

    async def _one(
        self,
        request: web.Request,
        visitor: Visitor,
        *,
        fault: Problem | None = None,
        given: Mapping[str, str] | None = None,
    ) -> web.Response:
        key = await self._services.keys.find(visitor.account_id, request.match_info["id"])
        values = {name: "" if key[name] is None else str(key[name]) for name in ("name", *LIMITS)}
        values["spend_limit_reset"] = key["spend_limit_reset"] or "none"
        values["allowed_models"] = ", ".join(key["allowed_models"] or ())
        return await self._shower.show(
            request, visitor, "my/key.html", fault=fault, key=key, given={**_EMPTY, **values, **(given or {})}
        )

    async def _providers(
        self,
        request: web.Request,
        visitor: Visitor,
        *,
        fault: Problem | None = None,
        given: Mapping[str, str] | None = None,
    ) -> web.Response:
        return await self._shower.show(
            request,
            visitor,
            "my/providers.html",
            fault=fault,
            keys=await self._services.own.find_all(visitor.account_id),
            providers=list(self._catalogue().providers),
            given={**_EMPTY, **(given or {})},
        )


def _with_models(fields: Mapping[str, str]) -> dict[str, Any]:
    """The fields with the models as a list: names with commas or spaces between them."""
    named = fields.get("allowed_models", "").replace(",", " ").split()
    return {**fields, "allowed_models": named}


def _change_of(fields: Mapping[str, str]) -> KeyChange:
    filled = fill(KeyChange, _with_models(fields), numbers=NUMBERS)
    emptied = {name: None for name in (*LIMITS, "allowed_models") if name in fields and not fields[name]}
    return filled.model_copy(update=emptied)
