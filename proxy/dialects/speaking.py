"""The routes of other APIs: the chain of a chat completion, with a dialect at both of its edges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from middlewares.call import CALL
from middlewares.caller_dialect import CallerDialect
from proxy.dialects.messages import Messages
from proxy.dialects.responses import Responses

DIALECTS: Final[Mapping[str, Callable[[], CallerDialect]]] = MappingProxyType(
    {"/messages": Messages, "/responses": Responses}
)
"""What stands behind the base of the API, and who translates it: one object a call."""


def speak(dialect: Callable[[], CallerDialect], handler: Handler) -> Handler:
    """``handler``, which answers chat completions, for callers who speak ``dialect``."""

    async def answer(request: web.Request) -> web.StreamResponse:
        request[CALL].caller_dialect = dialect()
        return await handler(request)

    return answer
