"""The account plane: its routes, and what stands around each of them.

Every route knows its caller by a key (those under /v1/user also by a session), belongs to that caller's account, has the
plane's own rate limit, and is kept by nobody on the way: `Cache-Control: private, no-store`, also on a refusal.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from console.balance import show_balance
from console.billing_log import BillingLog
from console.byok import OwnProviderKeys
from console.keys import Keys
from console.limits import limits
from console.openapi import PATH as OPENAPI
from console.openapi import show_openapi
from console.openrouter import show_credits, show_generation, show_key
from console.usage import show_usage
from middlewares.auth import auth, auth_or_session
from middlewares.sessions import Sessions
from providers.catalogue import Catalogue
from storage.database import Database
from storage.key_changes import KeyUses
from storage.keys import KeyRing
from storage.provider_keys import ProviderKeys
from storage.sealing import Sealer
from storage.usage import UsageSums

ROUTES: Final = (
    ("GET", "/v1/user/balance"),
    ("GET", "/v1/user/billing-logs"),
    ("GET", "/v1/user/billing-logs.csv"),
    ("GET", "/v1/user/billing-logs/{id}"),
    ("GET", "/v1/user/usage"),
    ("POST", "/v1/user/byok/register"),
    ("GET", "/v1/user/byok/keys"),
    ("DELETE", "/v1/user/byok/keys/{id}"),
    ("GET", "/v1/user/keys"),
    ("POST", "/v1/user/keys"),
    ("PATCH", "/v1/user/keys/{id}"),
    ("DELETE", "/v1/user/keys/{id}"),
    ("GET", "/v1/key"),
    ("GET", "/v1/credits"),
    ("GET", "/v1/generation"),
)

USER: Final = "/v1/user/"
"""What is asked of an account, by a key or by somebody who is signed in; the rest is for programs."""

_PRIVATE: Final = web.RequestKey("private", bool)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the account plane is made of: the gateway's own parts, and the settings it needs."""

    database: Database
    keys: KeyRing
    uses: KeyUses
    sealer: Sealer
    provider_keys: ProviderKeys
    catalogue: Callable[[], Catalogue]
    key_prefix: str
    expiry_and_refund_days: Callable[[], tuple[int, int]]
    sessions: Sessions


def account_handlers(parts: Parts) -> dict[tuple[str, str], Handler]:
    """What answers each of ROUTES, once the caller is known."""
    sums = UsageSums(parts.database)
    keys = Keys(parts.database, sums, parts.keys, parts.key_prefix, parts.catalogue)
    calls = BillingLog(parts.database, parts.catalogue)
    own = OwnProviderKeys(parts.database, parts.sealer, parts.provider_keys, parts.catalogue)
    handlers = (
        show_balance(parts.database, parts.expiry_and_refund_days),
        calls.page(),
        calls.csv(),
        calls.receipt(),
        show_usage(sums),
        own.register(),
        own.list(),
        own.remove(),
        keys.page(),
        keys.create(),
        keys.change(),
        keys.revoke(),
        show_key(parts.database, sums, parts.key_prefix),
        show_credits(parts.database),
        show_generation(parts.database),
    )
    return dict(zip(ROUTES, handlers, strict=True))


def add_account_plane(application: web.Application, bases: Iterable[str], parts: Parts) -> Callable[[Handler], Handler]:
    """Serve the account plane under each of ``bases`` (``/v1``), and the description of the whole API.

    Returns what puts the plane's guards around a handler, for routes that belong to it and are made elsewhere.
    """
    limited = limits()
    guards = (auth_or_session(parts.keys, parts.uses, parts.sessions), limited)
    with_key = (auth(parts.keys, parts.uses), limited)
    guarded = [
        (method, path.removeprefix("/v1"), guard(handler, guards if path.startswith(USER) else with_key))
        for (method, path), handler in account_handlers(parts).items()
    ]
    application.router.add_get(OPENAPI, show_openapi(importlib.metadata.version("find-token")))
    for base in bases:
        for method, path, handler in guarded:
            application.router.add_route(method, base + path, handler)
    application.on_response_prepare.append(_keep_private)
    return partial(guard, guards=guards)


def guard(handler: Handler, guards: Iterable[Middleware]) -> Handler:
    """The handler behind ``guards``, the first outermost, its answers marked as private."""
    inner = handler
    for link in reversed(tuple(guards)):
        inner = partial(link, handler=inner)

    async def serve(request: web.Request) -> web.StreamResponse:
        request[_PRIVATE] = True
        return await inner(request)

    return serve


async def _keep_private(request: web.Request, response: web.StreamResponse) -> None:
    if request.get(_PRIVATE):
        response.headers["Cache-Control"] = "private, no-store"
