"""Coming back to a stream: each event once and in order, whatever becomes of the connections, charged once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import aiohttp
import pytest
from aiohttp_sse_client.client import EventSource

from middlewares import runs
from middlewares.recording import Recording
from tests.fakes.cutting_wire import CuttingWire
from tests.fakes.raw_upstream import (
    DONE,
    FIN,
    HANG,
    STREAM_END,
    STREAM_HEAD,
    USAGE,
    RawUpstream,
    chunk,
    piece,
    said,
    stream,
)
from tests.gateway import PATH, Caller, Gateway, Reply, chat_body, http_request

StartGateway = Callable[..., Awaitable[Gateway]]

RESUMABLE = {"X-FindToken-Resumable": "true"}
WORDS = [f"word-{number} " for number in range(200)]


def slow_stream(words: list[str], pause_seconds: float = 0.002) -> list[bytes | float]:
    """A stream whose words come one at a time."""
    steps: list[bytes | float] = [STREAM_HEAD, piece(chunk({"role": "assistant", "content": ""}))]
    for word in words:
        steps += [piece(said(word)), pause_seconds]
    return [*steps, piece(chunk({}, finish="stop") + chunk(None, usage=USAGE) + DONE), STREAM_END]


async def resume(gateway: Gateway, request_id: str | None, after: object = "", **headers: str) -> Reply:
    """What follows an event, as one request."""
    told = {"Last-Event-ID": str(after), **headers} if after != "" else headers
    return await gateway.send(b"", headers=told, path=f"/v1/streams/{request_id}", method="GET")


def dialled(gateway: Gateway, **fields: object) -> bytes:
    """A resumable stream, as bytes."""
    body = json.dumps(chat_body(stream=True, **fields)).encode()  # type: ignore[arg-type]
    return http_request(body, gateway.key, head="X-FindToken-Resumable: true\r\n")


async def begun(gateway: Gateway) -> tuple[Caller, str]:
    """A caller who has read the head of a resumable stream, and its id."""
    caller = await gateway.dial_raw(dialled(gateway))
    head = await caller.read_until(b"\r\n\r\n")
    return caller, head.partition(b"X-FindToken-Request-Id: ")[2].partition(b"\r\n")[0].decode()


def ids(reply: Reply) -> list[int]:
    """The ids of a stream's events."""
    return [int(line[4:]) for line in reply.body.decode().split("\n") if line.startswith("id: ")]


async def test_each_event_has_its_id_and_nothing_else_changes(gateway: Gateway) -> None:
    """One line before the blank one, counting from 1, and the bill right before `[DONE]`, in one event with it, so that whoever
    stops reading there has seen it; without the header nothing of that."""
    plain = await gateway.chat(stream=True, stream_options={"include_usage": True})
    numbered = await gateway.chat(stream=True, stream_options={"include_usage": True}, headers=RESUMABLE)

    events = [event for event in numbered.body.decode().split("\n\n") if event]
    without = "\n\n".join(
        "\n".join(line for line in event.split("\n") if not line.startswith("id: ")) for event in events
    )
    assert plain.body.decode().split(": findtoken")[0] == without.split(": findtoken")[0]
    assert list(range(1, len(ids(numbered)) + 1)) == ids(numbered)
    assert [] == ids(plain)
    bill = f": findtoken {' '.join('='.join(pair) for pair in numbered.bill.items())}"
    assert events[-1] == f"{bill}\ndata: [DONE]\nid: {len(ids(numbered))}"


@pytest.mark.parametrize("after", [0, 1, 3, 5])
async def test_what_follows_an_event(after: int, gateway: Gateway) -> None:
    """All of it: the events, the bill, the end; under the id of the call, with its headers."""
    whole = await gateway.chat(stream=True, headers=RESUMABLE)
    rest = await resume(gateway, whole.header("Request-Id"), after)

    assert list(range(after + 1, 6)) == ids(rest)
    assert whole.body.endswith(rest.body)
    assert whole.header("Request-Id") == rest.header("Request-Id")
    if after == 5:
        assert 204 == rest.status
        return
    assert (200, whole.bill) == (rest.status, rest.bill)
    for name in ("Content-Type", "X-FindToken-Provider", "X-Accel-Buffering", "Cache-Control"):
        assert whole.headers[name] == rest.headers[name]


