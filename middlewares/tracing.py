"""A call as spans, made when it is over from what is known of it: one for the call, one in it for each attempt.

Names and meanings are those of OpenTelemetry's semantic conventions where they have any; ours begin with `findtoken.`. As in
the log, nothing that a caller wrote stands in a span, so no prompt, no secret and no invented name can. `observe` calls this.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from aiohttp import web

from billing.matrix import Ending
from billing.money import format_usd
from billing.usage import Usage
from metrics.instruments import Instruments
from metrics.otlp import CLIENT, SERVER, Span, traces_url
from metrics.span_sender import SpanSender
from metrics.trace_context import HEADER, Parent, parse
from middlewares.call import Call
from middlewares.observe import outcome_of
from storage.calls import AttemptRow

ATTEMPTS_TRACED: Final = 32
"""A call with more attempts tells of the first so many; `findtoken.attempts` counts all."""
FLUSH_SECONDS: Final = 3.0
"""How long a process that stops lets its collector take what is left."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NO_FAILURE: Final = frozenset({"served", "client_left"})
_Told = dict[str, str | bool | int | float]


class Tracing:
    """Draws which calls are traced, makes their spans and hands them over."""

    def __init__(self, sender: SpanSender, sample_percent: Decimal) -> None:
        self._sender = sender
        self._share = float(sample_percent) / 100

    def trace(self, call: Call, request: web.Request, status: int, seconds: float, code: str | None) -> None:
        """Trace a call that is over, if it is its turn: the operator's share decides, and a caller that does not record its
        own trace is left out."""
        parent = parse(request.headers.getall(HEADER, ()))
        if (parent is not None and not parent.sampled) or (self._share < 1 and random.random() >= self._share):  # noqa: S311 - no secret
            return
        self._sender.put([*_spans(call, request, parent, status, seconds, code)])

    async def close(self) -> None:
        """Let the collector take what is left, for a limited time."""
        await asyncio.to_thread(self._sender.close, FLUSH_SECONDS)


def open_tracing(
    process_id: str, instruments: Instruments, *, endpoint: str, sample_percent: Decimal
) -> Tracing | None:
    """Tracing for the collector at ``endpoint``; None where there is none."""
    if not endpoint:
        return None
    version = importlib.metadata.version("find-token")
    resource = {"service.name": "find-token", "service.version": version, "service.instance.id": process_id}
    return Tracing(SpanSender(traces_url(endpoint), resource, version, instruments.spans_dropped.inc), sample_percent)


def _spans(
    call: Call, request: web.Request, parent: Parent | None, status: int, seconds: float, code: str | None
) -> Iterator[Span]:
    ids = os.urandom(24).hex()
    trace_id, span_id = ids[:32] if parent is None else parent.trace_id, ids[32:]
    started = (call.started_at - _EPOCH).total_seconds()
    ended = _nanoseconds(started + seconds)
    route, path = _route(request.path), request.path
    facts = _facts_of_call(call, status, code)
    facts["http.request.method"], facts["url.scheme"], facts["http.route"] = request.method, request.scheme, route
    if path == route:
        facts["url.path"] = path
    operation = facts["gen_ai.operation.name"] = "embeddings" if path.endswith("/embeddings") else "chat"
    yield Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=parent.span_id if parent is not None else "",
        parent_is_elsewhere=parent is not None,
        name=f"{request.method} {route}",
        kind=SERVER,
        started=_nanoseconds(started),
        ended=ended,
        attributes=facts,
        failed="error.type" in facts,
    )
    times = call.attempt_times or ()
    for attempt, (asked_at, heard_at) in zip(call.attempts[:ATTEMPTS_TRACED], times, strict=False):
        begun = started + asked_at - call.started
        took = heard_at - asked_at if heard_at is not None else attempt.latency_ms / 1000
        facts = _facts_of_attempt(attempt, operation)
        if attempt is call.attempts[-1]:
            _add_answer(facts, call, asked_at)
        yield Span(
            trace_id=trace_id,
            span_id=os.urandom(8).hex(),
            parent_id=span_id,
            parent_is_elsewhere=False,
            name=f"{operation} {attempt.upstream_model}",
            kind=CLIENT,
            started=_nanoseconds(begun),
            ended=max(_nanoseconds(begun), min(_nanoseconds(begun + took), ended)),
            attributes=facts,
            failed="error.type" in facts,
        )


def _nanoseconds(seconds: float) -> int:
    """To the microsecond: a float holds no more of the time since 1970."""
    return round(seconds * 1e6) * 1000


def _route(path: str) -> str:
    """The path without what a caller may have chosen in it."""
    base, streams, _ = path.partition("/streams/")
    return f"{base}/streams/{{id}}" if streams else path


def _facts_of_call(call: Call, status: int, code: str | None) -> _Told:
    facts: _Told = {
        "http.response.status_code": status,
        "findtoken.request_id": call.request_id,
        "findtoken.outcome": outcome_of(call, status),
        "findtoken.attempts": len(call.attempts),
    }
    if call.account_id is not None:
        facts["findtoken.account_id"] = call.account_id
        facts["findtoken.key_id"] = call.key_id
    if call.mode is not None:
        facts["findtoken.mode"] = call.mode
    if call.cost is not None:
        facts["findtoken.cost_usd"] = format_usd(call.cost)
    if call.replay_of is not None:
        facts["findtoken.replay_of"] = call.replay_of
    if (model := getattr(call, "model", None)) is not None:  # Decided by the body, as is whether it is a stream.
        facts["gen_ai.request.model"] = model.id
        facts["gen_ai.request.stream"] = call.streamed
    if call.attempts and call.offer is not None:
        facts["gen_ai.provider.name"] = call.offer.provider_name
    _add_ending(facts, call, status, code)
    return facts


def _add_ending(facts: _Told, call: Call, status: int, code: str | None) -> None:
    bill = call.bill
    if bill is not None and call.offer is not None:
        facts["gen_ai.response.model"] = call.offer.model.id
        _add_usage(facts, bill.usage)
    if code is not None:
        facts["findtoken.code"] = code
    if status >= 500:
        facts["error.type"] = code or str(status)
    elif bill is not None and bill.ending is Ending.CUT_BY_PROVIDER:
        facts["error.type"] = bill.ending.value


def _facts_of_attempt(attempt: AttemptRow, operation: str) -> _Told:
    facts: _Told = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": attempt.provider,
        "gen_ai.request.model": attempt.upstream_model,
        "findtoken.model": attempt.model,
        "findtoken.attempt": attempt.number,
        "findtoken.outcome": attempt.outcome,
    }
    if attempt.status is not None:
        facts["http.response.status_code"] = attempt.status
    if attempt.outcome not in _NO_FAILURE:
        facts["error.type"] = attempt.outcome
    return facts


def _add_answer(facts: _Told, call: Call, asked_at: float) -> None:
    """What is known of the last attempt alone: its answer."""
    if call.bill is not None:
        _add_usage(facts, call.bill.usage)
    if call.stream is not None and call.answer is not None and call.answer.first_content_at is not None:
        facts["gen_ai.request.stream"] = True
        facts["gen_ai.response.time_to_first_chunk"] = round(call.answer.first_content_at - asked_at, 6)


def _add_usage(facts: _Told, usage: Usage) -> None:
    facts["gen_ai.usage.input_tokens"] = usage.prompt_tokens
    facts["gen_ai.usage.output_tokens"] = usage.completion_tokens
    if usage.cached_tokens:
        facts["gen_ai.usage.cache_read.input_tokens"] = usage.cached_tokens
    if usage.reasoning_tokens:
        facts["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning_tokens
