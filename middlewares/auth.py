"""Who is calling: an API key leads to the account that pays.

A key that cannot be ours (wrong prefix, wrong checksum) is refused without a look at the database. Where sessions are
taken, too (the account plane), somebody who is signed in needs no key; a request that has both is its key's.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from middlewares.call import CALL
from middlewares.errors import Refusal
from middlewares.sessions import SAFE_METHODS, Sessions
from storage.accounts import AccountInactive
from storage.key_changes import KeyUses
from storage.keys import UNLIMITED, KeyExpired, KeyHolder, KeyRevoked, KeyRing, MalformedKey, UnknownKey


def auth(keys: KeyRing, uses: KeyUses) -> Middleware:
    """Set the call's account and key, or refuse with 401 (403 for a deactivated account); ``uses`` notes the key."""

    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        holder_key = _presented_key(request)
        try:
            holder = await keys.find(holder_key)
        except (MalformedKey, UnknownKey):
            raise Refusal(
                "invalid_api_key", "this API key is not known here; check it for missing characters"
            ) from None
        except KeyRevoked:
            raise Refusal("key_revoked", "this API key was revoked; create a new one") from None
        except KeyExpired:
            raise Refusal("key_expired", "this API key has expired; create a new one") from None
        except AccountInactive:
            raise Refusal("account_deactivated", "this account is deactivated") from None
        call = request[CALL]
        call.account_id = holder.account_id
        call.key_id = holder.key_id
        call.key = holder
        uses.note(holder.key_id)
        return await handler(request)

    return authenticate


def auth_or_session(keys: KeyRing, uses: KeyUses, sessions: Sessions) -> Middleware:
    """As `auth`, but whoever is signed in counts as the holder of a key that may do whatever the account may."""
    by_key = auth(keys, uses)

    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        has_key = "Authorization" in request.headers or "x-api-key" in request.headers
        if has_key or not sessions.presented(request):
            return await by_key(request, handler)
        session = await sessions.look(request)
        if session is None:
            raise Refusal("not_signed_in", "this session is over, or never was; sign in again")
        if session.account_status != "active":
            raise Refusal("account_deactivated", "this account is deactivated")
        if request.method not in SAFE_METHODS:
            sessions.check_origin(request)
        call = request[CALL]
        call.account_id = session.account_id
        call.key_id = session.id
        call.key = KeyHolder(session.id, session.account_id, "session", session.account_status, None, None, UNLIMITED)
        return await handler(request)

    return authenticate


def _presented_key(request: web.Request) -> str:
    """The key of the Authorization header (or of x-api-key, which Claude-style clients send)."""
    authorization = request.headers.get("Authorization")
    if authorization is None:
        key = request.headers.get("x-api-key", "")
        if not key:
            raise Refusal("invalid_api_key", "no API key: send the header `Authorization: Bearer <your key>`")
        return key
    scheme, _, key = authorization.partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key:
        raise Refusal("invalid_api_key", "the Authorization header must read `Bearer <your key>`")
    return key