async def test_both_bases_serve_streams(gateway: Gateway) -> None:
    """As everything else."""
    whole = await gateway.chat(stream=True, headers=RESUMABLE, path="/api/v1/chat/completions")
    path = f"/api/v1/streams/{whole.header('Request-Id')}"

    assert whole.body == (await gateway.send(b"", path=path, method="GET")).body


async def events_of(
    wire: CuttingWire, request_id: str, key: str, last: str, session: aiohttp.ClientSession
) -> AsyncIterator[tuple[str, str]]:
    """Id and data of the events behind `last`, by a client that reconnects, and that we restart where a reset ended it."""
    while True:
        headers = {"Authorization": f"Bearer {key}"}
        if last:
            headers["Last-Event-ID"] = last
        source = EventSource(
            f"{wire.url}/v1/streams/{request_id}",
            session=session,
            headers=headers,
            reconnection_time=timedelta(milliseconds=5),
            timeout=aiohttp.ClientTimeout(total=None, sock_read=10),
        )
        try:
            async with source:
                async for event in source:
                    last = event.last_event_id
                    yield last, event.data
                    if event.data == "[DONE]":
                        return
        except ConnectionAbortedError:
            return  # 204: there is nothing more.
        except (ConnectionError, aiohttp.ClientError):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("by_reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("seed", [11, 12, 13])
async def test_a_stream_that_is_cut_five_times_arrives_whole(
    seed: int, by_reset: bool, gateway: Gateway, alpha: RawUpstream
) -> None:
    """Anywhere, also in the middle of an event: each event once, in order, the hash of all is the hash of what was said."""
    print("seed", seed)
    dice = random.Random(seed)
    alpha.next(slow_stream(WORDS))
    cuts = [dice.randint(500, 9_000) for _ in range(5)]
    got: list[tuple[str, str]] = []
    async with CuttingWire(gateway.url, cuts, by_reset=by_reset) as wire, aiohttp.ClientSession() as session:
        request_id, last = "", ""
        headers = {"Authorization": f"Bearer {gateway.key}", **RESUMABLE}
        try:
            async with session.post(wire.url + PATH, json=chat_body(stream=True), headers=headers) as response:
                request_id = response.headers["X-FindToken-Request-Id"]
                data = b""
                async for line in response.content:
                    data += line
                    if data.endswith(b"\n\n"):
                        got += [read_event(block) for block in data.split(b"\n\n") if block.startswith(b"data")]
                        data = b""
        except aiohttp.ClientError:
            pass
        last = got[-1][0] if got else ""
        assert 1 == wire.cut
        got += [event async for event in events_of(wire, request_id, gateway.key, last, session)]
        assert 5 == wire.cut

    text = "".join(
        choice["delta"].get("content") or "" for _, data in got[:-1] for choice in json.loads(data)["choices"]
    )
    assert hashlib.sha256("".join(WORDS).encode()).digest() == hashlib.sha256(text.encode()).digest()
    assert list(range(1, len(got) + 1)) == [int(number) for number, _ in got]
    assert ("[DONE]", 1) == (got[-1][1], len(alpha.requests))
    (row,) = await gateway.settled(1)
    assert ("complete", 29_540) == (row.billing_outcome, row.cost)
    gateway.prove()


def read_event(block: bytes) -> tuple[str, str]:
    """Id and data of an event."""
    fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if not line.startswith(":"))
    return fields["id"], fields["data"]


async def test_a_running_stream_is_followed_live_by_several(gateway: Gateway, alpha: RawUpstream) -> None:
    """Whoever has the account's key; each from its own event."""
    gate = asyncio.Event()
    tail = piece(said("three") + chunk({}, finish="stop") + DONE)
    alpha.next([STREAM_HEAD, piece(said("one") + said("two")), gate, tail, STREAM_END])
    caller, request_id = await begun(gateway)
    await caller.read_until(b"id: 2\n")
    others = [asyncio.create_task(resume(gateway, request_id, after)) for after in (0, 1, 2)]
    await asyncio.sleep(0.1)
    gate.set()
    replies = [await other for other in others]

    assert [[1, 2, 3, 4, 5], [2, 3, 4, 5], [3, 4, 5]] == [ids(reply) for reply in replies]
    assert [1] == [len(await gateway.settled(1))]


