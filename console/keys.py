"""Keys over the API: make one, see them, change one, revoke one. The full key is in the answer that makes it and nowhere else.

A key that is limited itself (it expires, has a spending limit, rate limits or allowed models) may look, but not make or
change keys, or its limits would bind nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import AfterValidator, Field

from billing.money import format_usd
from console.answers import Body, Dollars, Instant, Page, answer, nothing_here, owner_of, read_body, read_query
from middlewares.body import find_model
from middlewares.call import CALL
from middlewares.errors import Refusal, invalid
from providers.catalogue import Catalogue
from storage.calls import shown_instant
from storage.connection import Connection
from storage.cursors import InvalidCursor
from storage.database import Database
from storage.identifiers import now_microseconds
from storage.key_changes import change_key
from storage.key_spending import find_allowance, window_start
from storage.keys import (
    LONGEST_NAME,
    KeyRecord,
    KeyRing,
    KeyTerms,
    check_name,
    count_active_keys,
    create_key,
    find_key,
    page_keys,
    revoke_key,
)
from storage.usage import DAY_MICROSECONDS, UsageSums, open_since

LARGEST_NUMBER_OF_KEYS: Final = 1_000
LARGEST_LIMIT: Final = 10**9


Name = Annotated[str, AfterValidator(check_name), Field(max_length=LONGEST_NAME, description="What it is for.")]
Number = Annotated[int, Field(ge=1, le=LARGEST_LIMIT)]
Models = Annotated[list[Annotated[str, Field(max_length=200)]], Field(min_length=1, max_length=100)]
Reset = Literal["daily", "weekly", "monthly", "none"]


class KeyLimits(Body):
    """What may be set on a key; null, or nothing said, is no limit."""

    expires_at: Instant | None = Field(default=None, description="When the key stops working.")
    spend_limit: Dollars | None = Field(default=None, description="Dollars its calls may cost in one window.")
    spend_limit_reset: Reset = Field(
        default="none",
        description="When the spending limit begins anew: with each UTC day, week from Monday, or month.",
    )
    requests_per_minute: Number | None = None
    tokens_per_minute: Number | None = None
    concurrent_requests: Number | None = None
    allowed_models: Models | None = Field(default=None, description="The only models it may use, by name or alias.")


class NewKey(KeyLimits):
    """The body of POST /keys."""

    name: Name


class KeyChange(KeyLimits):
    """The body of PATCH /keys/{id}: what is not said stays as it is."""

    name: Name = ""


class Keys:
    """The handlers, and what they share."""

    def __init__(
        self, database: Database, sums: UsageSums, ring: KeyRing, prefix: str, catalogue: Callable[[], Catalogue]
    ) -> None:
        self._database = database
        self._sums = sums
        self._ring = ring
        self._prefix = prefix
        self._catalogue = catalogue

    def page(self) -> Handler:
        """The account's keys, newest first."""

        async def handle(request: web.Request) -> web.StreamResponse:
            shown, cursor = await self.find_page(owner_of(request), read_query(request, Page))
            return answer({"data": shown, "next_cursor": cursor})

        return handle

    def create(self) -> Handler:
        """A new key, shown once."""

        async def handle(request: web.Request) -> web.StreamResponse:
            account_id = manager_of(request)
            shown, key = await self.make(account_id, await read_body(request, NewKey))
            return answer({**shown, "key": key}, status=201)

        return handle

    def change(self) -> Handler:
        """Another name, expiry or limits."""

        async def handle(request: web.Request) -> web.StreamResponse:
            account_id, key_id = manager_of(request), request.match_info["id"]
            return answer(await self.alter(account_id, key_id, await read_body(request, KeyChange)))

        return handle

    def revoke(self) -> Handler:
        """Revoke for good. The answer comes when every gateway that shares the books refuses the key."""

        async def handle(request: web.Request) -> web.StreamResponse:
            call, key_id = request[CALL], request.match_info["id"]
            account_id = owner_of(request) if key_id == call.key_id else manager_of(request)
            return answer(await self.end(account_id, key_id))

        return handle

    async def find_page(self, account_id: str, page: Page) -> tuple[list[dict[str, Any]], str | None]:
        """A page of the account's keys. Raises a Refusal for a cursor that is none."""
        try:
            return await self._database.read(_page, account_id, page.limit, page.cursor, self._prefix)
        except InvalidCursor as error:
            raise invalid("cursor", str(error)) from None

    async def find(self, account_id: str, key_id: str) -> dict[str, Any]:
        """One key of the account's. Raises a Refusal."""
        record = await self._database.read(_own_key, account_id, key_id)
        if record is None:
            raise nothing_here()
        return await self._database.read(key_as_json, record, self._prefix, now_microseconds())

    async def make(self, account_id: str, wish: NewKey) -> tuple[dict[str, Any], str]:
        """A new key: what is shown of it later, and the key itself. Raises a Refusal."""
        terms = self._change(KeyTerms(), wish)
        expires = _future(wish.expires_at)
        made = await self._database.run(_create, account_id, wish.name, self._prefix, expires, terms, key=account_id)
        if made is None:
            raise invalid(None, f"an account has at most {LARGEST_NUMBER_OF_KEYS} keys; revoke one that is not needed")
        return made

    async def alter(self, account_id: str, key_id: str, wish: KeyChange) -> dict[str, Any]:
        """Change what is said of a key, and leave the rest. Raises a Refusal."""
        record = await self._database.read(_own_key, account_id, key_id)
        if record is None:
            raise nothing_here()
        terms = self._change(record.terms, wish)
        changed = {
            "name": wish.name or record.name,
            "expires": _future(wish.expires_at) if "expires_at" in wish.model_fields_set else record.expires,
            "terms": terms,
            "known": await self._known(record, terms),
        }
        shown = await self._database.run(_change, account_id, key_id, changed, self._prefix, key=account_id)
        self._ring.forget()
        return shown

    async def end(self, account_id: str, key_id: str) -> dict[str, Any]:
        """Revoke a key; returns when every gateway that shares the books refuses it. Raises a Refusal."""
        shown = await self._database.run(_revoke, account_id, key_id, self._prefix, key=account_id)
        if shown is None:
            raise nothing_here()
        await self._ring.forget_everywhere()
        return shown

    async def _known(self, record: KeyRecord, terms: KeyTerms) -> tuple[int, int]:
        """When the days end that are final, and what the key spent on those of the window of now."""
        now = now_microseconds()
        first_day = max(window_start(terms.spend_window or "none", now), record.created) // DAY_MICROSECONDS
        until = open_since(now)
        if terms.spend_limit is None or until <= first_day:
            return 0, 0
        used = await self._sums.find(record.account_id, first_day, until, now)
        spent = sum(one.cost for one in used if one.key_id == record.key_id)
        return until * DAY_MICROSECONDS, spent

    def _change(self, terms: KeyTerms, body: KeyLimits) -> KeyTerms:
        """The terms with what a body says of them."""
        said = body.model_fields_set
        values: dict[str, Any] = {
            name: getattr(body, name)
            for name in ("spend_limit", "requests_per_minute", "tokens_per_minute", "concurrent_requests")
            if name in said
        }
        if values.get("spend_limit") is not None and values["spend_limit"] < 0:
            raise invalid("spend_limit", "spend_limit must be at least 0")
        if "allowed_models" in said:
            names = body.allowed_models
            # By their public names, so that an alias allows what it stands for.
            values["allowed_models"] = None if names is None else tuple(dict.fromkeys(map(self._model, names)))
        if "spend_limit_reset" in said:
            values["spend_window"] = body.spend_limit_reset
        changed = replace(terms, **values)
        if changed.spend_limit is None:
            return replace(changed, spend_window=None)
        return replace(changed, spend_window=changed.spend_window or "none")

    def _model(self, name: str) -> str:
        try:
            return find_model(self._catalogue(), name).id
        except Refusal as error:
            raise invalid("allowed_models", error.problem.message) from None


