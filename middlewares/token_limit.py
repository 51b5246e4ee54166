"""How many tokens a minute: an estimate is taken before the call, and put right when its usage is known.

It stands behind `body`, because only there is it known how long the prompt is and how long the answer may be. The estimate
is a quarter of a token for each byte of the prompt, and ``max_tokens`` (a guess where the caller sets none) for the answer.
What a call used beyond its estimate is missing to the next ones, so over time no more than the limit is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from billing.bound import TOKENS_PER_MESSAGE, text_bytes
from billing.usage import BYTES_PER_TOKEN_ESTIMATE
from metrics.instruments import Instruments
from middlewares.call import CALL, Call
from middlewares.rate_limit import refusal_of
from storage.limits import Limiter

GUESSED_ANSWER_TOKENS: Final = 1_000
"""How long an answer is taken to be whose length the caller does not limit."""


def token_limit(limiter: Limiter, instruments: Instruments) -> Middleware:
    """Take the estimate out of the buckets of the call's scopes, or refuse with 429; afterwards put it right."""

    @web.middleware
    async def limit_tokens(request: web.Request, handler: Handler) -> web.StreamResponse:
        call = request[CALL]
        scopes = call.limited
        if not any(scope.limits.tokens_per_minute for scope in scopes):
            return await handler(request)
        taken = estimate(call.request)
        verdict = await limiter.take_tokens(scopes, taken)
        if verdict.refused_by is not None:
            instruments.rate_limited.inc()
            raise refusal_of(verdict)
        try:
            return await handler(request)
        finally:
            limiter.correct_tokens(scopes, taken, used(call))

    return limit_tokens


def estimate(request: Mapping[str, Any]) -> int:
    """About how many tokens a request will use."""
    messages = request.get("messages")
    if messages is None:
        return -(-text_bytes(request) // BYTES_PER_TOKEN_ESTIMATE)  # Embeddings: there is no answer.
    answer = request.get("max_tokens") or request.get("max_completion_tokens") or GUESSED_ANSWER_TOKENS
    prompt = -(-text_bytes(request) // BYTES_PER_TOKEN_ESTIMATE) + TOKENS_PER_MESSAGE * len(messages)
    return prompt + int(answer) * int(request.get("n") or 1)


def used(call: Call) -> int:
    """The tokens of the answer that was given, as its bill has them; none where there was no answer."""
    if call.bill is None:
        return 0
    return call.bill.usage.prompt_tokens + call.bill.usage.completion_tokens
