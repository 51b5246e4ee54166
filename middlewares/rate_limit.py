"""How often and how many at once: a call passes the limits of its account and of its key, or is refused with 429.

The counting is storage's: in this process's memory, or in a Redis that several processes share. Limits never decide about
money; what a call may cost is the budget's matter.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from metrics.instruments import Instruments
from middlewares.call import CALL
from middlewares.errors import Refusal
from storage.keys import KeyTerms
from storage.limits import Limiter, Limits, Scope, Verdict

_CODES: Final = {
    "requests": "rate_limit_exceeded",
    "tokens": "rate_limit_exceeded",
    "concurrency": "concurrency_limit_exceeded",
}


def rate_limit(limiter: Limiter, of_account: Limits, instruments: Instruments) -> Middleware:
    """Count the call under its account and its key. ``of_account`` holds for every account."""

    @web.middleware
    async def limit_rate(request: web.Request, handler: Handler) -> web.StreamResponse:
        call = request[CALL]
        assert call.account_id is not None, "auth comes first"
        own = _limits_of(call.key.terms)
        if not of_account and not own:
            return await handler(request)
        scopes = call.limited = _scopes(call.account_id, of_account, call.key_id, own)
        verdict = await limiter.enter(scopes, call.request_id)
        call.limit_state = verdict.state
        if verdict.refused_by is not None:
            instruments.rate_limited.inc()
            raise refusal_of(verdict)
        try:
            return await handler(request)
        finally:
            limiter.leave(scopes, call.request_id)

    return limit_rate


def _limits_of(terms: KeyTerms) -> Limits | None:
    """What the key alone may ask; None where it has no limits of its own."""
    if terms.requests_per_minute is terms.tokens_per_minute is terms.concurrent_requests is None:
        return None
    return Limits(terms.requests_per_minute or 0, terms.tokens_per_minute or 0, terms.concurrent_requests or 0)


def _scopes(account_id: str, of_account: Limits, key_id: str, of_key: Limits | None) -> tuple[Scope, ...]:
    scopes = (Scope(f"account:{account_id}", of_account),) if of_account else ()
    return (*scopes, Scope(f"key:{key_id}", of_key)) if of_key else scopes


def refusal_of(verdict: Verdict) -> Refusal:
    """The 429 that names whose limit it is, and how long to wait."""
    scope = verdict.refused_by
    assert scope is not None, "nothing was refused"
    whose = f"this {scope.name.partition(':')[0]}"
    sentences = {
        "requests": f"more than {scope.limits.requests_per_minute} requests a minute for {whose}; "
        "wait as long as Retry-After says",
        "tokens": f"more than {scope.limits.tokens_per_minute} tokens a minute for {whose}; "
        "wait as long as Retry-After says, or ask for fewer",
        "concurrency": f"more than {scope.limits.concurrent_requests} requests at once for {whose}; "
        "wait for one to end",
    }
    return Refusal(_CODES[verdict.kind], sentences[verdict.kind], retry_after_seconds=verdict.retry_after_seconds)
