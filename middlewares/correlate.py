"""Every request gets an id of its own, before anything can go wrong with it.

The id is ours even where the caller sends one: it names a hold and a bill, so nobody else may choose it.
"""

from __future__ import annotations

import os
import time
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from middlewares.call import CALL, Call

_RANDOM_BYTES: Final = 8
_RANDOM_AT_ONCE: Final = 256
_random: list[str] = []
# A forked process must not repeat its parent's ids.
os.register_at_fork(after_in_child=_random.clear)


def new_request_id() -> str:
    """``req_`` and 28 hex digits: milliseconds first, so that ids sort by time, then 64 random bits."""
    return f"req_{time.time_ns() // 1_000_000:012x}{_random_hex()}"


def _random_hex() -> str:
    """16 hex digits from the system's generator, asked for many at a time: one question costs as much as many."""
    if not _random:
        fresh = os.urandom(_RANDOM_BYTES * _RANDOM_AT_ONCE).hex()
        _random.extend(fresh[start : start + 2 * _RANDOM_BYTES] for start in range(0, len(fresh), 2 * _RANDOM_BYTES))
    return _random.pop()


def correlate() -> Middleware:
    """Give each request its `Call`, with every fact that may legitimately stay empty."""

    @web.middleware
    async def correlate_call(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[CALL] = new_call()
        return await handler(request)

    return correlate_call


def new_call() -> Call:
    """A call of which nothing is known but its id."""
    call = Call()
    call.request_id = new_request_id()
    call.replay_of = call.caller_dialect = call.stream = call.end_stream = None
    call.cost = call.balance = call.hold = None
    call.max_tokens_clamp = None
    call.attempts = []
    call.waited_seconds = 0.0
    call.offer = None
    call.mode = None
    call.shown = False
    call.extra_headers = ()
    call.limit_state = None
    call.limited = ()
    call.answer = None
    call.bill = None
    call.selection = None
    call.explained = False
    return call
