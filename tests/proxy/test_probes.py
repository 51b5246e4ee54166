"""The admin listener: is the process up, can it serve, what has it counted; and none of it on the public port."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from proxy import probes
from proxy.probes import readyz
from storage.database import open_database
from tests.fakes.raw_upstream import RawUpstream, completion, http
from tests.gateway import Gateway, book, serving


async def test_a_gateway_that_can_serve(gateway: Gateway, alpha: RawUpstream, beta: RawUpstream) -> None:
    """Up and ready; asking a hundred times costs nothing and calls nobody."""
    for _ in range(100):
        health, ready = await gateway.get("/healthz", admin=True), await gateway.get("/readyz", admin=True)
        assert (200, {"status": "ok"}) == (health.status, health.json)
        assert (200, {"status": "ready"}) == (ready.status, ready.json)

    assert ([], []) == (alpha.requests, beta.requests)
    assert gateway.balance().balance == 10**9


async def test_without_its_database(gateway: Gateway) -> None:
    """Up, but not ready: who asks is told what is missing."""
    await gateway.database.close()

    assert 200 == (await gateway.get("/healthz", admin=True)).status
    ready = await gateway.get("/readyz", admin=True)
    assert (503, {"status": "not ready", "missing": ["database"]}) == (ready.status, ready.json)


async def test_a_database_that_hangs_is_not_there(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, gateway: Gateway
) -> None:
    """A question without an answer is not waited for."""
    monkeypatch.setattr(probes, "READY_SECONDS", 0.1)
    busy = asyncio.Event()
    loop = asyncio.get_running_loop()
    over = asyncio.Event()

    def hang(_connection: object) -> None:
        loop.call_soon_threadsafe(busy.set)
        asyncio.run_coroutine_threadsafe(over.wait(), loop).result()

    hanging = asyncio.create_task(gateway.database.read(hang))
    await busy.wait()
    assert ["database"] == (await gateway.get("/readyz", admin=True)).json["missing"]
    over.set()
    await hanging

    assert 200 == (await gateway.get("/readyz", admin=True)).status


async def test_without_a_usable_provider(start_gateway: Any, alpha: RawUpstream, beta: RawUpstream) -> None:
    """No provider has a key: it could serve nobody."""
    gateway: Gateway = await start_gateway(book(alpha.url, beta.url, alpha={"keys": []}, beta={"keys": [""]}))

    assert ["providers"] == (await gateway.get("/readyz", admin=True)).json["missing"]


async def test_everything_that_is_missing_is_said_at_once(sqlite_database_url: str) -> None:
    """While it stops, without a database that was ever started, without providers."""
    catalogue = book("http://127.0.0.1:1", "http://127.0.0.1:1", alpha={"keys": []}, beta={"keys": []})
    application = web.Application()
    application.router.add_get("/readyz", readyz(open_database(sqlite_database_url), lambda: catalogue, lambda: True))
    async with (
        serving(application) as url,
        aiohttp.ClientSession() as session,
        session.get(f"{url}/readyz") as response,
    ):
        assert 503 == response.status
        assert ["stopping", "database", "providers"] == (await response.json())["missing"]


async def test_while_it_stops_it_is_not_ready(gateway: Gateway, alpha: RawUpstream) -> None:
    """From the moment it is told, while calls in flight still finish: who balances load looks here."""
    gate = asyncio.Event()
    alpha.next([gate, http(completion())])
    running = asyncio.create_task(gateway.chat())
    await alpha.received(1)
    stopping = asyncio.create_task(gateway.process.close())
    await asyncio.sleep(0.05)
    ready = await gateway.get("/readyz", admin=True)
    gate.set()

    assert (503, ["stopping"]) == (ready.status, ready.json["missing"])
    assert 200 == (await running).status
    await stopping
    gateway.prove()


async def test_the_metrics_page(gateway: Gateway) -> None:
    """Prometheus' text, or OpenMetrics for those who ask for it."""
    await gateway.chat()
    plain = await gateway.get("/metrics", admin=True)
    async with gateway.session.get(
        f"{gateway.process.admin_url}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    ) as response:
        open_metrics = await response.text()

    assert plain.headers["Content-Type"].startswith("text/plain")
    assert b"findtoken_requests_total{" in plain.body
    assert response.headers["Content-Type"].startswith("application/openmetrics-text")
    assert open_metrics.rstrip().endswith("# EOF")
    assert 0 == await gateway.metric("ledger_queue_length")


async def test_what_is_held_is_shown(gateway: Gateway, alpha: RawUpstream) -> None:
    """While a call runs, as the books have it; afterwards nothing."""
    gate = asyncio.Event()
    alpha.next([gate, http(completion())])
    running = asyncio.create_task(gateway.chat())
    await alpha.received(1)
    held = gateway.balance().held
    shown = await gateway.metric("holds_usd")
    gate.set()
    await running

    assert held == round(1e8 * shown) > 0
    assert 0 == await gateway.metric("holds_usd")


async def test_metrics_are_told_without_the_books(gateway: Gateway) -> None:
    """Whoever looks because the database is away must see something; what only it knows is not a number then."""
    await gateway.chat()
    await gateway.database.close()

    assert 1 == await gateway.metric("requests_total", outcome="complete")
    assert math.isnan(await gateway.metric("holds_usd"))


async def test_the_two_ports_are_apart(gateway: Gateway) -> None:
    """Nothing operational on the public port, nothing public on the admin port."""
    for path in ("/metrics", "/healthz", "/readyz", "/debug", "/docs", "/.env", "/config"):
        assert (404, "not_found") == (await gateway.get(path)).code
    for path in ("/v1/models", "/v1/chat/completions"):
        assert 404 == (await gateway.get(path, admin=True)).status
