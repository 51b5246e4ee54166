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

from billing.matrix import BYOK
from metrics.instruments import Instruments
from middlewares.attempts import record
from middlewares.call import CALL
from middlewares.errors import RETRY_SECONDS, ClientGone, Refusal
from providers.errors import (
    AnswerUnreadable,
    ProviderBalanceExhausted,
    ProviderKeyRefused,
    ProviderPermissionDenied,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    RequestRefused,
    StreamOptionsRefused,
    UpstreamError,
    UpstreamModelMissing,
    UpstreamTimedOut,
)
from providers.experience import Experience
from providers.health import Health
from providers.key_choice import KEY_TROUBLES
from providers.selection import Offer

JITTER: Final = 0.2
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
    another_key: bool
    """Whether the operator has another key for this provider, which has met no trouble."""
    seconds_left: float


def next_step(now: Situation, backoff_seconds: tuple[float, ...]) -> Step:
    """The one place that decides about retry and failover."""
    error = now.error
    if isinstance(error, StreamOptionsRefused) and now.tries <= len(backoff_seconds):
        return Step("retry")  # The next request is without the field that was refused.
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
    if now.another_key and isinstance(error, KEY_TROUBLES) and now.tries <= len(backoff_seconds):
        return Step("retry")  # The trouble is this key's; another may be served at once.
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


