"""Each call is a span with its attempts in it, told to a collector: true times, known names, nothing that a caller wrote."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import middlewares.tracing
from metrics.trace_context import HEADER
from tests.fakes.collector import Collector, Told, running_collector
from tests.fakes.raw_upstream import DONE, FIN, HANG, STREAM_END, STREAM_HEAD, RawUpstream, chunk, failure, piece, said
from tests.gateway import ALPHA_KEY, BETA_KEY, PATH, Gateway

StartGateway = Callable[..., Awaitable[Gateway]]
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PAUSE = 0.05


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """A collector that takes everything."""
    async with running_collector() as one:
        yield one


@pytest.fixture
async def traced(start_gateway: StartGateway, collector: Collector) -> Gateway:
    """A gateway that traces every call."""
    return await start_gateway(tracing={"endpoint": collector.url})


async def told(gateway: Gateway, collector: Collector) -> list[tuple[Told, list[Told]]]:
    """Stop the gateway, and give each call's span with those in it, in the order in which the calls ended."""
    await gateway.process.close()
    calls = [one for one in collector.told if one.span.kind == Span.SPAN_KIND_SERVER]
    inside = [[two for two in collector.told if two.span.parent_span_id == one.span.span_id] for one in calls]
    assert len(collector.told) == len(calls) + sum(map(len, inside)), "every span is a call's or stands in one"
    assert len(collector.told) == len({one.span.span_id for one in collector.told})
    for one, attempts in zip(calls, inside, strict=True):
        assert {one.span.trace_id} >= {attempt.span.trace_id for attempt in attempts}
        assert all(attempt.span.kind == Span.SPAN_KIND_CLIENT for attempt in attempts)
        for attempt in attempts:
            assert one.span.start_time_unix_nano <= attempt.span.start_time_unix_nano
            assert attempt.span.start_time_unix_nano <= attempt.span.end_time_unix_nano <= one.span.end_time_unix_nano
    return list(zip(calls, inside, strict=True))


def seconds(one: Told) -> float:
    """How long it took."""
    return float(one.span.end_time_unix_nano - one.span.start_time_unix_nano) / 1e9


