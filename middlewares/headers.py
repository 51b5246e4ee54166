"""What every answer says about itself, written at the moment its headers leave.

That moment and no other: a streamed answer's headers are gone long before its handler returns, so a header set afterwards
would silently be lost (aiohttp calls the `on_response_prepare` signal for both kinds).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from multidict import istr

from billing.money import format_usd
from middlewares.byok import BYOK
from middlewares.call import CALL, Call

# Names behind the operator's prefix (X-FindToken- unless the operator chose another); docs/api.md explains each.
HEADERS: Final = (
    "Request-Id",
    "Mode",
    "Cost",
    "Balance",
    "Hold",
    "Provider",
    "Model",
    "Attempts",
    "Max-Tokens",
)

SERVER: Final = "find-token"
"""Instead of the versions of Python and aiohttp, which are nobody's business."""

# Names whose lower case is worked out once. The official OpenAI clients read x-request-id, OpenRouter's x-generation-id.
_SERVER: Final = istr("Server")
_CACHE_CONTROL: Final = istr("Cache-Control")
_PLAIN_REQUEST_ID: Final = istr("X-Request-Id")
_GENERATION_ID: Final = istr("X-Generation-Id")

Signal = Callable[[web.Request, web.StreamResponse], Awaitable[None]]


def headers() -> Middleware:
    """From here on an attempt is under way: its provider, model and count may be told."""

    @web.middleware
    async def show(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[CALL].shown = True
        return await handler(request)

    return show


def write_headers(prefix: str) -> Signal:
    """The signal handler that writes the headers of every answer on the public port."""
    names = {name: istr(prefix + name) for name in HEADERS}

    async def write(request: web.Request, response: web.StreamResponse) -> None:
        call = request.get(CALL)
        if call is None:
            return
        fields = response.headers
        fields[_SERVER] = SERVER
        fields[names["Request-Id"]] = call.request_id
        fields[_GENERATION_ID] = fields[_PLAIN_REQUEST_ID] = call.request_id
        if call.limit_state is not None:
            limit, remaining, reset_seconds = call.limit_state
            fields["X-RateLimit-Limit"] = str(limit)
            fields["X-RateLimit-Remaining"] = str(remaining)
            fields["X-RateLimit-Reset"] = str(-int(-reset_seconds // 1))
        if call.mode is None:
            return
        fields[names["Mode"]] = call.mode
        fields[_CACHE_CONTROL] = "private, no-store"
        _write_money(call, fields, names)
        if call.shown and call.offer is not None:
            fields[names["Provider"]] = call.offer.provider_name
            fields[names["Model"]] = call.offer.model.id
            # A stream's own attempt is still under way when its headers leave.
            fields[names["Attempts"]] = str(len(call.attempts) + (call.stream is not None))
            if call.max_tokens_clamp is not None:
                fields[names["Max-Tokens"]] = str(call.max_tokens_clamp)

    return write


def _write_money(call: Call, fields: MutableMapping[str, str], names: Mapping[str, str]) -> None:
    if call.stream is None:
        if call.cost is not None:
            fields[names["Cost"]] = format_usd(call.cost)
    elif call.hold is not None:
        fields[names["Hold"]] = format_usd(call.hold)
    if call.balance is not None and call.mode != BYOK:
        fields[names["Balance"]] = format_usd(call.balance)
