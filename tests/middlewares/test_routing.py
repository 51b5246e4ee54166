"""One candidate after another: what is retried and after which wait, what falls over, what is told at once, and when it ends."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import Any

import pytest

from middlewares.routing import Situation, Step, next_step
from providers import errors
from providers.health import EARLY_SECONDS
from providers.key_choice import KEY_TROUBLES
from providers.retry_budget import RETRIES_ALWAYS, SHARE_PERCENT
from tests.fakes.raw_upstream import (
    DONE,
    FIN,
    HANG,
    RST,
    STREAM_END,
    STREAM_HEAD,
    Answer,
    RawUpstream,
    as_asked,
    completion,
    failure,
    http,
    piece,
    said,
    streamed,
)
from tests.gateway import Gateway

BACKOFF = (1.0, 2.0, 4.0)
PLAIN = Situation(
    error=errors.ProviderFailed("no"),
    tries=1,
    retried_at_once=False,
    unreadable_answers=0,
    standing_by=False,
    patient=False,
    healthy=True,
    another_key=False,
    seconds_left=100.0,
)


def action(error: errors.UpstreamError, **facts: object) -> str:
    """What is done after ``error`` in a plain situation with these differences."""
    return next_step(replace(PLAIN, error=error, **facts), BACKOFF).action  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [errors.RequestRefused, errors.ContentFiltered])
@pytest.mark.parametrize("standing_by", [True, False])
def test_the_callers_own_fault_is_told_at_once(kind: type[errors.UpstreamError], standing_by: bool) -> None:
    """It is the same everywhere, so nobody else is asked."""
    assert "stop" == action(kind("no"), standing_by=standing_by, patient=True)


def test_what_waiting_cannot_mend_is_not_waited_for() -> None:
    """No money, a bad key, a retired model, a context too small here: the next one's turn, however patient the caller."""
    for kind in (
        errors.ContextTooLong,
        errors.UpstreamModelMissing,
        errors.ProviderKeyRefused,
        errors.ProviderPermissionDenied,
        errors.ProviderBalanceExhausted,
        errors.ProviderQuotaExhausted,
    ):
        for standing_by, patient in itertools.product((True, False), repeat=2):
            assert "next" == action(kind("no"), standing_by=standing_by, patient=patient), kind


def test_the_schedule_is_one_two_four_seconds() -> None:
    """With a fifth of jitter either way; four tries in all."""
    for tries, wait in enumerate(BACKOFF, start=1):
        waits = [next_step(replace(PLAIN, tries=tries), BACKOFF).wait_seconds for _ in range(200)]
        assert 0.8 * wait <= min(waits) < max(waits) <= 1.2 * wait
    assert Step("next") == next_step(replace(PLAIN, tries=4), BACKOFF)
    assert Step("next") == next_step(PLAIN, ()), "no waits, no retries"


def test_nobody_waits_while_a_healthy_candidate_stands_by() -> None:
    """Unless the strategy, or the operator, is patient; and nobody waits for one whose circuit has opened."""
    failed = errors.ProviderOverloaded("no")
    assert "next" == action(failed, standing_by=True)
    assert "retry" == action(failed, standing_by=True, patient=True)
    assert "retry" == action(failed)
    assert "next" == action(failed, healthy=False)
    assert "next" == action(failed, healthy=False, patient=True)


def test_a_longer_wait_that_the_provider_asks_for_is_obeyed_if_the_deadline_allows() -> None:
    """Never shorter than the schedule's; beyond the deadline there is no use in waiting."""
    busy = errors.ProviderRateLimited("no", retry_after_seconds=30.0)
    assert Step("retry", 30.0) == next_step(replace(PLAIN, error=busy), BACKOFF)
    assert Step("next") == next_step(replace(PLAIN, error=busy, seconds_left=29.9), BACKOFF)
    hasty = errors.ProviderRateLimited("no", retry_after_seconds=0.0)
    assert next_step(replace(PLAIN, error=hasty), BACKOFF).wait_seconds >= 0.8
    assert Step("next") == next_step(replace(PLAIN, seconds_left=0.5), BACKOFF)


