"""Every request gets an id of its own, before anything can go wrong with it.

The id is ours even where the caller sends one: it names a hold and a bill, so nobody else may choose it.
"""

from __future__ import annotations

import os
import time

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from middlewares.call import CALL, Call


def new_request_id() -> str:
    """``req_`` and 28 hex digits: milliseconds first, so that ids sort by time, then 64 random bits."""
    return f"req_{time.time_ns() // 1_000_000:012x}{os.urandom(8).hex()}"


def correlate() -> Middleware:
    """Give each request its `Call`, with every fact that may legitimately stay empty."""

    @web.middleware
    async def correlate_call(request: web.Request, handler: Handler) -> web.StreamResponse:
        call = Call()
        call.request_id = new_request_id()
        call.stream = None
        call.cost = call.balance = call.hold = None
        call.max_tokens_clamp = None
        call.attempts = []
        call.offer = None
        call.mode = None
        call.shown = False
        call.limit_state = None
        call.answer = None
        call.bill = None
        request[CALL] = call
        return await handler(request)

    return correlate_call
