"""The way of a call past the router: everything else on the public port is a matter for aiohttp's application.

An application finds a route, builds its middlewares' layers and sends its signals for every request, which costs a call about
a tenth of all it costs. So a POST to exactly one of the known paths is handed to the chain directly; whatever is spelled in
another way (a query, escapes, `Expect`) goes through the application and ends at the same chain.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from middlewares.call import CALL
from middlewares.headers import HeadersOf, tell
from proxy.delivery import Delivery


def fold(chain: list[Middleware], handler: Handler) -> Handler:
    """One handler out of a chain (first is outermost) and what stands at its end, made once and not for every request.

    A partial shows aiohttp that it makes a coroutine; the links inside go without, since it passes its handler on by name.
    """
    for middleware in reversed(chain[1:]):
        handler = _before(middleware, handler)
    return partial(chain[0], handler=handler) if chain else handler


def _before(middleware: Middleware, handler: Handler) -> Handler:
    return lambda request: middleware(request, handler)


class Shortcut:
    """The paths that need no router, and what stands at their end: the chain, which can be put in place of another.

    ``around`` stands around every route of the application; ``call`` is the rest of the chain.
    """

    def __init__(self, paths: tuple[str, ...], around: list[Middleware], call: Handler, headers_of: HeadersOf) -> None:
        self._paths = frozenset(paths)
        self._around = around
        self._headers_of = headers_of
        self.put(call)

    def put(self, call: Handler) -> None:
        """From now on calls go to ``call``; those under way stay where they are."""
        self._call = call
        self._handler = fold(self._around, call)

    async def route(self, request: web.Request) -> web.StreamResponse:
        """For the application's router, which puts ``around`` around it by itself."""
        return await self._call(request)

    def take(self, server: web.Server) -> None:
        """Stand before whatever ``server`` does with a request. To be called before it has a connection."""
        # The server hands over what its application's factory makes, a whole Request; its type promises only the base.
        application: Any = server.request_handler

        async def serve(request: web.Request) -> web.StreamResponse:
            if request.raw_path in self._paths and request.method == "POST" and "Expect" not in request.headers:
                response = await self._handler(request)
                if not isinstance(response, Delivery):
                    # What chat and relay answer tells it by itself; for the others the application's signal does it.
                    tell(response.headers, self._headers_of(request[CALL]))
                return response
            answered: web.StreamResponse = await application(request)
            return answered

        handler: Any = serve
        server.request_handler = handler


SHORTCUT: Final = web.AppKey("shortcut", Shortcut)
"""Where an application carries its shortcut."""


def take_shortcut(runner: web.AppRunner) -> None:
    """Let the runner's server take the shortcut that its application carries, if any. The runner must be set up."""
    shortcut = runner.app.get(SHORTCUT)
    if shortcut is not None and runner.server is not None:
        shortcut.take(runner.server)