def test_what_did_not_arrive_is_asked_again_at_once_and_once() -> None:
    """Refused, or a kept connection that had died; then the schedule holds, or the next one's turn comes."""
    for kind in (errors.UpstreamUnreachable, errors.ConnectionLost):
        assert Step("retry") == next_step(replace(PLAIN, error=kind("no"), standing_by=True), BACKOFF)
        assert "next" == action(kind("no"), standing_by=True, retried_at_once=True)
        again = next_step(replace(PLAIN, error=kind("no"), retried_at_once=True, tries=2), BACKOFF)
        assert ("retry", True) == (again.action, again.wait_seconds > 1)


def test_an_unreadable_answer_may_have_been_billed() -> None:
    """Once more at most, at once: elsewhere where there is an elsewhere."""
    unreadable = errors.AnswerUnreadable("no")
    assert Step("next") == next_step(replace(PLAIN, error=unreadable, unreadable_answers=1, standing_by=True), BACKOFF)
    assert Step("retry") == next_step(replace(PLAIN, error=unreadable, unreadable_answers=1), BACKOFF)
    assert "stop" == action(unreadable, unreadable_answers=2, standing_by=True)


def test_another_key_is_asked_at_once() -> None:
    """Where one key of several is in trouble, within the provider's four tries; what is no trouble of a key is left alone."""
    for kind in KEY_TROUBLES:
        assert Step("retry") == next_step(replace(PLAIN, error=kind("no"), another_key=True, standing_by=True), BACKOFF)
        assert "next" == action(kind("no"), another_key=True, tries=4)
    assert "next" == action(errors.UpstreamModelMissing("no"), another_key=True)


def gaps(upstream: RawUpstream) -> list[float]:
    """Seconds between the requests an upstream received."""
    return [later.arrived_at - earlier.arrived_at for earlier, later in itertools.pairwise(upstream.requests)]


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_provider_gets_four_tries_after_its_waits(
    streaming: bool, gateway: Gateway, alpha: RawUpstream
) -> None:
    """503 three times, then an answer: four calls, one charge, every attempt in the log."""
    alpha.next(*[failure(503)] * 3)
    reply = await gateway.chat(model="lonely", stream=streaming)

    assert (200, "4") == (reply.status, reply.header("Attempts"))
    assert all(gap >= 0.8 * wait for gap, wait in zip(gaps(alpha), (0.02, 0.04, 0.08), strict=True))
    row = gateway.row()
    assert (29_540, ["overloaded"] * 3 + ["served"]) == (row.cost, [attempt.outcome for attempt in row.attempts])
    assert [1, 2, 3, 4] == [attempt.number for attempt in row.attempts]
    assert 3 == await gateway.metric("retries_total", provider="alpha", model="lonely")
    gateway.prove()


async def test_when_all_tries_fail_the_call_fails(gateway: Gateway, alpha: RawUpstream) -> None:
    """Exactly four calls, then a 503 that says when to come back, and no charge."""
    alpha.otherwise = lambda _request: failure(503)
    reply = await gateway.chat(model="lonely", stream=True)

    assert (503, "all_providers_unavailable") == reply.code
    assert ("service_unavailable", "5") == (reply.error["type"], reply.headers["Retry-After"])
    assert ("0", "alpha", "4") == (reply.header("Cost"), reply.header("Provider"), reply.header("Attempts"))
    row = gateway.row()
    assert (4, 503, "failed", 0) == (len(alpha.requests), row.status, row.billing_outcome, row.cost)


@pytest.mark.parametrize("streaming", [False, True])
async def test_what_is_never_retried(streaming: bool, start_gateway: Any, alpha: RawUpstream) -> None:
    """One call each. What the caller did wrong is told as such; the platform's own key is not the caller's trouble."""
    gateway: Gateway = await start_gateway()
    told = {}
    for status in (400, 401, 402, 403, 404, 413, 422):
        alpha.next(failure(status, "what is wrong"))
        reply = await gateway.chat(model="lonely", stream=streaming)
        told[status] = (*reply.code, reply.error["message"] == "what is wrong")
        # What blames the operator's key counts against the upstream; a success keeps its circuit closed.
        await gateway.chat(model="lonely")

    away = (503, "all_providers_unavailable", False)
    assert {
        400: (400, "invalid_value", True),
        401: away,
        402: away,
        403: away,
        404: (400, "invalid_value", True),
        413: (413, "request_too_large", True),
        422: (422, "refused_value", True),
    } == told
    assert 14 == len(alpha.requests)
    gateway.prove()


