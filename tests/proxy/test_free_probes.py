"""A gateway asks providers that nobody tells of how they are, for free, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from proxy.config import Loaded
from proxy.status_commands import status_as_text, status_from
from tests.fakes.raw_upstream import RawUpstream
from tests.gateway import ALPHA_KEY, Gateway, quick_settings

OFTEN = {"probe_seconds": 0.3, "probe_away_seconds": 0.1, "probe_timeout_seconds": 1}
ALPHA = ("alpha", "standard-upstream")


async def until(condition: Callable[[], object]) -> None:
    """Wait for something to be so."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_an_idle_provider_is_asked_for_its_list(
    start_gateway: Any, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """With GET, at its address and with its key, no body; nobody is asked for an answer; metrics and status tell it."""
    gateway: Gateway = await start_gateway(routing=OFTEN)
    await until(lambda: len(alpha.listings) > 1 and len(beta.listings) > 1)
    seen = alpha.listings[0]

    assert (b"GET /models HTTP/1.1", b"") == (seen.head.split(b"\r\n")[0], seen.body)
    assert f"Bearer {ALPHA_KEY}" == seen.headers["authorization"]
    assert "content-length" not in seen.headers
    assert [] == alpha.requests + beta.requests
    assert 1 <= await gateway.metric("probes_total", provider="alpha", outcome="answered")
    assert 1 == await gateway.metric("probe_up", provider="alpha")
    found = [(name.removeprefix("findtoken_"), labels, value) for name, labels, value in await gateway.metrics()]
    answer = status_from(found)
    assert {"provider": "alpha", "up": True, "attempts": 0, "served": 0, "probe": "answered"} in answer["providers"]
    assert "alpha: up, 0 of 0 attempts served, the last free probe was answered" in status_as_text(answer)


async def test_one_that_died_while_idle_is_known_before_a_caller_pays_for_it(
    start_gateway: Any, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """Its circuit opens; calls go to the stand-in at once."""
    gateway: Gateway = await start_gateway(routing=OFTEN)
    await alpha.close()
    await until(lambda: gateway.process._health.is_away(ALPHA))
    reply = await gateway.chat()

    assert (200, "beta", "1") == (reply.status, reply.header("Provider"), reply.header("Attempts"))
    assert 0 == await gateway.metric("provider_up", provider="alpha")
    assert 0 == await gateway.metric("probe_up", provider="alpha")


async def test_one_that_healed_without_traffic_is_half_open(
    start_gateway: Any, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """It is shown as up, at once; but its circuit is closed only by an answer to a call."""
    gateway: Gateway = await start_gateway(routing=OFTEN)
    health = gateway.process._health
    _host, _, port = alpha.url.rpartition(":")
    await alpha.close()
    await until(lambda: health.is_away(ALPHA))
    healed = RawUpstream()
    healed._server = await asyncio.start_server(healed._accept, "127.0.0.1", int(port), limit=2**26)
    try:
        await until(lambda: not health.is_away(ALPHA))
        report = health.report(ALPHA)
        assert report is not None
        assert ("half_open", 0.0) == (report.state, report.seconds_until_probe)
        assert 1 == await gateway.metric("provider_up", provider="alpha")
        reply = await gateway.chat()
        assert (200, "alpha") == (reply.status, reply.header("Provider"))
        closed = health.report(ALPHA)
        assert closed is not None
        assert "closed" == closed.state
    finally:
        await healed.close()


async def test_other_settings_count_at_once(gateway: Gateway, alpha: RawUpstream) -> None:
    """Switched off at the start, on by a reload, and off again."""
    process = gateway.process
    assert 0 == process._settings.routing.probe_seconds

    process.apply(Loaded(quick_settings(gateway.database_url, routing=OFTEN), process.catalogue(), []))
    await until(lambda: alpha.listings)
    process.apply(Loaded(quick_settings(gateway.database_url), process.catalogue(), []))
    await until(lambda: all(seen.answered.is_set() for seen in alpha.listings))
    asked = len(alpha.listings)
    await asyncio.sleep(1.2)
    assert asked == len(alpha.listings)