async def test_a_stream_is_its_accounts_alone(gateway: Gateway) -> None:
    """To another account it is not there, in the same words as one that never was; without a key nobody is told anything."""
    whole = await gateway.chat(stream=True, headers=RESUMABLE)
    _, key = gateway.new_account("bob")
    theirs = {"Authorization": f"Bearer {key}"}
    hidden = await resume(gateway, whole.header("Request-Id"), 1, **theirs)
    unknown = await resume(gateway, "req_0123456789abcdef0123456789ab", 1, **theirs)

    assert (404, "not_found") == hidden.code == unknown.code
    assert "another process of this gateway" in unknown.error["message"]
    assert hidden.error["message"] == unknown.error["message"]
    assert 401 == (await resume(gateway, whole.header("Request-Id"), 1, Authorization="")).status


async def test_a_stream_without_the_header_cannot_be_continued(gateway: Gateway) -> None:
    """Nothing of it is kept. A plain answer asks for nothing to continue, so the header changes nothing for it."""
    for fields, headers in (
        ({"stream": True}, {}),
        ({"stream": True}, {"X-FindToken-Resumable": "false"}),
        ({}, RESUMABLE),
    ):
        reply = await gateway.chat(headers=headers, **fields)
        assert 200 == reply.status
        assert (404, "not_found") == (await resume(gateway, reply.header("Request-Id"))).code


async def test_what_is_no_event_of_the_stream_is_refused(gateway: Gateway) -> None:
    """A text, a number that never was, and a header that is neither yes nor no."""
    whole = await gateway.chat(stream=True, headers=RESUMABLE)
    for wrong in ("x", "-1", "99", "1.5", "9" * 19, "²"):
        reply = await resume(gateway, whole.header("Request-Id"), wrong)
        assert ((400, "invalid_value"), "Last-Event-ID") == (reply.code, reply.error["param"]), wrong
    unsure = await gateway.chat(stream=True, headers={"X-FindToken-Resumable": "maybe"})
    assert ((400, "invalid_value"), "X-FindToken-Resumable") == (unsure.code, unsure.error["param"])


async def test_who_does_not_come_back_has_left(start_gateway: StartGateway, alpha: RawUpstream) -> None:
    """The upstream is read on for so long and then left; what came is charged, and the stream is gone from then on."""
    gateway = await start_gateway(routing={"reconnect_seconds": 0.2})
    alpha.next([STREAM_HEAD, piece(said("Hello")), HANG])
    caller, request_id = await begun(gateway)
    await caller.read_until(b"id: 1\n")
    caller.hang_up(by_reset=True)
    await asyncio.sleep(0.05)
    assert [] == gateway.rows()
    (row,) = await gateway.settled(1)

    assert "client_left" == row.billing_outcome
    assert (410, "stream_no_longer_available") == (await resume(gateway, request_id, 1)).code
    gateway.prove()


async def test_who_has_come_back_is_not_left_alone(start_gateway: StartGateway, alpha: RawUpstream) -> None:
    """The time for coming back is over only for those who have not."""
    gateway = await start_gateway(routing={"reconnect_seconds": 0.2})
    gate = asyncio.Event()
    alpha.next([STREAM_HEAD, piece(said("Hello")), gate, piece(chunk({}, finish="stop") + DONE), STREAM_END])
    caller, request_id = await begun(gateway)
    await caller.read_until(b"id: 1\n")
    caller.hang_up(by_reset=True)
    await asyncio.sleep(0.05)
    back = asyncio.create_task(resume(gateway, request_id, 1))
    await asyncio.sleep(0.4)
    gate.set()

    assert ([2, 3], ["complete"]) == (ids(await back), [row.billing_outcome for row in await gateway.settled(1)])


