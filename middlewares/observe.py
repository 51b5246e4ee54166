"""The clock of a call, and what is counted of it when it is over.

Only calls that passed `auth` are counted, so strangers cannot fill the metrics; labels come from the catalogue and from
closed lists, never from what a caller wrote.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from metrics.instruments import Instruments
from middlewares.call import CALL, Call
from middlewares.errors import ClientGone, status_of


def utc_now() -> datetime:
    """This machine's clock."""
    return datetime.now(UTC)


def observe(instruments: Instruments, clock: Callable[[], datetime] = utc_now) -> Middleware:
    """Start the clock; at the end count the call by provider, model, mode, outcome and status.

    ``clock`` tells the instant at which a call came in, aware: it decides its prices and its month.
    """

    @web.middleware
    async def observe_call(request: web.Request, handler: Handler) -> web.StreamResponse:
        call = request[CALL]
        loop = asyncio.get_running_loop()
        call.started_at = clock()
        call.started = loop.time()
        call.account_id = None
        try:
            response = await handler(request)
        except BaseException as error:
            if isinstance(error, (asyncio.CancelledError, ClientGone)):
                instruments.client_disconnects.inc()
            _count(instruments, call, status_of(error), loop.time() - call.started)
            raise
        _count(instruments, call, response.status, loop.time() - call.started)
        return response

    return observe_call


def _count(instruments: Instruments, call: Call, status: int, seconds: float) -> None:
    if call.account_id is None:
        return
    provider = model = ""
    if call.offer is not None:
        provider, model = call.offer.provider_name, call.offer.model.id
    unbilled = "refused" if status < 500 else "failed"
    outcome = call.bill.ending.value if call.bill is not None else unbilled
    instruments.request(provider, model, call.mode or "", outcome, str(status), seconds)
    answer = call.answer
    if answer is not None and answer.first_content_at is not None and call.stream is not None:
        instruments.first_token(provider, model, answer.first_content_at - call.started)