@pytest.mark.parametrize(
    "fails",
    [
        "503",
        "401",
        "429",
        "reset",
        "closed",
        "headers then closed",
        "comments then closed",
        "error in 200",
        "empty 200",
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
async def test_before_the_first_byte_the_next_candidate_serves(
    fails: str, streaming: bool, gateway: Gateway, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """Priced at the model that answered, and headers, body and log say so; the failed attempt costs the account nothing."""
    alpha.otherwise = lambda _request: {
        "503": failure(503),
        "401": failure(401),
        "429": failure(429, retry_after="60"),
        "reset": [RST],
        "closed": [FIN],
        "headers then closed": [STREAM_HEAD, FIN],
        "comments then closed": [STREAM_HEAD, piece(b": hello\n\n" * 3), FIN],
        "error in 200": [http({"error": {"message": "busy", "code": "503"}})],
        "empty 200": [http(b"")],
    }[fails]
    beta.otherwise = as_asked(usage={"prompt_tokens": 1000, "completion_tokens": 1000})
    reply = await gateway.chat(stream=streaming)

    assert (200, "Hello there") == (reply.status, reply.text)
    assert "0.003165" == (reply.bill["cost"] if streaming else reply.header("Cost"))
    assert ("beta", "alternative") == (reply.header("Provider"), reply.header("Model"))
    assert {"alternative"} == ({chunk["model"] for chunk in reply.chunks} if streaming else {reply.json["model"]})
    row = gateway.row()
    assert ("standard", "alternative", "beta", 316_500) == (row.requested_model, row.model, row.provider, row.cost)
    assert 1 == len(beta.requests)
    # What surely did not arrive is asked again at once; everything else moves on at once.
    assert (2 if fails in ("reset", "closed") else 1) == len(alpha.requests)
    assert str(len(row.attempts)) == reply.header("Attempts")
    assert 1 == await gateway.metric("failovers_total", provider="alpha", model="standard")
    gateway.prove()


@pytest.mark.parametrize(
    "breaks",
    [
        [STREAM_HEAD, *[piece(said("word"))] * 3, RST],
        [STREAM_HEAD, *[piece(said("word"))] * 3, FIN],
        [STREAM_HEAD, *[piece(said("word"))] * 3, HANG],
        streamed(*[said("word")] * 3, b'data: {"error":{"message":"overloaded","code":"503"}}\n\n'),
        streamed(*[said("word")] * 3),
    ],
    ids=["reset", "closed", "stalled", "error event", "no finish"],
)
async def test_after_the_first_byte_nobody_else_is_asked(
    breaks: Answer,
    start_gateway: Any,
    alpha: RawUpstream,
    beta: RawUpstream,
) -> None:
    """The caller sees what there was and an error; the text is never doubled, and it is free."""
    gateway: Gateway = await start_gateway(routing={"silence_timeout_seconds": 0.15})
    alpha.next(breaks)
    reply = await gateway.chat(stream=True)

    assert "word" * 3 == reply.text
    assert "error" == reply.chunks[-1]["choices"][0]["finish_reason"]
    assert (1, 0) == (len(alpha.requests), len(beta.requests))
    assert 0 == gateway.row().cost
    gateway.prove()


async def test_a_wait_the_provider_asks_for(gateway: Gateway, alpha: RawUpstream) -> None:
    """Obeyed where the deadline allows it."""
    alpha.next(failure(429, retry_after="0.3"))
    reply = await gateway.chat(model="lonely")

    assert 200 == reply.status
    assert gaps(alpha)[0] >= 0.3


async def test_a_wait_beyond_the_deadline_goes_to_the_caller(gateway: Gateway, alpha: RawUpstream) -> None:
    """At once, with the provider's own number."""
    alpha.otherwise = lambda _request: failure(429, retry_after="77")
    reply = await gateway.chat(model="lonely")

    assert (429, "provider_rate_limited") == reply.code
    assert ("77", 1) == (reply.headers["Retry-After"], len(alpha.requests))


async def test_when_everybody_limits_the_shortest_wait_is_told(
    gateway: Gateway, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """Of all candidates; a mix of reasons is no rate limit any more."""
    alpha.otherwise = lambda _request: failure(429, retry_after="90")
    beta.otherwise = lambda _request: failure(429, retry_after="60")
    limited = await gateway.chat()
    beta.otherwise = lambda _request: failure(401)
    mixed = await gateway.chat()

    assert ((429, "provider_rate_limited"), "60") == (limited.code, limited.headers["Retry-After"])
    assert ((503, "all_providers_unavailable"), "90") == (mixed.code, mixed.headers["Retry-After"])


@pytest.mark.parametrize(
    "answer", [[HANG], [STREAM_HEAD, HANG], [STREAM_HEAD, *[piece(b": wait\n\n"), 0.05] * 40, HANG]]
)
@pytest.mark.parametrize("streaming", [False, True])
async def test_there_is_one_deadline_for_everything(
    answer: Answer,
    streaming: bool,
    start_gateway: Any,
    alpha: RawUpstream,
) -> None:
    """Silence before or after the headers, comments without end: 504, upstream closed, nothing held, one attempt."""
    gateway: Gateway = await start_gateway(
        routing={"timeout_seconds": 0.3, "first_content_timeout_seconds": 0.3, "retries": 3}
    )
    alpha.otherwise = lambda _request: answer
    reply = await gateway.chat(model="lonely", stream=streaming)

    assert (504, "deadline_exceeded") == reply.code
    assert "timeout_error" == reply.error["type"]
    await asyncio.wait_for(alpha.requests[0].caller_left.wait(), 2)
    assert (1, 504) == (len(alpha.requests), gateway.row().status)
    gateway.prove()


async def test_after_the_deadline_nobody_else_is_begun(
    start_gateway: Any, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """A candidate that used it all up leaves nothing for those behind it."""
    gateway: Gateway = await start_gateway(routing={"timeout_seconds": 0.2})
    alpha.next([HANG])
    reply = await gateway.chat()

    assert (504, []) == (reply.status, beta.requests)


async def test_the_deadline_does_not_multiply_by_the_attempts(start_gateway: Any, alpha: RawUpstream) -> None:
    """Slow failures use it up together: here the fourth try would come too late."""
    gateway: Gateway = await start_gateway(routing={"timeout_seconds": 0.5})
    alpha.otherwise = lambda _request: [0.2, *failure(503)]
    reply = await gateway.chat(model="lonely")

    assert reply.status in (503, 504)
    assert 1 <= len(alpha.requests) <= 3
    gateway.prove()


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_silent_candidate_is_left_while_another_stands_by(
    streaming: bool,
    start_gateway: Any,
    alpha: RawUpstream,
    beta: RawUpstream,
) -> None:
    """Inside the one deadline, which alone holds for the last one."""
    gateway: Gateway = await start_gateway(
        routing={"candidate_plain_seconds": 0.4, "candidate_first_content_seconds": 0.4}
    )
    alpha.otherwise = lambda _request: [HANG]
    beta.otherwise = lambda request: [0.6, *as_asked()(request)]
    reply = await gateway.chat(stream=streaming)

    assert (200, "beta", "2") == (reply.status, reply.header("Provider"), reply.header("Attempts"))
    assert ["timed_out", "served"] == [attempt.outcome for attempt in gateway.row().attempts]
    await asyncio.wait_for(alpha.requests[0].caller_left.wait(), 2)


async def test_fallback_gives_each_its_schedule(gateway: Gateway, alpha: RawUpstream, beta: RawUpstream) -> None:
    """Waits included, before the next one is tried; the operator can make everybody as patient."""
    alpha.otherwise = lambda _request: failure(503)
    reply = await gateway.chat(routing="fallback")

    assert (200, 4, 1) == (reply.status, len(alpha.requests), len(beta.requests))


async def test_patience_as_a_setting(start_gateway: Any, alpha: RawUpstream, beta: RawUpstream) -> None:
    """`failover = "patient"`: `auto` waits for a provider, too."""
    gateway: Gateway = await start_gateway(routing={"failover": "patient", "retries": 1})
    alpha.otherwise = lambda _request: failure(503)
    reply = await gateway.chat()

    assert (200, 2, 1) == (reply.status, len(alpha.requests), len(beta.requests))


async def test_the_callers_wishes_are_followed(gateway: Gateway, alpha: RawUpstream, beta: RawUpstream) -> None:
    """The cheapest, a chosen provider, no stand-ins, a list of the caller's own, a price limit."""
    wishes: tuple[dict[str, Any], ...] = (
        {"routing": "cheapest"},
        {"model": "alternative", "models": ["standard"], "routing": "cheapest"},
        {"provider": {"order": ["beta"]}},
        {"provider": {"ignore": ["alpha"]}},
        {"model": "standard:floor"},
        {"model": "lonely", "models": ["alternative"], "provider": {"only": ["beta"]}},
        {"model": "alternative", "models": ["standard"], "provider": {"max_price": {"prompt": 0.5}}},
    )
    served = [(await gateway.chat(**fields)).header("Model") for fields in wishes]

    assert ["standard", "standard", "alternative", "alternative", "standard", "alternative", "standard"] == served
    alpha.otherwise = lambda _request: failure(503)
    before = len(beta.requests)
    assert 503 == (await gateway.chat(provider={"allow_fallbacks": False})).status
    assert before == len(beta.requests)
    for fields, param in (
        ({"provider": {"only": ["gamma"]}}, "provider"),
        ({"provider": {"max_price": {"completion": "0.01"}}}, "provider.max_price"),
    ):
        assert (400, param) == ((reply := await gateway.chat(**fields)).status, reply.error["param"])


UNREADABLE: dict[str, Answer] = {
    "no JSON": [http(b"hello", kind="text/plain")],
    "a page": [http(b"<html>Welcome</html>", kind="text/html")],
    "empty": [http(b"")],
    "a list": [http(b"[]")],
    "no choices": [http({"usage": {"prompt_tokens": 5, "completion_tokens": 5}})],
    "cut": [http(completion())[:-20], FIN],
    "redirect": [http(b"", status=307, location="http://127.0.0.1:9/elsewhere")],
    "a stream to a plain request": streamed(said("Hello"), DONE),
    "no HTTP": [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", FIN],
    "nested too deep": [http(b"[" * 100_000)],
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_an_unreadable_answer_is_asked_for_once_more(name: str, gateway: Gateway, alpha: RawUpstream) -> None:
    """It may have been billed: two tries, then 502. No redirect is followed. Nothing is charged."""
    alpha.otherwise = lambda _request: UNREADABLE[name]
    reply = await gateway.chat(model="lonely")

    assert (502, "bad_upstream_response") == reply.code
    assert "upstream_error" == reply.error["type"]
    assert (2, "0") == (len(alpha.requests), reply.header("Cost"))
    assert {"unreadable"} == {attempt.outcome for attempt in gateway.row().attempts}
    gateway.prove()


UNREADABLE_STREAMS: dict[str, Answer] = {
    "ends before content": streamed(b": nothing\n\n"),
    "done before content": streamed(DONE),
    "a page": [http(b"<html>Welcome</html>", kind="text/html")],
    "plain JSON without content": [http(completion(None, finish=None))],
    "plain JSON that is none": [http(b"{")],
    "redirect": [http(b"", status=302, location="http://127.0.0.1:9/elsewhere")],
    "cut before content": [STREAM_HEAD, piece(b": nothing\n\n"), FIN],
}


@pytest.mark.parametrize("name", UNREADABLE_STREAMS)
async def test_an_unreadable_stream_is_a_real_error(name: str, gateway: Gateway, alpha: RawUpstream) -> None:
    """Nothing has left yet, so the caller gets a status and not a stream with an error in it."""
    alpha.otherwise = lambda _request: UNREADABLE_STREAMS[name]
    reply = await gateway.chat(model="lonely", stream=True)

    assert (502, "bad_upstream_response") == reply.code
    assert (2, "0") == (len(alpha.requests), reply.header("Cost"))
    gateway.prove()


async def test_two_unreadable_answers_are_enough_wherever_they_come_from(
    gateway: Gateway, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """One here, one at the stand-in: no third."""
    alpha.otherwise = beta.otherwise = lambda _request: [http(b"hello")]
    reply = await gateway.chat()

    assert (502, 1, 1) == (reply.status, len(alpha.requests), len(beta.requests))


async def test_a_refused_connection(gateway: Gateway, alpha: RawUpstream, beta: RawUpstream) -> None:
    """Asked again at once, then the next one serves; with nobody else, the schedule, then 503."""
    await alpha.close()
    served, failed = await gateway.chat(), await gateway.chat(model="lonely")

    assert (200, "beta") == (served.status, served.header("Provider"))
    assert (503, "all_providers_unavailable") == failed.code
    outcomes = [[attempt.outcome for attempt in row.attempts] for row in gateway.rows()]
    assert [["unreachable"] * 2 + ["served"], ["unreachable"] * 4] == outcomes
    retries = [await gateway.metric("retries_total", model=model) for model in ("standard", "lonely")]
    assert [1, 3] == retries


async def test_a_kept_connection_that_had_died_costs_a_try_and_no_wait(gateway: Gateway, alpha: RawUpstream) -> None:
    """The provider closed it between two calls: the second is served at once, on a new one."""
    alpha.next([http(completion())], [FIN])
    replies = [await gateway.chat(model="lonely") for _ in range(2)]

    assert [200, 200] == [reply.status for reply in replies]
    assert [1, 1, 2] == [request.connection for request in alpha.requests], "a connection is kept where it can be"
    assert ["connection_lost", "served"] == [attempt.outcome for attempt in gateway.rows()[1].attempts]


async def test_an_open_circuit_fails_fast_and_says_when(gateway: Gateway, alpha: RawUpstream) -> None:
    """After failures in a row of three calls nobody is kept waiting; other models of the provider are not concerned."""
    alpha.otherwise = lambda request: (
        failure(503) if request.json["model"] == "lonely-upstream" else as_asked()(request)
    )
    for _ in range(3):
        assert 503 == (await gateway.chat(model="lonely")).status
    tried = len(alpha.requests)

    replies = await asyncio.gather(*(gateway.chat(model="lonely") for _ in range(10)))

    assert 9 == tried == len(alpha.requests)
    assert {(503, "all_providers_unavailable")} == {reply.code for reply in replies}
    assert all(1 <= int(reply.headers["Retry-After"]) <= 10 for reply in replies)
    assert 3 == len(gateway.rows()), "a call that reached nobody has no line"
    assert 1 == await gateway.metric("circuit_state", provider="alpha", upstream_model="lonely-upstream")
    assert 0 == await gateway.metric("provider_up", provider="alpha")
    assert 200 == (await gateway.chat(model="dear", max_tokens=10)).status


async def test_one_probe_at_a_time_closes_it_again(gateway: Gateway, alpha: RawUpstream) -> None:
    """Of ten calls at once after the pause one goes through; when it is served, all are."""
    gateway.process._health._open_seconds = 0.1
    alpha.otherwise = lambda _request: failure(503)
    for _ in range(3):
        await gateway.chat(model="lonely")
    await asyncio.sleep(0.15)
    gate = asyncio.Event()
    alpha.otherwise = lambda request: [gate, *as_asked()(request)]
    calls = [asyncio.create_task(gateway.chat(model="lonely")) for _ in range(10)]
    await alpha.received(10)
    async with asyncio.timeout(5):
        while sum(call.done() for call in calls) < 9:
            await asyncio.sleep(0.01)
    gate.set()
    statuses = sorted([(await call).status for call in calls])

    assert [200] + [503] * 9 == statuses
    assert 10 == len(alpha.requests)
    assert 200 == (await gateway.chat(model="lonely")).status
    assert 0 == await gateway.metric("circuit_state", upstream_model="lonely-upstream")


async def test_a_probe_whose_caller_leaves_is_given_back(gateway: Gateway, alpha: RawUpstream) -> None:
    """Otherwise nobody could ever try again."""
    gateway.process._health._open_seconds = 0.05
    alpha.otherwise = lambda _request: failure(503)
    for _ in range(3):
        await gateway.chat(model="lonely")
    await asyncio.sleep(0.1)
    alpha.otherwise = as_asked()
    alpha.next([HANG])
    caller = await gateway.dial(model="lonely")
    await alpha.received(10)
    caller.hang_up(by_reset=True)
    await gateway.settled(4)

    assert 200 == (await gateway.chat(model="lonely")).status


async def test_callers_cannot_poison_health(gateway: Gateway, alpha: RawUpstream) -> None:
    """Refusals, rate limits, filters before and after the first byte, callers who leave: no circuit opens."""
    filtered = b'data: {"error":{"message":"no","code":"content_filter"}}\n\n'
    for _ in range(6):
        alpha.next(failure(400), failure(429, retry_after="99"), streamed(said("Hello"), filtered))
        for streaming in (False, False, True):
            await gateway.chat(model="lonely", stream=streaming)
    for number in range(6):
        alpha.next([HANG])
        caller = await gateway.dial(model="lonely")
        await alpha.received(19 + number)
        caller.hang_up(by_reset=number % 2 == 0)
    await gateway.settled(24)

    assert 200 == (await gateway.chat(model="lonely")).status


@pytest.mark.parametrize("streaming", [False, True])
async def test_nothing_is_begun_for_a_caller_who_left(
    streaming: bool,
    start_gateway: Any,
    alpha: RawUpstream,
    beta: RawUpstream,
) -> None:
    """While it waits for the next try: no retry, no failover, no charge, one line that says so."""
    gateway: Gateway = await start_gateway(routing={"backoff_seconds": [5]})
    alpha.otherwise = lambda _request: failure(503)
    caller = await gateway.dial(stream=streaming, routing="fallback")
    await alpha.received(1)
    await asyncio.sleep(0.05)
    caller.hang_up(by_reset=True)
    [row] = await gateway.settled(1)

    assert (499, "failed", 0, ["overloaded"]) == (
        row.status,
        row.billing_outcome,
        row.cost,
        [attempt.outcome for attempt in row.attempts],
    )
    assert (1, 0) == (len(alpha.requests), len(beta.requests))
    gateway.prove()


async def test_a_prompt_too_long_for_one_may_fit_another(
    gateway: Gateway, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """The provider that counts says no; a stand-in is asked, and only when all refuse the caller is told."""
    too_long = failure(400, "maximum context length exceeded", "context_length_exceeded")
    alpha.otherwise = lambda _request: too_long
    assert "beta" == (await gateway.chat()).header("Provider")
    beta.otherwise = lambda _request: too_long
    reply = await gateway.chat()

    assert (400, "context_length_exceeded") == reply.code
    assert 400 == gateway.rows()[1].status


async def test_keys_of_a_provider_share_the_calls_and_stand_in_for_each_other(
    start_gateway: Any, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """A refused key costs one try at once, rests, and neither opens the circuit nor sends the call elsewhere."""
    keys = [f"canary/alpha/{number}" for number in range(3)]
    gateway: Gateway = await start_gateway(providers={"alpha": {"keys": keys}})
    alpha.otherwise = lambda request: (
        failure(401) if request.headers["authorization"].endswith("/1") else as_asked()(request)
    )
    replies = [await gateway.chat(stream=number % 2 == 0) for number in range(30)]

    assert {(200, "alpha")} == {(reply.status, reply.header("Provider")) for reply in replies}
    used = [request.headers["authorization"].rpartition("/")[2] for request in alpha.requests]
    assert 1 == used.count("1"), "it rests"
    assert min(used.count("0"), used.count("2")) >= 3, used
    assert [] == beta.requests
    outcomes = [[attempt.outcome for attempt in row.attempts] for row in gateway.rows()]
    assert (1, 29) == (outcomes.count(["key_refused", "served"]), outcomes.count(["served"]))
    gateway.prove()


@pytest.mark.parametrize(("status", "code"), [(401, 503), (402, 503), (429, 429)])
async def test_when_every_key_is_in_trouble_each_was_asked_once(
    status: int, code: int, start_gateway: Any, alpha: RawUpstream
) -> None:
    """Then the ordinary rules hold: nothing mends a key by waiting, and a wait beyond the deadline is told."""
    gateway: Gateway = await start_gateway(providers={"alpha": {"keys": ["canary/one", "canary/two"]}})
    alpha.otherwise = lambda _request: failure(status, retry_after="60")
    reply = await gateway.chat(model="lonely")

    assert code == reply.status
    assert {"canary/one", "canary/two"} == {request.headers["authorization"].split()[1] for request in alpha.requests}
    assert 2 == len(alpha.requests)


async def test_retries_are_a_share_of_the_requests(gateway: Gateway, alpha: RawUpstream) -> None:
    """Rate limits open no circuit; when every call is met by one, a provider sees a fifth more calls and not four times as
    many, beyond the few retries that are always allowed."""
    alpha.otherwise = lambda _request: failure(429)
    replies = await asyncio.gather(*(gateway.chat(model="lonely") for _ in range(60)))

    assert {429} == {reply.status for reply in replies}
    assert 60 < len(alpha.requests) <= 60 + max(RETRIES_ALWAYS, 60 * SHARE_PERCENT // 100)


async def test_who_waits_for_its_next_try_is_told_when_the_circuit_opens(
    start_gateway: Any, alpha: RawUpstream
) -> None:
    """Others have found out meanwhile: it is not tried again."""
    gateway: Gateway = await start_gateway(routing={"backoff_seconds": [0.3, 0.3, 0.3]})
    alpha.otherwise = lambda _request: failure(503)
    replies = await asyncio.gather(*(gateway.chat(model="lonely") for _ in range(5)))

    assert {503} == {reply.status for reply in replies}
    assert 5 == len(alpha.requests)


async def test_a_long_stream_closes_the_circuit_when_it_begins(gateway: Gateway, alpha: RawUpstream) -> None:
    """The probe is answered with its first content; nobody waits for its end."""
    gateway.process._health._open_seconds = 0.1
    alpha.otherwise = lambda _request: failure(503)
    await asyncio.gather(*(gateway.chat(model="lonely") for _ in range(5)))
    await asyncio.sleep(0.15)
    alpha.otherwise = as_asked()
    gate = asyncio.Event()
    alpha.next([STREAM_HEAD, piece(said("Hello")), gate, piece(DONE), STREAM_END])
    caller = await gateway.dial(model="lonely", stream=True)
    await caller.read_until(b"Hello")

    assert 200 == (await gateway.chat(model="lonely")).status
    gate.set()
    await caller.read_until(b"[DONE]")


async def test_nobody_is_left_untried_where_all_circuits_are_open(
    gateway: Gateway, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """The one that is due first is tried before its time, by one call; the others are told at once when to come back."""
    alpha.otherwise = beta.otherwise = lambda _request: failure(503)
    health = gateway.process._health
    while (
        health.standing(("alpha", "standard-upstream")).healthy
        or health.standing(("beta", "alternative-upstream")).healthy
    ):
        await gateway.chat()
    assert (503, "all_providers_unavailable") == (await gateway.chat()).code
    tried = len(alpha.requests) + len(beta.requests)
    await asyncio.sleep(EARLY_SECONDS)
    gate = asyncio.Event()
    alpha.otherwise = beta.otherwise = lambda request: [gate, *as_asked()(request)]
    calls = [asyncio.create_task(gateway.chat()) for _ in range(10)]
    async with asyncio.timeout(5):
        while sum(call.done() for call in calls) < 8:
            await asyncio.sleep(0.01)
    probes = len(alpha.requests) + len(beta.requests) - tried
    gate.set()
    replies = [await call for call in calls]

    assert 1 <= probes == sum(reply.status == 200 for reply in replies) <= 2, "one for each circuit at most"
    assert all(1 <= int(reply.headers["Retry-After"]) <= 10 for reply in replies if reply.status == 503)
    gateway.prove()