async def test_a_stream_that_broke_tells_so_again(gateway: Gateway, alpha: RawUpstream) -> None:
    """The error is an event like any other, and nothing is charged."""
    alpha.next([STREAM_HEAD, piece(said("Hello")), FIN])
    caller, request_id = await begun(gateway)
    await caller.read_all()
    rest = await resume(gateway, request_id, 1)

    assert ["error"] == [chunk["choices"][0]["finish_reason"] for chunk in rest.chunks]
    assert [0] == [row.cost for row in gateway.rows()]


async def test_a_stream_beyond_the_limits_goes_on_and_cannot_be_continued(
    start_gateway: StartGateway, alpha: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller gets every byte; whoever comes later is told the truth: 410."""
    monkeypatch.setattr(runs, "Recording", lambda room: Recording(room, 4_000))
    gateway = await start_gateway()
    alpha.next(stream(WORDS))
    whole = await gateway.chat(stream=True, headers=RESUMABLE)

    assert "".join(WORDS) == whole.text
    assert (410, "stream_no_longer_available") == (await resume(gateway, whole.header("Request-Id"), 1)).code
    assert 204 == (await resume(gateway, whole.header("Request-Id"), ids(whole)[-1])).status


async def test_who_leaves_a_stream_beyond_the_limits_has_left(
    start_gateway: StartGateway, alpha: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to come back to, so the upstream is left at once."""
    monkeypatch.setattr(runs, "Recording", lambda room: Recording(room, 400))
    gateway = await start_gateway(routing={"reconnect_seconds": 60})
    alpha.next([STREAM_HEAD, piece(said("Hello") * 20), HANG])
    caller, request_id = await begun(gateway)
    await caller.read_until(b"id: 20\n")
    caller.hang_up(by_reset=True)

    assert ["client_left"] == [row.billing_outcome for row in await gateway.settled(1)]
    assert (410, "stream_no_longer_available") == (await resume(gateway, request_id, 20)).code


async def test_a_stream_is_kept_for_five_minutes_and_no_longer(gateway: Gateway) -> None:
    """Then it is as unknown as one that never was, and its memory is free."""
    whole = await gateway.chat(stream=True, headers=RESUMABLE)
    process_runs = gateway.process._runs
    process_runs.forget_old()
    assert 200 == (await resume(gateway, whole.header("Request-Id"))).status
    (run,) = process_runs._streams.values()
    async with asyncio.timeout(5):
        while run.forget_at is None:
            await asyncio.sleep(0.005)
    assert 299 < run.forget_at - asyncio.get_running_loop().time() < 300
    run.forget_at -= 300
    process_runs.forget_old()

    assert (404, "not_found") == (await resume(gateway, whole.header("Request-Id"))).code
    assert 0 == process_runs.room.used_bytes


async def test_with_a_key_a_resumable_stream_is_both(gateway: Gateway, alpha: RawUpstream) -> None:
    """Repeated as it was, ids included, and continued under the id of the call."""
    headers = {**RESUMABLE, "Idempotency-Key": "both"}
    first = await gateway.chat(stream=True, headers=headers)
    again = await gateway.chat(stream=True, headers=headers)
    rest = await resume(gateway, again.header("Request-Id"), 2)

    assert (first.body, "true") == (again.body, again.header("Replayed"))
    assert (first.body.partition(b"id: 2\n\n")[2], None) == (rest.body, rest.header("Replayed"))
    assert 1 == len(alpha.requests)


async def test_head_gets_no_stream(gateway: Gateway) -> None:
    """A body after the head of its answer would be taken for the next answer on the same connection."""
    made = await gateway.send(json.dumps(chat_body(stream=True)).encode(), headers=RESUMABLE)
    head = f"Host: gateway\r\nAuthorization: Bearer {gateway.key}\r\n"
    asked = f"HEAD /v1/streams/{made.header('Request-Id')} HTTP/1.1\r\n{head}\r\nGET /v1/models HTTP/1.1\r\n{head}"

    caller = await gateway.dial_raw(f"{asked}Connection: close\r\n\r\n".encode())
    first, _, second = (await caller.read_all()).partition(b"\r\n\r\n")

    assert b"HTTP/1.1 405" == first[:12]
    assert b"HTTP/1.1 200" == second[:12]
