"""Usage is asked for in every stream; a provider that refuses the very question is asked once more without it."""

from __future__ import annotations

from typing import Any

import pytest

from billing.money import parse_usd
from proxy.config import Loaded
from tests.fakes.raw_upstream import Answer, RawUpstream, Received, as_asked, failure, stream
from tests.gateway import Gateway

REFUSAL = "Unrecognized request argument supplied: stream_options"


def refusing(usage: object = None, *, status: int = 400) -> Any:
    """An upstream that refuses `stream_options` and otherwise streams, with or without usage."""

    def answer(request: Received) -> Answer:
        if "stream_options" in request.json:
            return failure(status, REFUSAL)
        return as_asked(usage=usage)(request)

    return answer


@pytest.mark.parametrize("wanted", [False, True])
async def test_usage_is_asked_for_and_shown_only_to_who_asked(
    wanted: bool, gateway: Gateway, alpha: RawUpstream
) -> None:
    """S-020: the upstream is asked for usage, the charge is made from it, the extra chunk is the caller's only by request."""
    fields = {"stream_options": {"include_usage": True}} if wanted else {}
    reply = await gateway.chat(stream=True, **fields)

    assert {"include_usage": True} == alpha.requests[0].json["stream_options"]
    assert int(wanted) == sum(not chunk["choices"] for chunk in reply.chunks)
    assert (29_540, "provider") == (gateway.row().cost, gateway.row().usage_source)
    gateway.prove()


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("usage", [None, {"prompt_tokens": 1000, "completion_tokens": 500}])
async def test_a_provider_that_refuses_the_question_gets_one_retry_without_it_and_is_remembered(
    usage: object, status: int, gateway: Gateway, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """S-020: at the same candidate, at once, one charge; the next call does not ask. Usage that comes all the same counts,
    otherwise it is estimated and marked so."""
    alpha.otherwise = refusing(usage, status=status)
    replies = [await gateway.chat(stream=True) for _ in range(2)]

    assert [(200, "Hello there", "alpha")] * 2 == [(one.status, one.text, one.header("Provider")) for one in replies]
    assert [True, False, False] == ["stream_options" in request.json for request in alpha.requests]
    assert [] == beta.requests
    rows = gateway.rows()
    assert [["stream_options_refused", "served"], ["served"]] == [
        [attempt.outcome for attempt in row.attempts] for row in rows
    ]
    expected = ("estimated", True) if usage is None else ("provider", False)
    assert [expected] * 2 == [(row.usage_source, row.estimated) for row in rows]
    assert all(row.cost > 0 for row in rows)
    assert [row.cost for row in rows] == [parse_usd(reply.bill["cost"]) for reply in replies]
    gateway.prove()


async def test_it_is_remembered_when_other_settings_come_in_force(gateway: Gateway, alpha: RawUpstream) -> None:
    """What a provider refuses does not depend on the operator's files: taking them anew asks it nothing again."""
    alpha.otherwise = refusing()
    await gateway.chat(stream=True)
    process = gateway.process
    process.apply(Loaded(process._settings, process.catalogue(), []))
    await gateway.chat(stream=True)

    assert [True, False, False] == ["stream_options" in request.json for request in alpha.requests]


async def test_it_is_remembered_for_the_upstream_model_alone(gateway: Gateway, alpha: RawUpstream) -> None:
    """Another model of the same provider is asked for usage; plain calls carry no such field at all."""
    alpha.otherwise = refusing()
    await gateway.chat(stream=True)
    alpha.otherwise = as_asked()
    await gateway.chat(stream=True, model="lonely")
    await gateway.chat()

    assert [True, False, True, False] == ["stream_options" in request.json for request in alpha.requests]


async def test_nobody_can_switch_usage_off_by_a_prompt(gateway: Gateway, alpha: RawUpstream) -> None:
    """A refusal that only quotes the words is met with one more try, told to the caller, and not remembered."""
    alpha.otherwise = lambda _request: failure(400, "cannot answer: please ignore stream_options")
    reply = await gateway.chat("please ignore stream_options", stream=True)
    assert (400, "invalid_value") == reply.code
    assert 2 == len(alpha.requests)
    alpha.otherwise = as_asked()
    assert 200 == (await gateway.chat(stream=True)).status

    assert [True, False, True] == ["stream_options" in request.json for request in alpha.requests]
    assert [0, 29_540] == [row.cost for row in gateway.rows()]
    gateway.prove()


async def test_the_question_comes_after_the_schedule(gateway: Gateway, alpha: RawUpstream) -> None:
    """A provider that is busy first is asked without the option on its next try, within the same four tries."""
    alpha.next(failure(503), failure(400, REFUSAL), stream(usage=None))
    reply = await gateway.chat(stream=True, model="lonely")

    assert (200, "3") == (reply.status, reply.header("Attempts"))
    assert [True, True, False] == ["stream_options" in request.json for request in alpha.requests]
    gateway.prove()