async def test_a_plain_call(traced: Gateway, collector: Collector, alpha: RawUpstream) -> None:
    """One span for the call and one for its attempt, with what the billing log tells; nothing of it goes to the provider."""
    before = time.time_ns()
    reply = await traced.chat()
    after = time.time_ns()
    usage = {"gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 500}
    ((call, (attempt,)),) = await told(traced, collector)

    assert {
        "http.request.method": "POST",
        "http.route": PATH,
        "url.path": PATH,
        "url.scheme": "http",
        "http.response.status_code": 200,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "alpha",
        "gen_ai.request.model": "standard",
        "gen_ai.request.stream": False,
        "gen_ai.response.model": "standard",
        "findtoken.request_id": reply.headers["X-FindToken-Request-Id"],
        "findtoken.account_id": traced.account_id,
        "findtoken.key_id": traced.row().key_id,
        "findtoken.mode": "standard",
        "findtoken.outcome": "complete",
        "findtoken.attempts": 1,
        "findtoken.cost_usd": "0.0002954",
        **usage,
    } == call.facts
    assert {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "alpha",
        "gen_ai.request.model": "standard-upstream",
        "findtoken.model": "standard",
        "findtoken.attempt": 1,
        "findtoken.outcome": "served",
        "http.response.status_code": 200,
        **usage,
    } == attempt.facts
    assert (f"POST {PATH}", "chat standard-upstream") == (call.span.name, attempt.span.name)
    assert (b"", False, False) == (call.span.parent_span_id, call.failed, attempt.failed)
    assert before - 1_000_000 <= call.span.start_time_unix_nano < call.span.end_time_unix_nano <= after + 1_000_000
    assert {"service.name", "service.version", "service.instance.id"} == call.resource.keys()
    assert ("find-token", call.resource) == (call.resource["service.name"], attempt.resource)
    assert HEADER not in alpha.requests[0].headers


async def test_a_stream(traced: Gateway, collector: Collector, alpha: RawUpstream) -> None:
    """Its spans last as long as it does, and its attempt tells when the first content came."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 500, "completion_tokens_details": {"reasoning_tokens": 20}}
    usage["prompt_tokens_details"] = {"cached_tokens": 800}
    end = [chunk({}, finish="stop"), chunk(None, usage=usage), DONE]
    alpha.next([STREAM_HEAD, PAUSE, piece(said("Hello")), PAUSE, *map(piece, end), STREAM_END])
    await traced.chat(stream=True)
    ((call, (attempt,)),) = await told(traced, collector)

    first = attempt.facts["gen_ai.response.time_to_first_chunk"]
    assert PAUSE <= first <= seconds(attempt) - PAUSE * 0.9
    assert 2 * PAUSE * 0.9 <= seconds(attempt) <= seconds(call)
    assert {"complete", "0.00018906"} == {call.facts["findtoken.outcome"], call.facts["findtoken.cost_usd"]}
    for one in (call, attempt):
        assert one.facts["gen_ai.request.stream"] is True
        assert (800, 20) == (
            one.facts["gen_ai.usage.cache_read.input_tokens"],
            one.facts["gen_ai.usage.reasoning.output_tokens"],
        )


async def test_failed_attempts_and_failed_calls(
    traced: Gateway, collector: Collector, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """A call that another provider saves is none that failed; one that all fail, or that breaks off, is."""
    alpha.next([0.02, *failure(503)])
    await traced.chat()
    alpha.next([STREAM_HEAD, piece(said("Hello")), FIN])
    await traced.chat(model="lonely", stream=True)
    alpha.next(failure(401))
    await traced.chat(model="lonely")
    saved, cut, failed = await told(traced, collector)

    call, (first, second) = saved
    assert ("standard", "alternative", "beta", 2) == tuple(
        call.facts[name]
        for name in ("gen_ai.request.model", "gen_ai.response.model", "gen_ai.provider.name", "findtoken.attempts")
    )
    assert (False, True, False) == (call.failed, first.failed, second.failed)
    assert ("overloaded", 503) == (first.facts["error.type"], first.facts["http.response.status_code"])
    assert ("beta", "served", 2) == tuple(
        second.facts[name] for name in ("gen_ai.provider.name", "findtoken.outcome", "findtoken.attempt")
    )
    assert 0.018 <= seconds(first)
    assert first.span.end_time_unix_nano <= second.span.start_time_unix_nano
    assert not {name for name in first.facts if name.startswith("gen_ai.usage")}

    call, (attempt,) = cut
    assert (True, "cut_by_provider", 200) == (
        call.failed,
        call.facts["error.type"],
        call.facts["http.response.status_code"],
    )
    assert (True, "stream_cut") == (attempt.failed, attempt.facts["error.type"])

    call, (attempt,) = failed
    assert (True, "all_providers_unavailable", 503, "failed") == (
        call.failed,
        call.facts["error.type"],
        call.facts["http.response.status_code"],
        call.facts["findtoken.outcome"],
    )
    assert (True, "key_refused") == (attempt.failed, attempt.facts["error.type"])


async def test_refused_calls_and_callers_who_leave(traced: Gateway, collector: Collector, alpha: RawUpstream) -> None:
    """Neither is a failure of the gateway; what was not known by then is left out."""
    await traced.chat(headers={"Authorization": "Bearer sk-ft_nonsense"})
    await traced.chat(model="made-up")
    await traced.send(b"no json")
    alpha.next([HANG])
    caller = await traced.dial()
    await alpha.received(1)
    caller.hang_up(by_reset=False)
    await traced.settled(1)
    calls = await told(traced, collector)

    assert [
        (401, "refused", "invalid_api_key", False, 0),
        (404, "refused", "model_not_found", False, 0),
        (400, "refused", "invalid_json", False, 0),
        (499, "client_left_before_first_byte", None, False, 1),
    ] == [
        (
            call.facts["http.response.status_code"],
            call.facts["findtoken.outcome"],
            call.facts.get("findtoken.code"),
            call.failed or "error.type" in call.facts,
            len(attempts),
        )
        for call, attempts in calls
    ]
    stranger, unknown = calls[0][0].facts, calls[1][0].facts
    assert not {"findtoken.account_id", "findtoken.key_id", "findtoken.mode", "gen_ai.request.model"} & stranger.keys()
    assert traced.account_id == unknown["findtoken.account_id"]
    assert ("client_left", False) == (calls[3][1][0].facts["findtoken.outcome"], calls[3][1][0].failed)


async def test_whose_trace_it_is(traced: Gateway, collector: Collector, alpha: RawUpstream) -> None:
    """A caller's span is the parent, unless its header is malformed; who does not record a trace has no part of it here."""
    await traced.chat(headers={HEADER: f"00-{TRACE}-{SPAN}-01"})
    await traced.chat(headers={HEADER: f"00-{TRACE}-{SPAN}-00"})
    await traced.chat(headers={HEADER: f"00-{TRACE}-{SPAN}-xx"})
    (known, attempts), (alone, _) = await told(traced, collector)

    assert (TRACE, SPAN) == (known.span.trace_id.hex(), known.span.parent_span_id.hex())
    assert (0x301, 0x101) == (known.span.flags, attempts[0].span.flags)
    assert (b"", 0x101) == (alone.span.parent_span_id, alone.span.flags)
    assert TRACE != alone.span.trace_id.hex()
    assert {None} == {request.headers.get(HEADER) for request in alpha.requests}


async def test_every_route_and_every_answer_that_is_repeated(traced: Gateway, collector: Collector) -> None:
    """Other dialects and embeddings are calls like any other; of a stream's link only its form is told."""
    messages = {"model": "standard", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
    for path, body in (
        ("/api/v1/chat/completions", messages),
        ("/v1/messages", messages),
        ("/v1/responses", {"model": "standard", "input": "Hello"}),
        ("/v1/embeddings", {"model": "made-up", "input": "Hello"}),
    ):
        await traced.send(json.dumps(body).encode(), path=path)
    for _ in range(2):
        await traced.chat(headers={"Idempotency-Key": "order-1"})
    await traced.send(b"", path="/v1/streams/canary-of-a-link", method="GET")
    await traced.send(json.dumps(messages).encode(), path="/v1/quote")
    calls = [call for call, _ in await told(traced, collector)]

    assert [
        ("POST /api/v1/chat/completions", "chat", "complete"),
        ("POST /v1/messages", "chat", "complete"),
        ("POST /v1/responses", "chat", "complete"),
        ("POST /v1/embeddings", "embeddings", "refused"),
        (f"POST {PATH}", "chat", "complete"),
        (f"POST {PATH}", "chat", "replayed"),
        ("GET /v1/streams/{id}", "chat", "refused"),
    ] == [(call.span.name, call.facts["gen_ai.operation.name"], call.facts["findtoken.outcome"]) for call in calls]
    assert calls[4].facts["findtoken.request_id"] == calls[5].facts["findtoken.replay_of"]
    assert "url.path" not in calls[6].facts
    assert b"canary" not in b"".join(collector.bodies)


async def test_nothing_that_a_caller_or_a_provider_wrote(
    traced: Gateway, collector: Collector, alpha: RawUpstream
) -> None:
    """Prompts, answers, keys and invented names are planted, and none of them is told."""
    alpha.next([STREAM_HEAD, piece(said("canary-of-an-answer")), FIN])
    await traced.chat("canary-of-a-prompt", stream=True, user="canary-of-a-user", session_id="canary-of-a-session")
    alpha.next(failure(400, "canary-of-a-message", "canary-of-a-code"))
    await traced.chat(
        "canary-of-a-prompt", model="lonely", provider_key={"provider": "alpha", "api_key": "canary-of-a-key"}
    )
    await traced.chat(
        model="canary-of-a-model", headers={"X-Request-Id": "canary-of-a-header", "tracestate": "a=canary"}
    )
    await traced.chat(headers={"Authorization": "Bearer sk-ft_canary", "traceparent": "canary"})
    assert 4 == len(await told(traced, collector))

    everything = b"".join(collector.bodies).decode()
    assert traced.account_id in everything
    for secret in ("canary", ALPHA_KEY, BETA_KEY, traced.key, alpha.url):
        assert secret not in everything


async def test_the_operator_decides_how_many_are_traced(start_gateway: StartGateway, collector: Collector) -> None:
    """No caller can have more than that."""
    gateway = await start_gateway(tracing={"endpoint": collector.url, "sample_percent": 0})
    for _ in range(5):
        await gateway.chat(headers={HEADER: f"00-{TRACE}-{SPAN}-01"})
    await gateway.process.close()

    assert [] == collector.bodies


async def test_a_share_of_the_calls(start_gateway: StartGateway, collector: Collector) -> None:
    """Drawn for each call, whatever its trace's id is: of 60 at one half neither none nor all."""
    gateway = await start_gateway(tracing={"endpoint": collector.url, "sample_percent": 50})
    for _ in range(60):
        await gateway.send(b"no json", headers={HEADER: f"00-{TRACE}-{SPAN}-01"})

    assert 0 < len(await told(gateway, collector)) < 60


@pytest.mark.parametrize("reachable", [True, False], ids=["hangs", "is away"])
async def test_a_collector_in_trouble_disturbs_nobody(
    start_gateway: StartGateway, reachable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls are answered and charged as ever, the gateway stops in time, and the spans that nobody has are counted."""
    monkeypatch.setattr(middlewares.tracing, "FLUSH_SECONDS", 0.1)
    collector = await RawUpstream().start()
    collector.otherwise = lambda _: [HANG]
    if not reachable:
        await collector.close()
    gateway = await start_gateway(tracing={"endpoint": collector.url})
    replies = [await gateway.chat() for _ in range(3)]
    began = time.monotonic()
    await gateway.process.close()
    took = time.monotonic() - began
    if reachable:
        await collector.close()

    assert [200] * 3 == [reply.status for reply in replies]
    assert 3 == len(gateway.rows())
    gateway.prove()
    assert took < 3
    assert 6 == gateway.process.instruments.registry.get_sample_value("findtoken_spans_dropped_total")


async def test_without_a_collector_nothing_is_made(gateway: Gateway) -> None:
    """No queue and no thread; `observe` has nobody to tell."""
    await gateway.chat(headers={HEADER: f"00-{TRACE}-{SPAN}-01"})

    assert gateway.process._tracing is None