def key_as_json(connection: Connection, record: KeyRecord, prefix: str, now: int) -> dict[str, Any]:
    """A key as its owner may see it again: never the key itself."""
    terms = record.terms
    allowance = find_allowance(connection, record.key_id, now)
    status = "active" if record.revoked is None else "revoked"
    if status == "active" and record.expires is not None and record.expires <= now:
        status = "expired"
    return {
        "id": record.key_id,
        "name": record.name,
        "label": f"{prefix}…{record.last_four}",
        "last_four": record.last_four,
        "status": status,
        "created": shown_instant(record.created),
        "expires_at": _instant(record.expires),
        "revoked": _instant(record.revoked),
        "last_used": _instant(record.last_used),
        "spend_limit": None if terms.spend_limit is None else format_usd(terms.spend_limit),
        "spend_limit_reset": terms.spend_window,
        "spend_limit_resets_at": None if allowance is None else _instant(allowance.resets),
        "spend_limit_remaining": None if allowance is None else format_usd(max(allowance.remaining, 0)),
        "requests_per_minute": terms.requests_per_minute,
        "tokens_per_minute": terms.tokens_per_minute,
        "concurrent_requests": terms.concurrent_requests,
        "allowed_models": None if terms.allowed_models is None else list(terms.allowed_models),
    }


def manager_of(request: web.Request) -> str:
    """The account, if the caller's key may make and change keys. Raises a Refusal if it is limited itself."""
    call = request[CALL]
    assert call.account_id is not None, "auth comes first"
    if call.key.is_restricted:
        raise Refusal(
            "key_restricted", "a key with limits or an expiry of its own may not do this: use another, or sign in"
        )
    return call.account_id


def _future(instant: int | None) -> int | None:
    if instant is not None and instant <= now_microseconds():
        raise invalid("expires_at", "expires_at must lie in the future")
    return instant


def _instant(instant: int | None) -> str | None:
    return None if instant is None else shown_instant(instant)


def _page(
    connection: Connection, account_id: str, limit: int, cursor: str | None, prefix: str
) -> tuple[list[dict[str, Any]], str | None]:
    records, following = page_keys(connection, account_id, limit, cursor)
    return [key_as_json(connection, record, prefix, now_microseconds()) for record in records], following


def _own_key(connection: Connection, account_id: str, key_id: str) -> KeyRecord | None:
    """The account's key of this id; None for another's, as for one that does not exist."""
    record = find_key(connection, key_id) if key_id.isprintable() else None
    return record if record is not None and record.account_id == account_id else None


def _create(
    connection: Connection, account_id: str, name: str, prefix: str, expires: int | None, terms: KeyTerms
) -> tuple[dict[str, Any], str] | None:
    if count_active_keys(connection, account_id) >= LARGEST_NUMBER_OF_KEYS:
        return None
    record, key = create_key(connection, account_id, name, prefix, expires=expires, terms=terms)
    return key_as_json(connection, record, prefix, now_microseconds()), key


def _change(
    connection: Connection, account_id: str, key_id: str, changed: dict[str, Any], prefix: str
) -> dict[str, Any]:
    record = change_key(connection, account_id, key_id, **changed)
    return key_as_json(connection, record, prefix, now_microseconds())


def _revoke(connection: Connection, account_id: str, key_id: str, prefix: str) -> dict[str, Any] | None:
    if _own_key(connection, account_id, key_id) is None:
        return None
    record = revoke_key(connection, key_id, account_id=account_id)
    return key_as_json(connection, record, prefix, now_microseconds())
