"""The account plane: its routes, and what stands around each of them.

Every route knows its caller by a key (those under /v1/user also by a session), belongs to that caller's account, has the
plane's own rate limit, and is kept by nobody on the way: `Cache-Control: private, no-store`, also on a refusal.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from console.balance import show_balance
from console.limits import limits
from console.openapi import PATH as OPENAPI
from console.openapi import show_openapi
from console.openrouter import show_credits, show_generation, show_key
from console.services import Parts, Services
from console.usage import show_usage
from middlewares.auth import auth, auth_or_session

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
    ("POST", "/v1/user/tickets"),
    ("GET", "/v1/user/tickets"),
    ("GET", "/v1/user/tickets/{id}"),
    ("GET", "/v1/key"),
    ("GET", "/v1/credits"),
    ("GET", "/v1/generation"),
)

USER: Final = "/v1/user/"
"""What is asked of an account, by a key or by somebody who is signed in; the rest is for programs."""

ANNOUNCEMENTS: Final = ("GET", "/v1/announcements")

_AUTH: Final = "/v1/auth/"
_PRIVATE: Final = web.RequestKey("private", bool)


def account_handlers(parts: Parts, services: Services) -> dict[tuple[str, str], Handler]:
    """What answers each of ROUTES, once the caller is known."""
    keys, calls, own, tickets = services.keys, services.calls, services.own, services.tickets
    handlers = (
        show_balance(parts.database, parts.expiry_and_refund_days),
        calls.page(),
        calls.csv(),
        calls.receipt(),
        show_usage(services.sums),
        own.register(),
        own.list(),
        own.remove(),
        keys.page(),
        keys.create(),
        keys.change(),
        keys.revoke(),
        tickets.create(),
        tickets.page(),
        tickets.show(),
        show_key(parts.database, services.sums, parts.key_prefix),
        show_credits(parts.database),
        show_generation(parts.database),
    )
    return dict(zip(ROUTES, handlers, strict=True))


def add_account_plane(
    application: web.Application, bases: Iterable[str], parts: Parts, services: Services
) -> Callable[[Handler], Handler]:
    """Serve the account plane under each of ``bases`` (``/v1``), the announcements, and the description of the whole API.

    Returns what puts the plane's guards around a handler, for routes that belong to it and are made elsewhere.
    """
    limited = limits()
    guards = (auth_or_session(parts.keys, parts.uses, parts.sessions), limited)
    with_key = (auth(parts.keys, parts.uses), limited)
    guarded = [
        (method, path.removeprefix("/v1"), guard(handler, guards if path.startswith(USER) else with_key))
        for (method, path), handler in account_handlers(parts, services).items()
    ]
    application.router.add_get(OPENAPI, show_openapi(importlib.metadata.version("find-token")))
    for base in bases:
        for method, path, handler in guarded:
            application.router.add_route(method, base + path, handler)
        application.router.add_get(base + ANNOUNCEMENTS[1].removeprefix("/v1"), services.announcements.page())
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
    private = request.get(_PRIVATE) or USER in request.path or _AUTH in request.path
    # What everybody may see, announcements say: asked with a key it is kept by nobody either.
    has_key = "Authorization" in request.headers or "x-api-key" in request.headers
    if private or (has_key and "Cache-Control" not in response.headers):
        response.headers["Cache-Control"] = "private, no-store"
