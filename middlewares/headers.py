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

from billing.matrix import BYOK
from billing.money import format_usd
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
    "Replayed",
)

SERVER: Final = "find-token"
"""Instead of the versions of Python and aiohttp, which are nobody's business."""

# The official OpenAI clients read x-request-id, OpenRouter's x-generation-id.
_SERVER: Final = istr("Server")
_CACHE_CONTROL: Final = istr("Cache-Control")
_NO_STORE: Final = "private, no-store"
"""On whatever is answered to an account: no cache on the way may keep it."""
_PLAIN_REQUEST_ID: Final = istr("X-Request-Id")
_GENERATION_ID: Final = istr("X-Generation-Id")
_LIMIT: Final = istr("X-RateLimit-Limit")
_REMAINING: Final = istr("X-RateLimit-Remaining")
_RESET: Final = istr("X-RateLimit-Reset")

Fields = list[tuple[str, str]]
HeadersOf = Callable[[Call], Fields]
Signal = Callable[[web.Request, web.StreamResponse], Awaitable[None]]


def headers() -> Middleware:
    """From here on an attempt is under way: its provider, model and count may be told."""

    @web.middleware
    async def show(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[CALL].shown = True
        return await handler(request)

    return show


def headers_of_calls(prefix: str) -> HeadersOf:
    """What a call's answer says of it: names (ours behind ``prefix``, their lower case worked out once) and texts."""
    names = {name: istr(prefix + name) for name in HEADERS}
    request_id, mode = names["Request-Id"], names["Mode"]
    provider, model, attempts, max_tokens = (names[name] for name in HEADERS[5:9])

    def headers_of(call: Call) -> Fields:
        fields: Fields = [
            (_SERVER, SERVER),
            (request_id, shown := call.told_id),
            (_PLAIN_REQUEST_ID, shown),
            (_GENERATION_ID, shown),
        ]
        if call.limit_state is not None:
            limit, remaining, reset_seconds = call.limit_state
            fields += [
                (_LIMIT, str(limit)),
                (_REMAINING, str(remaining)),
                (_RESET, str(-int(-reset_seconds // 1))),
            ]
        if call.mode is None:
            if getattr(call, "account_id", None) is not None:  # Nobody decides it for pages and what needs no key.
                fields.append((_CACHE_CONTROL, _NO_STORE))
            return fields
        fields += [(mode, call.mode), (_CACHE_CONTROL, _NO_STORE)]
        _add_money(call, fields, names)
        if call.shown and call.offer is not None and (call.stream is None or _has_content(call)):
            # A stream's own attempt is still under way when its headers leave.
            tried = len(call.attempts) + (call.stream is not None)
            fields += [(provider, call.offer.provider_name), (model, call.offer.model.id), (attempts, str(tried))]
            if call.max_tokens_clamp is not None:
                fields.append((max_tokens, str(call.max_tokens_clamp)))
        if call.extra_headers:
            fields += call.extra_headers
        return fields

    return headers_of


def write_headers(headers_of: HeadersOf) -> Signal:
    """The signal handler that writes the headers of every answer on the public port that does not write its own."""

    async def write(request: web.Request, response: web.StreamResponse) -> None:
        call = request.get(CALL)
        if call is not None:
            tell(response.headers, headers_of(call))

    return write


def tell(headers: MutableMapping[str, str], fields: Fields) -> None:
    """Write ``fields`` into an answer's headers."""
    for name, text in fields:
        headers[name] = text


def _has_content(call: Call) -> bool:
    """Whether the attempt has given any: where a stream begins without, nobody can say yet who will serve it."""
    return call.answer is not None and call.answer.first_content_at is not None


def _add_money(call: Call, fields: Fields, names: Mapping[str, str]) -> None:
    if call.stream is None:
        if call.cost is not None:
            fields.append((names["Cost"], format_usd(call.cost)))
    elif call.hold is not None:
        fields.append((names["Hold"], format_usd(call.hold)))
    if call.balance is not None and call.mode != BYOK:
        fields.append((names["Balance"], format_usd(call.balance)))
