"""Every request that reached a provider has its row: what failed and was tried again, and may be billed twice, is told."""

from __future__ import annotations

from tests.fakes.raw_upstream import FIN, STREAM_HEAD, RawUpstream, as_asked, failure, http
from tests.gateway import Gateway


async def test_every_request_that_reached_a_provider_has_its_row(
    gateway: Gateway, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """A lost connection, an answer cut before content, then the one that served: three requests, three rows, one charge."""
    alpha.next([FIN], [STREAM_HEAD, FIN])
    beta.otherwise = as_asked()
    await gateway.chat(stream=True)
    attempts = gateway.row().attempts

    assert len(alpha.requests) + len(beta.requests) == len(attempts)
    assert [("alpha", "connection_lost"), ("alpha", "unreadable"), ("beta", "served")] == [
        (attempt.provider, attempt.outcome) for attempt in attempts
    ]
    assert [1, 2, 3] == [attempt.number for attempt in attempts]
    assert ["nobody", "nobody", "account"] == [attempt.borne_by for attempt in attempts]
    gateway.prove()


async def test_what_a_failed_attempt_reported_is_borne_by_the_operator(gateway: Gateway, alpha: RawUpstream) -> None:
    """The provider may bill it; the account pays for the answer it got, and for nothing else."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 500}
    alpha.next([http({"choices": [], "usage": usage})])
    reply = await gateway.chat(model="lonely")
    first, second = gateway.row().attempts

    assert (200, "0.0002954") == (reply.status, reply.header("Cost"))
    assert ("unreadable", "operator", 28_000) == (first.outcome, first.borne_by, first.upstream_cost)
    assert ("served", "account", 28_000) == (second.outcome, second.borne_by, second.upstream_cost)


async def test_the_providers_own_code_is_kept(gateway: Gateway, alpha: RawUpstream) -> None:
    """It stands in the row, cut to size."""
    alpha.next(failure(400, "no", "c" * 90))
    await gateway.chat(model="lonely")

    assert [("request_refused", 400, "c" * 60)] == [
        (attempt.outcome, attempt.status, attempt.code) for attempt in gateway.row().attempts
    ]
