"""The whole gateway: what it serves where, how it starts and stops, and that nothing is left when it has stopped."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from proxy.app import BASES, ROUTES
from proxy.app import Gateway as Process
from proxy.demo import simulated_catalogue
from simulator.faults import KINDS
from simulator.server import start as start_simulator
from storage.database import open_database
from storage.identifiers import now_microseconds
from storage.migrating import migrate
from storage.postings import place_hold
from tests.fakes.raw_upstream import (
    DONE,
    HANG,
    STREAM_END,
    STREAM_HEAD,
    RawUpstream,
    chunk,
    completion,
    failure,
    http,
    piece,
    said,
)
from tests.gateway import BookLock, Gateway, http_request, quick_settings


async def test_routes_are_the_ones_that_are_listed(gateway: Gateway) -> None:
    """What the pages promise is what is registered: the public API under both bases, the rest on the admin port."""
    registered = set()
    for application in (gateway.process.public_application(), gateway.process.admin_application()):
        for route in application.router.routes():
            # Any other method finds nothing at operators' addresses, as at an address that does not exist.
            if route.method not in ("HEAD", "*") and route.resource is not None:
                registered.add((route.method, route.resource.canonical))

    public = {(method, path) for method, path in ROUTES if path.startswith("/v1/")}
    expected = {(method, base + path.removeprefix("/v1")) for method, path in public for base in BASES}
    assert expected | {route for route in ROUTES if route not in public} == registered


async def test_both_bases_serve_the_same(gateway: Gateway) -> None:
    """People who come from OpenRouter change the host and nothing else."""
    replies = [await gateway.chat(path=f"{base}/chat/completions") for base in BASES]

    assert [200, 200] == [reply.status for reply in replies]
    assert ["/v1/chat/completions", "/api/v1/chat/completions"] == [row.path for row in gateway.rows()]


async def test_stopping_lets_calls_finish_and_settles_them(gateway: Gateway, alpha: RawUpstream) -> None:
    """Plain ones and streams; new callers are refused at the door; afterwards nothing is held."""
    gate = asyncio.Event()
    alpha.next(
        [gate, http(completion())],
        [STREAM_HEAD, piece(said("Hello")), gate, piece(chunk({}, finish="stop") + DONE), STREAM_END],
    )
    plain = asyncio.create_task(gateway.chat())
    await alpha.received(1)
    streaming = asyncio.create_task(gateway.chat(stream=True))
    await alpha.received(2)
    stopping = asyncio.create_task(gateway.process.close())
    await asyncio.sleep(0.05)
    with pytest.raises(OSError):
        await gateway.dial()
    gate.set()

    assert (200, "Hello there") == ((await plain).status, (await plain).text)
    assert "[DONE]" == (await streaming).events[-1]
    await stopping
    assert 2 == len(gateway.rows())
    gateway.prove()


async def test_a_settlement_under_way_is_finished_before_it_stops(
    start_gateway: Any, book_lock: BookLock, alpha: RawUpstream
) -> None:
    """Also one whose caller left long ago."""
    gateway: Gateway = await start_gateway(stall_seconds=0.05)
    book_lock.take_after_next_commit(gateway.database)
    caller = await gateway.dial()
    await (await alpha.received(1)).answered.wait()
    await asyncio.sleep(0.1)
    caller.hang_up(by_reset=True)
    await asyncio.sleep(0.1)
    stopping = asyncio.create_task(gateway.process.close())
    await asyncio.sleep(0.1)
    assert not stopping.done()
    book_lock.release()
    await stopping

    assert 29_540 == gateway.row().cost
    gateway.prove()


async def test_a_port_that_is_taken_is_an_error_of_the_operator(gateway: Gateway, sqlite_database_url: str) -> None:
    """Told as such, and what was started before can be closed."""
    url = sqlite_database_url + "2"
    database = open_database(url)
    migrate(database)
    taken = gateway.url.removeprefix("http://")
    settings = quick_settings(url, server={"listen": taken, "admin_listen": "127.0.0.1:0"})
    process = Process(settings, gateway.process.catalogue(), database)

    with pytest.raises(OSError):
        await process.start()
    await process.close()


async def test_an_address_of_the_newer_kind(start_gateway: Any) -> None:
    """IPv6 in brackets, as a URL wants it."""
    gateway: Gateway = await start_gateway(server={"listen": "[::1]:0", "admin_listen": "127.0.0.1:0"})

    assert gateway.url.startswith("http://[::1]:")
    assert 200 == (await gateway.chat()).status


async def test_holds_of_a_dead_process_are_given_back(gateway: Gateway) -> None:
    """Those of the living are not touched, however long they last."""
    with gateway.database.session() as connection:
        place_hold(connection, "req_orphan", gateway.account_id, [1000], None, "process_dead", 0, now_microseconds())
    assert 1000 == gateway.balance().held

    await gateway.process._sweep()

    assert 0 == gateway.balance().held
    gateway.prove()


async def test_background_work_survives_a_database_that_is_away(
    start_gateway: Any, book_lock: BookLock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Heartbeats and sweeps go on when it is back; the log says what they waited for."""
    monkeypatch.setattr("proxy.app.HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr("proxy.app.SWEEP_SECONDS", 0.05)
    gateway: Gateway = await start_gateway(stall_seconds=0.05)
    book_lock.take()
    async with asyncio.timeout(10):
        while "background work waits" not in caplog.text:
            await asyncio.sleep(0.02)
    with_lock = await _heartbeat(gateway)
    book_lock.release()

    async with asyncio.timeout(10):
        while (beat := await _heartbeat(gateway)) == with_lock:
            await asyncio.sleep(0.02)
    assert beat > with_lock


async def _heartbeat(gateway: Gateway) -> int:
    def read(connection: Any) -> int:
        return int(connection.execute("SELECT MAX(heartbeat) FROM process").fetchone()[0])

    return await gateway.database.read(read)


@pytest.mark.parametrize(("retries", "waits", "tries"), [(0, [0.01], 1), (2, [0.01], 3), (1, [0.01, 5, 5], 2)])
async def test_as_many_tries_as_the_operator_set(
    retries: int, waits: list[float], tries: int, start_gateway: Any, alpha: RawUpstream
) -> None:
    """The last wait is repeated where there are more retries than waits, and further waits are not used."""
    gateway: Gateway = await start_gateway(routing={"retries": retries, "backoff_seconds": waits})
    alpha.otherwise = lambda _request: failure(503)
    await gateway.chat(model="lonely")

    assert tries == len(alpha.requests)


async def test_a_head_that_is_too_large_is_refused(gateway: Gateway, alpha: RawUpstream) -> None:
    """Before anything is kept of it."""
    body = json.dumps({"model": "standard"}).encode()
    caller = await gateway.dial_raw(http_request(body, gateway.key, head=f"X-Large: {'x' * 40_000}\r\n"))
    answer = await caller.read_until(b"\r\n")

    assert b" 4" == answer[8:10]
    assert [] == alpha.requests


async def test_a_silent_upstream_and_a_callers_patience(gateway: Gateway, alpha: RawUpstream) -> None:
    """A caller who gives up is noticed while the provider is silent, on a connection that was used before."""
    body = json.dumps({"model": "standard", "messages": [{"role": "user", "content": "a"}]}).encode()
    caller = await gateway.dial_raw(http_request(body, gateway.key))
    await caller.read_until(b"1500}}")
    alpha.next([HANG])
    caller.writer.write(http_request(body, gateway.key))
    request = await alpha.received(2)
    caller.hang_up(by_reset=False)

    await asyncio.wait_for(request.caller_left.wait(), 2)
    assert 0 == (await gateway.settled(2))[1].cost


async def test_with_a_provider_down_an_equivalent_serves(start_gateway: Any) -> None:
    """The shipped catalogue over the six simulated vendors: priced at the model that served, and everything says so."""
    simulator = await start_simulator()
    try:
        gateway: Gateway = await start_gateway(simulated_catalogue(simulator.url))
        control = f"{simulator.url}/_simulator"
        async with gateway.session.put(f"{control}/deepseek/down", json={"down": True}) as response:
            assert 200 == response.status
        for streaming in (False, True):
            reply = await gateway.chat("Hello pieces=3", model="deepseek-chat", stream=streaming, max_tokens=100)
            served = gateway.process.catalogue().models["deepseek-chat"].equivalents[0]
            assert (200, served) == (reply.status, reply.header("Model"))
            assert "deepseek" != reply.header("Provider")
            row = gateway.rows()[-1]
            assert ("deepseek-chat", served, reply.header("Provider")) == (row.requested_model, row.model, row.provider)
            assert f"{row.provider}/" in str(row.price_version)
            assert row.cost == (reply.money("Cost") if not streaming else row.cost) > 0
            assert {served} == {one["model"] for one in (reply.chunks if streaming else [reply.json])}
        gateway.prove()
    finally:
        await simulator.close()


async def test_every_simulated_fault_ends_in_an_answer_and_exact_books(start_gateway: Any) -> None:
    """Each kind of fault, plain and streamed: a status of the contract or a stream with an honest end, never a 500."""
    simulator = await start_simulator()
    limits = {
        "timeout_seconds": 1,
        "first_content_timeout_seconds": 1,
        "silence_timeout_seconds": 0.2,
        "backoff_seconds": [0.01],
    }
    try:
        gateway: Gateway = await start_gateway(simulated_catalogue(simulator.url), routing=limits, stall_seconds=5.0)
        quick = {"slow": {"seconds": 0.01}, "comments": {"count": 3}, "huge_piece": {"bytes": 100_000}}
        required = {
            "redirect": {"location": "http://127.0.0.1:9/"},
            "usage": {"usage": {"prompt_tokens": 1}},
            "finish": {"finish_reason": "length"},
            "wrong_model": {"answer_model": "another"},
            "raw": {"steps": [{"text": "data: {}\n\n"}]},
        }

        async def one(kind: str, streaming: bool) -> None:
            order = {"kind": kind, **quick.get(kind, {}), **required.get(kind, {})}
            text = f"pieces=6 SIM:{json.dumps(order)} {streaming}"
            fields = {"provider": {"allow_fallbacks": False}, "max_tokens": 50}
            reply = await gateway.chat(text, model="glm-4-flash", stream=streaming, **fields)
            assert reply.status in (200, 400, 402, 429, 502, 503, 504), (kind, streaming, reply)
            if streaming and reply.status == 200:
                done, broken = b"data: [DONE]" in reply.body, b'"finish_reason": "error"' in reply.body
                assert done != broken, (kind, reply.body)

        for kind in KINDS:
            # One kind at a time, so that an open circuit does not hide the next.
            gateway.process._health._circuits.clear()
            await asyncio.gather(one(kind, False), one(kind, True))
        gateway.prove()
    finally:
        await simulator.close()
