"""One candidate after another, until one serves: what is retried, what falls over, and what is told at once.

Every decision is made by `next_step`, with its reasons written there. After the first byte has reached the client nothing
is tried any more: a broken stream is an answer by then, not an error.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from billing.money import Money, divide_half_up
from billing.pricing import RATE_UNITS_PER_MONEY_UNIT
from billing.usage import Usage
from metrics.instruments import Instruments
from middlewares.byok import BYOK
from middlewares.call import CALL, Call
from middlewares.errors import RETRY_SECONDS, ClientGone, Refusal
from providers.errors import (
    AnswerUnreadable,
    ProviderBalanceExhausted,
    ProviderKeyRefused,
    ProviderPermissionDenied,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    RequestRefused,
    UpstreamError,
    UpstreamModelMissing,
    UpstreamTimedOut,
)
from providers.health import Health
from providers.selection import Offer
from storage.calls import AttemptRow

JITTER: Final = 0.2
_STATUS_WITHOUT_ERROR: Final = {"served": 200}
"""What an upstream answered where nothing was wrong; unknown where the attempt was given up."""
UNREADABLE_TRIES: Final = 2
"""An unreadable answer may have been billed: one more try, and no third."""


_OWN_KEY_TROUBLES: Final = (
    ProviderKeyRefused,
    ProviderBalanceExhausted,
    ProviderPermissionDenied,
    UpstreamModelMissing,
)
"""What a provider says of a key: with a key of the caller's own it says nothing of the provider."""


@dataclass(frozen=True, slots=True)
class RoutingSettings:
    """The times of decision D5."""

    backoff_seconds: tuple[float, ...]
    """Waits before the second, third … try at one provider; there are as many retries as waits."""
    timeout_seconds: float
    """A plain call, all attempts included."""
    first_content_timeout_seconds: float
    """A streamed call until its first content, all attempts included."""
    candidate_first_content_seconds: float
    """How long a streamed attempt may take while another healthy candidate stands by."""
    candidate_plain_seconds: float
    patient: bool
    """Whether `auto` and `cheapest` wait for a provider as `fallback` does."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to do after a failed attempt."""

    action: str
    """retry (the same candidate), next (the next one) or stop."""
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Situation:
    """What `next_step` needs to know."""

    error: UpstreamError
    tries: int
    """At this candidate, the failed one included."""
    retried_at_once: bool
    unreadable_answers: int
    """In the whole call, this one included."""
    standing_by: bool
    """Whether another healthy candidate is left."""
    patient: bool
    healthy: bool
    """Whether this candidate's circuit is still closed."""
    seconds_left: float