def routing(settings: RoutingSettings, health: Health, instruments: Instruments, experience: Experience) -> Middleware:
    """Try the call's offers in order within one deadline."""

    @web.middleware
    async def route(request: web.Request, handler: Handler) -> web.StreamResponse:
        experience.calls_in_flight += 1
        try:
            return await _Route(request, handler, settings, health, instruments, experience).run()
        finally:
            experience.calls_in_flight -= 1

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
        experience: Experience,
    ) -> None:
        self._experience = experience
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
        self._met_keys: dict[str, set[int]] = {}
        """Keys that were in trouble during this call, by provider."""

    async def run(self) -> web.StreamResponse:
        """The first answer that a candidate gives. Raises what is to be told when none did."""
        offers = self._call.offers
        for position, offer in enumerate(offers):
            if not self._health.may_try(offer.health_key, self, self._is_begun):
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
        if not self._failures and (least_bad := self._least_bad()) is not None:
            answer = await self._try(least_bad, standing_by=False)
            if answer is not None:
                return answer
        raise self._verdict()

    def _least_bad(self) -> Offer | None:
        """Where every circuit is open: the candidate that is due for a probe first, if it may be probed early."""
        health = self._health
        offer = min(self._call.offers, key=lambda offer: health.seconds_until_probe(offer.health_key), default=None)
        if offer is None or not health.may_try(offer.health_key, self, self._is_begun, early=True):
            return None
        return offer

    def _is_begun(self) -> bool:
        """Whether the attempt under way has given its first content: then its provider is well, however long it goes on."""
        answer = self._call.answer
        return answer is not None and answer.first_content_at is not None

    async def _try(self, offer: Offer, standing_by: bool) -> web.StreamResponse | None:
        """This candidate, as often as it may be asked; None when it is the next one's turn."""
        tries = 0
        retried_at_once = False
        budget = self._experience.retry_budgets.of(offer.provider_name)
        budget.request(self._clock())
        while True:
            tries += 1
            try:
                return await self._attempt(offer, standing_by, again=tries > 1)
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
                    another_key=self._another_key(offer, error),
                    seconds_left=self._deadline - self._clock(),
                )
            step = next_step(situation, self._settings.backoff_seconds)
            if step.action == "stop":
                raise self._verdict()
            if step.action == "next" or not (_is_free(situation.error) or budget.take(self._clock())):
                return None
            retried_at_once = retried_at_once or step.wait_seconds == 0
            self._instruments.retry(offer.provider_name, offer.model.id)
            self._call.waited_seconds += step.wait_seconds
            await asyncio.sleep(step.wait_seconds)
            if not self._health.may_try(offer.health_key, self, self._is_begun):
                return None  # Others have found out meanwhile that it is away.

    async def _attempt(self, offer: Offer, standing_by: bool, *, again: bool) -> web.StreamResponse:
        """One try at one candidate, recorded however it ends."""
        call, settings = self._call, self._settings
        started = self._clock()
        until = self._deadline
        if standing_by:
            own = settings.candidate_first_content_seconds if call.streamed else settings.candidate_plain_seconds
            until = min(until, started + own)
        call.offer = offer
        call.attempt_until = until
        if call.attempts:
            call.answer = None  # The last attempt's: what fails before this one has its own must not be told of that.
        keys = offer.upstream.provider.keys
        call.key_number = 0
        if len(keys) > 1 and call.mode != BYOK:
            # Several keys share the calls: the last digits of a request's id are random.
            spread, met = int(call.request_id[-4:], 16), self._met_keys.get(offer.provider_name, ())
            call.key_number = self._experience.keys.choose(offer.provider_name, keys, spread, met)
        try:
            response = await self._handler(self._request)
        except UpstreamError as error:
            self._failed(offer, error, again=again)
            self._record(offer, started, error.outcome, error)
            raise
        except BaseException as error:
            self._health.neutral(offer.health_key, self)
            left = isinstance(error, (asyncio.CancelledError, ClientGone))
            self._record(offer, started, "client_left" if left else "failed_here", None)
            raise
        failure = call.answer.failure if call.answer is not None else None
        if failure is not None:
            self._failed(offer, failure, again=again)
            self._record(offer, started, failure.outcome, failure)
        else:
            self._succeeded(offer, started)
            self._record(offer, started, "served", None)
        return response

    def _another_key(self, offer: Offer, error: UpstreamError) -> bool:
        """Let the key that met trouble rest; whether another one can be tried instead."""
        keys, name = offer.upstream.provider.keys, offer.provider_name
        if len(keys) < 2 or self._call.mode == BYOK or not isinstance(error, KEY_TROUBLES):
            return False
        number, met = self._call.key_number, self._met_keys.setdefault(name, set())
        met.add(number)
        self._experience.keys.rest(name, keys[number], error)
        return self._experience.keys.another(name, keys, met)

    def _failed(self, offer: Offer, error: UpstreamError, *, again: bool) -> None:
        """Tell health, where the error says something about the provider: a caller's own key or request must not be able
        to take a provider away from everybody else."""
        blames_own_key = self._call.mode == BYOK and isinstance(error, _OWN_KEY_TROUBLES)
        # One key of several says nothing of the provider, unless it was the last that was left.
        blames_one_key = self._another_key(offer, error)
        if error.unhealthy and not (error.heard_late or blames_own_key or blames_one_key):
            self._health.failed(offer.health_key, self, again=again)
        else:
            self._health.neutral(offer.health_key, self)

    def _succeeded(self, offer: Offer, started: float) -> None:
        answer, bill = self._call.answer, self._call.bill
        latency = speed = None
        if answer is not None and answer.first_content_at is not None:
            latency = answer.first_content_at - started
            seconds = self._clock() - answer.first_content_at
            if bill is not None and bill.usage.completion_tokens and seconds > 0:
                speed = bill.usage.completion_tokens / seconds
        self._health.succeeded(offer.health_key, latency_seconds=latency, tokens_per_second=speed)

    def _record(self, offer: Offer, started: float, outcome: str, error: UpstreamError | None) -> None:
        answer = self._call.answer
        if answer is not None and answer.asked_at is not None and answer.heard_at is not None:
            self._call.waited_seconds += answer.heard_at - answer.asked_at
        record(self._call, offer, self._clock() - started, outcome, error, self._instruments)

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


def _is_free(error: UpstreamError) -> bool:
    """Whether a retry after ``error`` needs no place in the budget: nothing reached the provider, or it had no quarrel with
    the request but with a field of ours or with a key."""
    return not error.reached or isinstance(error, (StreamOptionsRefused, ProviderKeyRefused, ProviderBalanceExhausted))


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
