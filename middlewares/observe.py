"""The clock of a call, and what is counted and logged of it when it is over.

The log has one line for each call, refused ones included: who, which model, what came of it, what it cost, what was tried.
Nothing that a caller wrote stands in it, so no prompt, no secret and no invented name can.

Only calls that passed `auth` are counted, so strangers cannot fill the metrics; labels come from the catalogue and from
closed lists, never from what a caller wrote.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from billing.matrix import Ending
from billing.money import format_usd
from metrics.instruments import Instruments
from middlewares.call import CALL, Call
from middlewares.errors import CLIENT_LEFT, ClientGone, code_of, status_of
from middlewares.explaining import outline


def utc_now() -> datetime:
    """This machine's clock."""
    return datetime.now(UTC)


LogCall = Callable[[dict[str, Any]], None]
"""Writes the facts of one call to the log."""
TraceCall = Callable[[Call, web.Request, int, float, str | None], None]
"""Tells a collector of one call: its facts, its request, its status, its seconds and its error code."""

ATTEMPTS_LOGGED: Final = 8
CANDIDATES_LOGGED: Final = 8


def observe(
    instruments: Instruments,
    clock: Callable[[], datetime] = utc_now,
    log: LogCall | None = None,
    trace: TraceCall | None = None,
    *,
    counted: bool = True,
) -> Middleware:
    """Start the clock; at the end count the call by provider, model, mode, outcome and status, log it and trace it.

    What is not ``counted`` is no call that costs money: it has a clock and nothing else.

    ``clock`` tells the instant at which a call came in, aware: it decides its prices and its month.
    """

    @web.middleware
    async def observe_call(request: web.Request, handler: Handler) -> web.StreamResponse:
        call = request[CALL]
        loop = asyncio.get_running_loop()
        call.started_at = clock()
        call.started = loop.time()
        call.account_id = None
        call.attempt_times = [] if trace is not None else None
        if not counted:
            return await handler(request)
        try:
            response = await handler(request)
        except BaseException as error:
            if isinstance(error, (asyncio.CancelledError, ClientGone)):
                instruments.client_disconnects.inc()
            seconds = loop.time() - call.started
            _count(instruments, call, status_of(error), seconds)
            if log is not None:
                log(facts_of(call, request.path, status_of(error), seconds, code_of(error)))
            if trace is not None:
                trace(call, request, status_of(error), seconds, code_of(error))
            raise
        seconds = loop.time() - call.started
        _count(instruments, call, response.status, seconds)
        if log is not None:
            log(facts_of(call, request.path, response.status, seconds, None))
        if trace is not None:
            trace(call, request, response.status, seconds, None)
        return response

    return observe_call


def facts_of(call: Call, path: str, status: int, seconds: float, code: str | None) -> dict[str, Any]:
    """What the log says of a call; what does not apply to it is missing or None."""
    bill, offer, answer = call.bill, call.offer, call.answer
    model = getattr(call, "model", None)  # Decided by the body: there is none if the call was refused before.
    facts = {
        "request_id": call.request_id,
        "account_id": call.account_id,
        "key_id": call.key_id if call.account_id is not None else None,
        "path": path,
        "streamed": getattr(call, "streamed", None),
        "requested_model": model.id if model is not None else None,
        "model": offer.model.id if offer is not None else None,
        "provider": offer.provider_name if offer is not None else None,
        "mode": call.mode,
        "status": status,
        "cost": format_usd(call.cost) if call.cost is not None else None,
        "attempts": [
            f"{attempt.provider}/{attempt.model}: {attempt.outcome}" for attempt in call.attempts[:ATTEMPTS_LOGGED]
        ],
        "latency_ms": int(seconds * 1000),
    }
    if bill is not None:
        facts["outcome"] = bill.ending.value
        facts["prompt_tokens"] = bill.usage.prompt_tokens
        facts["completion_tokens"] = bill.usage.completion_tokens
    if answer is not None and answer.first_content_at is not None:
        facts["first_content_ms"] = int((answer.first_content_at - call.started) * 1000)
    if code is not None:
        facts["code"] = code
    if call.replay_of is not None:
        facts["replay_of"] = call.replay_of
    candidates = candidates_of(call)
    if candidates is not None:
        facts["candidates"] = candidates
    return facts


def candidates_of(call: Call) -> list[str] | None:
    """What became of each candidate; None where there is nothing to explain: the model asked for served at the first try,
    and nobody wants to know."""
    if call.selection is None:
        return None
    if not call.explained and len(call.attempts) == 1 and call.offer is not None and call.offer.model is call.model:
        return None
    return [f"{provider}/{model}: {verdict}" for model, provider, verdict in outline(call)[:CANDIDATES_LOGGED]]


def outcome_of(call: Call, status: int) -> str:
    """How a call ended. Whoever was asked has a line in the billing log, which tells the same of it."""
    if call.attempts and call.offer is not None:
        return (call.bill.ending if call.bill is not None else Ending.FAILED).value
    if call.replay_of is not None:
        return "replayed"
    return "refused" if status < 500 else "failed"


def _count(instruments: Instruments, call: Call, status: int, seconds: float) -> None:
    if call.account_id is None:
        return
    provider = model = ""
    if call.attempts and call.offer is not None:
        provider, model = call.offer.provider_name, call.offer.model.id
    instruments.request(provider, model, call.mode or "", outcome_of(call, status), str(status), seconds)
    if call.attempts and status != CLIENT_LEFT:
        instruments.overhead(provider, model, seconds - call.waited_seconds)
    answer = call.answer
    if answer is not None and answer.first_content_at is not None and call.stream is not None:
        instruments.first_token(provider, model, answer.first_content_at - call.started)