def next_step(now: Situation, backoff_seconds: tuple[float, ...]) -> Step:
    """The one place that decides about retry and failover."""
    error = now.error
    if isinstance(error, RequestRefused) and not error.failover:
        return Step("stop")  # The caller's own fault is the same everywhere.
    if isinstance(error, AnswerUnreadable):
        # It may have been billed, so once more at most, at once, elsewhere if there is an elsewhere.
        if now.unreadable_answers >= UNREADABLE_TRIES:
            return Step("stop")
        return Step("next" if now.standing_by else "retry")
    if error.retry_at_once and not now.retried_at_once:
        return Step(
            "retry"
        )  # The request did not arrive, or met a connection that had died: nothing is lost by asking again.
    if not error.retry:
        return Step("next")  # Waiting mends no key, no balance and no retired model.
    if now.standing_by and not now.patient:
        return Step("next")  # Nobody waits while a healthy candidate stands by.
    if not now.healthy or now.tries > len(backoff_seconds):
        return Step("next")
    wait = backoff_seconds[now.tries - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - jitter, no secret
    if error.retry_after_seconds is not None:
        wait = max(wait, error.retry_after_seconds)
    if wait >= now.seconds_left:
        return Step("next")  # The deadline would pass while waiting; a 429 goes to the caller with its Retry-After.
    return Step("retry", wait)


def routing(settings: RoutingSettings, health: Health, instruments: Instruments) -> Middleware:
    """Try the call's offers in order within one deadline."""

    @web.middleware
    async def route(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await _Route(request, handler, settings, health, instruments).run()

    return route


class _Route:
    """One call's way through its candidates."""

    def __init__(
        self,
        request: web.Request,
        handler: Handler,
        settings: RoutingSettings,
        health: Health,
        instruments: Instruments,
    ) -> None:
        self._request = request
        self._call = request[CALL]
        self._handler = handler
        self._settings = settings
        self._health = health
        self._instruments = instruments
        self._clock = asyncio.get_running_loop().time
        call = self._call
        limit = settings.first_content_timeout_seconds if call.streamed else settings.timeout_seconds
        self._deadline = call.started + limit
        self._patient = settings.patient or call.options.wish.strategy == "fallback"
        self._failures: list[UpstreamError] = []
        self._unreadable_answers = 0

    async def run(self) -> web.StreamResponse:
        """The first answer that a candidate gives. Raises what is to be told when none did."""
        offers = self._call.offers
        for position, offer in enumerate(offers):
            if not self._health.may_try(offer.health_key):
                continue
            rest = offers[position + 1 :]
            standing_by = bool(rest) and any(self._health.standing(other.health_key).healthy for other in rest)
            answer = await self._try(offer, standing_by)
            if answer is not None:
                return answer
            if self._clock() >= self._deadline:
                break
            if rest:
                self._instruments.failover(offer.provider_name, offer.model.id)
        raise self._verdict()

    async def _try(self, offer: Offer, standing_by: bool) -> web.StreamResponse | None:
        """This candidate, as often as it may be asked; None when it is the next one's turn."""
        tries = 0
        retried_at_once = False
        while True:
            tries += 1
            try:
                return await self._attempt(offer, standing_by)
            except UpstreamError as error:
                error.provider = offer.provider_name
                self._failures.append(error)
                self._unreadable_answers += isinstance(error, AnswerUnreadable)
                situation = Situation(
                    error=error,
                    tries=tries,
                    retried_at_once=retried_at_once,
                    unreadable_answers=self._unreadable_answers,
                    standing_by=standing_by,
                    patient=self._patient,
                    healthy=self._health.standing(offer.health_key).healthy,
                    seconds_left=self._deadline - self._clock(),
                )
            step = next_step(situation, self._settings.backoff_seconds)
            if step.action == "stop":
                raise self._verdict()
            if step.action == "next":
                return None
            retried_at_once = retried_at_once or step.wait_seconds == 0
            self._instruments.retry(offer.provider_name, offer.model.id)
            await asyncio.sleep(step.wait_seconds)

    async def _attempt(self, offer: Offer, standing_by: bool) -> web.StreamResponse:
        """One try at one candidate, recorded however it ends."""
        call, settings = self._call, self._settings
        started = self._clock()
        until = self._deadline
        if standing_by:
            own = settings.candidate_first_content_seconds if call.streamed else settings.candidate_plain_seconds
            until = min(until, started + own)
        call.offer = offer
        call.attempt_until = until
        try:
            response = await self._handler(self._request)
        except UpstreamError as error:
            self._failed(offer, error)
            self._record(offer, started, error.outcome, error)
            raise
        except BaseException as error:
            self._health.neutral(offer.health_key)
            left = isinstance(error, (asyncio.CancelledError, ClientGone))
            self._record(offer, started, "client_left" if left else "failed_here", None)
            raise
        failure = call.answer.failure if call.answer is not None else None
        if failure is not None:
            self._failed(offer, failure)
            self._record(offer, started, failure.outcome, failure)
        else:
            self._succeeded(offer, started)
            self._record(offer, started, "served", None)
        return response

    def _failed(self, offer: Offer, error: UpstreamError) -> None:
        """Tell health, where the error says something about the provider: a caller's own key or request must not be able
        to take a provider away from everybody else."""
        blames_own_key = self._call.mode == BYOK and isinstance(error, _OWN_KEY_TROUBLES)
        if error.unhealthy and not blames_own_key:
            self._health.failed(offer.health_key)
        else:
            self._health.neutral(offer.health_key)

    def _succeeded(self, offer: Offer, started: float) -> None:
        answer, bill = self._call.answer, self._call.bill
        latency = speed = None
        if answer is not None and answer.first_content_at is not None:
            latency = answer.first_content_at - started
            seconds = self._clock() - answer.first_content_at
            if bill is not None and seconds > 0:
                speed = bill.usage.completion_tokens / seconds
        self._health.succeeded(offer.health_key, latency_seconds=latency, tokens_per_second=speed)

    def _record(self, offer: Offer, started: float, outcome: str, error: UpstreamError | None) -> None:
        call = self._call
        if call.answer is None or not call.answer.asked:
            return  # Refused before the upstream was called: nothing was tried, so nothing is told in the log.
        seconds = self._clock() - started
        usage = call.bill.usage if call.bill is not None else Usage(0, 0)
        cost = _upstream_cost(offer, call, usage)
        call.attempts.append(
            AttemptRow(
                number=len(call.attempts) + 1,
                provider=offer.provider_name,
                model=offer.model.id,
                upstream_model=offer.upstream.upstream_model,
                outcome=outcome,
                status=error.status if error is not None else _STATUS_WITHOUT_ERROR.get(outcome),
                code=error.code[:60] if error is not None else "",
                latency_ms=int(seconds * 1000),
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
                upstream_cost=cost,
                borne_by=_borne_by(call, cost),
            )
        )
        self._instruments.attempt(offer.provider_name, offer.model.id, outcome, seconds)
        if call.answer.tally.ignored:
            self._instruments.usage_ignored(offer.provider_name, call.answer.tally.ignored)

    def _verdict(self) -> Exception:
        """What the caller is told when no candidate served."""
        if not self._failures:
            waits = [self._health.seconds_until_probe(offer.health_key) for offer in self._call.offers]
            return _unavailable(min(waits, default=0.0))
        last = self._failures[-1]
        if self._call.mode == BYOK and (refusal := _own_key_refusal(last)) is not None:
            return refusal
        if isinstance(last, (RequestRefused, AnswerUnreadable)):
            return last
        if isinstance(last, UpstreamTimedOut) and all(isinstance(error, UpstreamTimedOut) for error in self._failures):
            return last
        waits = [error.retry_after_seconds for error in self._failures if error.retry_after_seconds is not None]
        if all(isinstance(error, (ProviderRateLimited, ProviderQuotaExhausted)) for error in self._failures):
            return Refusal(
                "provider_rate_limited",
                "every provider of this model limits requests at the moment; wait as long as Retry-After says",
                retry_after_seconds=min(waits, default=RETRY_SECONDS),
            )
        return _unavailable(min(waits, default=0.0))


def _unavailable(retry_after_seconds: float) -> Refusal:
    return Refusal(
        "all_providers_unavailable",
        "no provider could serve this model at the moment; try again later or use another model",
        retry_after_seconds=retry_after_seconds or RETRY_SECONDS,
    )


def _own_key_refusal(error: UpstreamError) -> Refusal | None:
    """With a provider key of the caller's own, its troubles are the caller's to know and to mend."""
    if isinstance(error, ProviderKeyRefused):
        return Refusal(
            "invalid_provider_key", f"{error.provider} does not accept your provider key", param="provider_key"
        )
    if isinstance(error, ProviderBalanceExhausted):
        return Refusal("insufficient_provider_balance", f"your account at {error.provider} has no balance left")
    if isinstance(error, ProviderPermissionDenied):
        return Refusal("provider_permission_denied", f"your provider key may not use this model at {error.provider}")
    return None


def _upstream_cost(offer: Offer, call: Call, usage: Usage) -> Money:
    """What the provider charges the operator for the attempt; nothing where the caller's own key pays."""
    if call.mode == BYOK:
        return 0
    rates = offer.price.upstream_rates_at(call.started_at, usage.prompt_tokens)
    return divide_half_up(rates.exact_cost(usage), RATE_UNITS_PER_MONEY_UNIT)


def _borne_by(call: Call, cost: Money) -> str:
    if not cost:
        return "nobody"
    return "account" if call.bill is not None and call.bill.payable else "operator"
