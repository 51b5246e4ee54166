"""One call per Idempotency-Key: made once, charged once, answered as often as it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from middlewares import idempotency, runs
from middlewares.idempotency import pack, unpack
from middlewares.recording import Head, Recording, Room
from tests.fakes.raw_upstream import (
    DONE,
    FIN,
    HANG,
    STREAM_END,
    STREAM_HEAD,
    USAGE,
    RawUpstream,
    chunk,
    completion,
    failure,
    http,
    piece,
    said,
    stream,
)
from tests.gateway import ALPHA_KEY, CREDIT, Gateway, Reply, chat_body, http_request

StartGateway = Callable[..., Awaitable[Gateway]]

KEY = {"Idempotency-Key": "order-1"}


@pytest.fixture
async def on_each(start_gateway: StartGateway, database_url: str) -> Gateway:
    """A gateway on each kind of database."""
    return await start_gateway(database_url=database_url)


async def ended(gateway: Gateway) -> None:
    """Wait until no run is left: whatever was to be kept is kept."""
    async with asyncio.timeout(10):
        while gateway.process._runs._running:
            await asyncio.sleep(0.005)


def dialled(gateway: Gateway, key: str = "order-1", **fields: object) -> bytes:
    """A request with a key, as bytes."""
    import json

    body = json.dumps(chat_body(**fields)).encode()  # type: ignore[arg-type]
    return http_request(body, gateway.key, head=f"Idempotency-Key: {key}\r\n")


def original(reply: Reply) -> str:
    """The id of the call that a 409 speaks of."""
    return str(reply.error["original_request_id"])


@pytest.mark.parametrize("streamed_call", [False, True], ids=["plain", "streamed"])
async def test_the_same_request_again_gets_the_same_answer(
    streamed_call: bool, on_each: Gateway, alpha: RawUpstream
) -> None:
    """Status, body, cost and request id are the first call's; one upstream call, one row, one charge."""
    gateway = on_each
    first = await gateway.chat(stream=streamed_call, headers=KEY)
    await ended(gateway)
    again = [await gateway.chat(stream=streamed_call, headers=KEY) for _ in range(3)]

    assert [(200, first.body)] * 3 == [(reply.status, reply.body) for reply in again]
    assert (None, ["true"] * 3) == (first.header("Replayed"), [reply.header("Replayed") for reply in again])
    row = gateway.row()
    assert {row.request_id} == {reply.header("Request-Id") for reply in [first, *again]}
    for name in ("Content-Type", "X-FindToken-Cost", "X-FindToken-Hold", "X-FindToken-Provider", "Cache-Control"):
        assert {first.headers.get(name)} == {reply.headers.get(name) for reply in again}, name
    assert (1, 29_540) == (len(alpha.requests), row.cost)
    gateway.prove()


async def test_an_answer_with_a_key_is_the_answer_without(gateway: Gateway) -> None:
    """Byte for byte and header for header, but for what names the call or the moment, plain and streamed."""
    for streams in (False, True):
        without = await gateway.chat(stream=streams)
        with_key = await gateway.chat(stream=streams, headers={"Idempotency-Key": f"{streams}"})
        names = ["Content-Type", "Server", "X-Accel-Buffering", "Cache-Control", "X-FindToken-Attempts"]

        assert [without.headers.get(name) for name in names] == [with_key.headers.get(name) for name in names]
        if streams:
            assert without.events == with_key.events
            assert without.bill["cost"] == with_key.bill["cost"]
        else:
            assert without.body == with_key.body


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_many_at_once_are_one_call(seed: int, on_each: Gateway, alpha: RawUpstream) -> None:
    """Twenty with the same key at the same moment: one upstream call, one row, twenty equal answers."""
    gateway = on_each
    streams = bool(seed % 2)
    replies = await asyncio.gather(*(gateway.chat(stream=streams, headers=KEY) for _ in range(20)))

    assert {replies[0].body} == {reply.body for reply in replies}
    assert {200} == {reply.status for reply in replies}
    assert 19 == sum(reply.header("Replayed") == "true" for reply in replies)
    row = gateway.row()
    assert (1, {row.request_id}) == (len(alpha.requests), {reply.header("Request-Id") for reply in replies})
    gateway.prove()


async def test_who_comes_later_follows_the_running_stream_live(gateway: Gateway, alpha: RawUpstream) -> None:
    """From its start, and each event as soon as it comes, while the first caller reads on."""
    gate = asyncio.Event()
    tail = piece(said("late") + chunk({}, finish="stop", usage=USAGE) + DONE)
    alpha.next([STREAM_HEAD, piece(said("early")), gate, tail, STREAM_END])
    first = await gateway.dial_raw(dialled(gateway, stream=True))
    await first.read_until(b"early")
    second = await gateway.dial_raw(dialled(gateway, stream=True))
    head = await second.read_until(b"early")
    gate.set()
    ends = [await caller.read_until(b"[DONE]\n\n") for caller in (first, second)]

    assert ends[0].partition(b"late")[2] == ends[1].partition(b"late")[2]
    assert b"X-FindToken-Replayed: true" in head
    assert 1 == len(await gateway.settled(1))


async def test_the_call_goes_on_while_anybody_is_attached(start_gateway: StartGateway, alpha: RawUpstream) -> None:
    """The first caller leaves, even without any time to come back: the second gets the whole, charged as delivered."""
    gateway = await start_gateway(routing={"reconnect_seconds": 0})
    gate = asyncio.Event()
    alpha.next(
        [STREAM_HEAD, piece(said("early")), gate, piece(said("late") + chunk({}, finish="stop") + DONE), STREAM_END]
    )
    first = await gateway.dial_raw(dialled(gateway, stream=True))
    await first.read_until(b"early")
    second = await gateway.dial_raw(dialled(gateway, stream=True))
    await second.read_until(b"early")
    first.hang_up(by_reset=True)
    await asyncio.sleep(0.05)
    gate.set()
    assert b"late" in await second.read_until(b"[DONE]\n\n")

    assert ["complete"] == [row.billing_outcome for row in await gateway.settled(1)]


async def test_who_comes_back_in_time_finds_the_call_still_running(gateway: Gateway, alpha: RawUpstream) -> None:
    """A caller alone leaves and comes back: the call has gone on without anybody, and is charged once."""
    gate = asyncio.Event()
    alpha.next([gate, http(completion("worth the wait"))])
    caller = await gateway.dial_raw(dialled(gateway))
    await alpha.received(1)
    caller.hang_up(by_reset=True)
    await asyncio.sleep(0.05)
    back = asyncio.create_task(gateway.chat(headers=KEY))
    await asyncio.sleep(0.05)
    gate.set()

    assert "worth the wait" == (await back).text
    assert (1, "complete") == (len(alpha.requests), gateway.row().billing_outcome)


async def test_who_has_come_back_is_not_left_alone(start_gateway: StartGateway, alpha: RawUpstream) -> None:
    """The time for coming back is over only for those who have not."""
    gateway = await start_gateway(routing={"reconnect_seconds": 0.2})
    gate = asyncio.Event()
    alpha.next([gate, http(completion("worth the wait"))])
    caller = await gateway.dial_raw(dialled(gateway))
    await alpha.received(1)
    caller.hang_up(by_reset=True)
    await asyncio.sleep(0.05)
    back = asyncio.create_task(gateway.chat(headers=KEY))
    await asyncio.sleep(0.4)
    gate.set()

    assert ("worth the wait", 1) == ((await back).text, len(alpha.requests))


async def test_a_run_that_breaks_is_told_apart_from_its_call(gateway: Gateway, alpha: RawUpstream) -> None:
    """Should an answer fail to be recorded, nobody waits for it for ever, and the books decide what becomes of the key."""
    gate = asyncio.Event()
    alpha.next([gate, http(completion())])
    calls = [asyncio.create_task(gateway.chat(headers=KEY))]
    await alpha.received(1)
    calls.append(asyncio.create_task(gateway.chat(headers=KEY)))
    await asyncio.sleep(0.05)
    (run,) = gateway.process._runs._running.values()
    run.recording.fail(ValueError("planted"))
    await asyncio.sleep(0.05)
    gate.set()
    first, second = [await call for call in calls]

    assert ((500, "server_error"), (409, "idempotency_answer_lost")) == (first.code, second.code)
    assert (original(second), 29_540) == (gateway.row().request_id, gateway.row().cost)


async def test_a_call_that_all_have_left_ends_like_any_other(start_gateway: StartGateway, alpha: RawUpstream) -> None:
    """When its time is over the upstream is left, what came is charged, and the key names the call from then on."""
    gateway = await start_gateway(routing={"reconnect_seconds": 0.1})
    alpha.next([STREAM_HEAD, piece(said("early")), HANG])
    caller = await gateway.dial_raw(dialled(gateway, stream=True))
    await caller.read_until(b"early")
    caller.hang_up(by_reset=True)
    (row,) = await gateway.settled(1)
    await ended(gateway)
    async with asyncio.timeout(5):
        await alpha.requests[0].caller_left.wait()
    again = await gateway.chat(stream=True, headers=KEY)

    assert "client_left" == row.billing_outcome
    assert ((409, "idempotency_answer_lost"), row.request_id) == (again.code, original(again))
    assert (1, 1) == (len(alpha.requests), len(gateway.rows()))


async def test_a_call_left_before_anything_came_can_be_made_again(
    start_gateway: StartGateway, alpha: RawUpstream
) -> None:
    """It cost nothing, so its key is free."""
    gateway = await start_gateway(routing={"reconnect_seconds": 0})
    alpha.next([HANG])
    caller = await gateway.dial_raw(dialled(gateway))
    await alpha.received(1)
    caller.hang_up(by_reset=True)
    await gateway.settled(1)
    await ended(gateway)
    again = await gateway.chat(headers=KEY)

    assert (200, None) == (again.status, again.header("Replayed"))
    assert [0, 29_540] == [row.cost for row in gateway.rows()]


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ({"text": "Something else"}, {}),
        ({"stream": True}, {}),
        ({"max_tokens": 10}, {}),
        ({}, {"X-Provider-Key": f"alpha:{ALPHA_KEY}"}),
        ({}, {"X-Session-Id": "s1"}),
    ],
    ids=["text", "stream", "limit", "provider key", "session"],
)
async def test_another_request_under_the_same_key_is_refused(
    fields: dict[str, object], headers: dict[str, str], gateway: Gateway, alpha: RawUpstream
) -> None:
    """Whether the first has ended or runs: 409, naming it, and nothing is called."""
    first = await gateway.chat(headers=KEY)
    await ended(gateway)
    other = await gateway.chat(headers={**KEY, **headers}, **fields)  # type: ignore[arg-type]

    assert ((409, "idempotency_conflict"), first.header("Request-Id")) == (other.code, original(other))
    assert other.error["request_id"] != first.header("Request-Id")
    gate = asyncio.Event()
    alpha.next([gate, http(completion())])
    running = asyncio.create_task(gateway.chat(headers={"Idempotency-Key": "order-2"}))
    await alpha.received(2)
    other = await gateway.chat(headers={"Idempotency-Key": "order-2", **headers}, **fields)  # type: ignore[arg-type]
    gate.set()
    await running

    assert (409, "idempotency_conflict") == other.code
    assert 2 == len(alpha.requests)


async def test_what_a_body_means_is_compared_and_not_how_it_is_spelled(gateway: Gateway, alpha: RawUpstream) -> None:
    """Spaces, the order of fields, gzip: many clients serialise anew when they try again."""
    spellings = (
        b'{"model":"standard","messages":[{"role":"user","content":"Hi"}]}',
        b'{ "messages": [ {"content": "\\u0048i", "role": "user"} ],\n "model": "standard" }',
    )
    replies = [await gateway.send(body, headers=KEY) for body in spellings]

    assert [200, 200] == [reply.status for reply in replies]
    assert 1 == len(alpha.requests)
    strange = b'{"model":"standard","messages":[{"role":"user","content":"Hi"}],"seed":123456789012345678901,"user":"\\ud800"}'
    assert {200} == {(await gateway.send(strange, headers={"Idempotency-Key": "2"})).status for _ in range(2)}


async def test_both_ways_into_the_chain_repeat_alike(gateway: Gateway, alpha: RawUpstream) -> None:
    """A path that is spelled in another way goes through the router, and it is the same path."""
    first = await gateway.chat(headers=KEY)
    await ended(gateway)
    again = await gateway.chat(headers=KEY, path="/v1/chat/completions?way=router")
    streams = [
        await gateway.chat(headers={"Idempotency-Key": "2"}, path=f"/v1/chat/completions{query}", stream=True)
        for query in ("?way=router", "", "?way=router")
    ]

    assert (first.body, first.header("Request-Id"), "true") == (
        again.body,
        again.header("Request-Id"),
        again.header("Replayed"),
    )
    assert 1 == len({(reply.body, reply.header("Request-Id")) for reply in streams})
    assert [None, "true", "true"] == [reply.header("Replayed") for reply in streams]
    assert 2 == len(alpha.requests)


async def test_a_key_belongs_to_its_account(gateway: Gateway, alpha: RawUpstream) -> None:
    """Another account's call under the same key is another call."""
    _, key = gateway.new_account("bob")
    first = await gateway.chat("Mine", headers=KEY)
    other = await gateway.chat("Yours", headers={**KEY, "Authorization": f"Bearer {key}"})

    assert [200, 200] == [first.status, other.status]
    assert first.header("Request-Id") != other.header("Request-Id")
    assert 2 == len(alpha.requests)


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\x01e", "a\tb"], ids=["empty", "long", "control", "tab"])
async def test_a_key_that_is_none_is_refused(key: str, gateway: Gateway, alpha: RawUpstream) -> None:
    """1 to 255 printable characters; 400 names the header."""
    body = b'{"model":"standard","messages":[{"role":"user","content":"Hi"}]}'
    head = f"Idempotency-Key: {key}\r\nConnection: close\r\n"
    if "\x01" in key:
        head = "Idempotency-Key: caf\u0085e\r\nConnection: close\r\n"
    caller = await gateway.dial_raw(http_request(body, gateway.key, head=head))
    answer = await caller.read_all()

    assert b" 400 " in answer.partition(b"\r\n")[0]
    assert b'"param": "Idempotency-Key"' in answer
    assert [] == alpha.requests


async def test_a_key_of_255_characters_is_fine_and_two_keys_are_none(gateway: Gateway) -> None:
    """The longest key there is; which of two would count nobody can say."""
    assert 200 == (await gateway.chat(headers={"Idempotency-Key": "é" + "x" * 254})).status
    body = b'{"model":"standard","messages":[{"role":"user","content":"Hi"}]}'
    head = "Idempotency-Key: a\r\nIdempotency-Key: b\r\nConnection: close\r\n"
    caller = await gateway.dial_raw(http_request(body, gateway.key, head=head))
    assert b" 400 " in (await caller.read_all()).partition(b"\r\n")[0]


FREE: dict[str, list[object]] = {
    "no provider": [*[failure(503)] * 4, *[failure(503)] * 4],
    "refused": [failure(400, "no")],
    "unreadable": [[http(b"what?")], [http(b"what?")]],
}


@pytest.mark.parametrize("case", FREE, ids=list(FREE))
async def test_what_cost_nothing_is_not_kept(case: str, gateway: Gateway, alpha: RawUpstream) -> None:
    """A provider's failures and refusals are free, so the same key may try again: a stored failure would be no use."""
    alpha.next(*FREE[case])  # type: ignore[arg-type]
    first = await gateway.chat(model="lonely", headers=KEY)
    assert 400 <= first.status
    await ended(gateway)
    alpha._answers.clear()
    again = await gateway.chat(model="lonely", headers=KEY)

    assert (200, None) == (again.status, again.header("Replayed"))
    gateway.prove()


async def test_a_stream_that_the_provider_broke_is_not_kept(gateway: Gateway, alpha: RawUpstream) -> None:
    """It is free, its connection is closed after the error chunk as without a key, and trying again makes a new call."""
    alpha.next([STREAM_HEAD, piece(said("Hello")), FIN])
    caller = await gateway.dial_raw(dialled(gateway, stream=True))
    answer = await caller.read_all()
    await ended(gateway)
    again = await gateway.chat(stream=True, headers=KEY)

    assert b'"finish_reason": "error"' in answer
    assert b"[DONE]" not in answer
    assert ("Hello there", None) == (again.text, again.header("Replayed"))
    assert [0, 29_540] == [row.cost for row in gateway.rows()]


async def test_refusals_before_a_hold_leave_the_key_free(start_gateway: StartGateway) -> None:
    """No credit, an unknown model: the next try, with what was missing, is served."""
    gateway = await start_gateway(credit=0)
    refused = await gateway.chat(headers=KEY)
    assert (402, "insufficient_credits") == refused.code
    await ended(gateway)
    assert 404 == (await gateway.chat(model="none", headers=KEY)).status
    own = {"provider": "alpha", "api_key": "own-key-1"}
    assert 200 == (await gateway.chat(headers=KEY, provider_key=own)).status


async def test_everybody_attached_is_told_the_same_failure(gateway: Gateway, alpha: RawUpstream) -> None:
    """Status and body, which names the call that failed."""
    gate = asyncio.Event()
    alpha.next([gate, *failure(400, "not like this")])
    calls = [asyncio.create_task(gateway.chat(model="lonely", headers=KEY))]
    await alpha.received(1)
    calls += [asyncio.create_task(gateway.chat(model="lonely", headers=KEY)) for _ in range(3)]
    await asyncio.sleep(0.1)
    gate.set()
    replies = await asyncio.gather(*calls)

    assert {(400, replies[0].body)} == {(reply.status, reply.body) for reply in replies}
    assert (1, 1) == (len(alpha.requests), len(gateway.rows()))


async def test_nothing_readable_lies_in_the_books(start_gateway: StartGateway, sqlite_database_url: str) -> None:
    """Neither the answer, nor the key, nor a provider key of the body; the answer opens with the secret key alone."""
    gateway = await start_gateway()
    own = {"provider": "alpha", "api_key": "own-secret-key"}
    headers = {"Idempotency-Key": "readable-idempotency-key"}
    first = await gateway.chat("readable question", headers=headers, provider_key=own)
    await ended(gateway)
    with gateway.database.session(snapshot=True) as connection:
        rows = connection.execute("SELECT * FROM idempotency").fetchall()

    assert 1 == len(rows)
    stored = repr(rows).encode()
    for secret in (b"Hello there", b"readable", b"own-secret-key", b"chatcmpl"):
        assert secret not in stored
    assert first.body == (await gateway.chat("readable question", headers=headers, provider_key=own)).body


async def test_another_process_gives_the_kept_answer(
    start_gateway: StartGateway, database_url: str, alpha: RawUpstream
) -> None:
    """What one gateway answered another one on the same books repeats; and the books say which call it was."""
    first_gateway = await start_gateway(database_url=database_url)
    first = await first_gateway.chat(stream=True, headers=KEY)
    await ended(first_gateway)
    second_gateway = await second(start_gateway, first_gateway)
    again = await second_gateway.chat(stream=True, headers=KEY)

    assert (first.body, "true") == (again.body, again.header("Replayed"))
    assert 1 == len(alpha.requests)


async def second(start_gateway: StartGateway, first: Gateway) -> Gateway:
    """Another gateway on the same books, for the same account."""
    other = await start_gateway(database_url=first.database_url, name="bob")
    other.account_id, other.key = first.account_id, first.key
    return other


async def test_a_race_between_two_processes_is_one_call(
    start_gateway: StartGateway, database_url: str, alpha: RawUpstream
) -> None:
    """Each sends ten at once: one INSERT decides, the other process waits for the answer and gives the same."""
    one = await start_gateway(database_url=database_url)
    two = await second(start_gateway, one)
    calls = [gateway.chat(headers=KEY) for gateway in (one, two) for _ in range(10)]
    replies = await asyncio.gather(*calls)

    assert {(200, replies[0].body)} == {(reply.status, reply.body) for reply in replies}
    assert (1, 1) == (len(alpha.requests), len(one.rows()))
    one.prove()


async def test_a_call_that_takes_too_long_elsewhere_is_told_to_be_running(
    start_gateway: StartGateway, sqlite_database_url: str, alpha: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """409 with Retry-After, and the id of the call."""
    monkeypatch.setattr(idempotency, "WAIT_SECONDS", 0.3)
    one = await start_gateway()
    two = await second(start_gateway, one)
    gate = asyncio.Event()
    alpha.next([gate, http(completion())])
    running = asyncio.create_task(one.chat(headers=KEY))
    await alpha.received(1)
    told = await two.chat(headers=KEY)
    gate.set()
    done = await running

    assert (409, "idempotency_in_progress") == told.code
    assert ("2", done.header("Request-Id")) == (told.headers["Retry-After"], original(told))


async def test_without_a_secret_key_this_process_remembers(start_gateway: StartGateway, alpha: RawUpstream) -> None:
    """Nothing is stored unsealed: the process itself repeats the answer, another one only knows that the call was made."""
    one = await start_gateway(security={"secret_key": ""})
    two = await second(start_gateway, one)
    first = await one.chat(headers=KEY)
    await ended(one)
    again, elsewhere = await one.chat(headers=KEY), await two.chat(headers=KEY)

    assert (first.body, "true") == (again.body, again.header("Replayed"))
    assert ((409, "idempotency_answer_lost"), first.header("Request-Id")) == (elsewhere.code, original(elsewhere))
    assert 1 == len(alpha.requests)


async def test_an_answer_that_is_too_long_is_delivered_and_not_kept(
    start_gateway: StartGateway, alpha: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller gets all of it; the key then names the call, and nobody pays twice."""
    monkeypatch.setattr(runs, "Recording", lambda room: Recording(room, 2_000))
    gateway = await start_gateway()
    alpha.next(stream([f"word{number:04}" for number in range(500)]))
    first = await gateway.chat(stream=True, headers=KEY)
    await ended(gateway)
    again = await gateway.chat(stream=True, headers=KEY)

    assert "".join(f"word{number:04}" for number in range(500)) == first.text
    assert ((409, "idempotency_answer_lost"), first.header("Request-Id")) == (again.code, original(again))
    assert (1, 29_540) == (len(alpha.requests), gateway.row().cost)


async def test_who_comes_to_an_answer_that_is_too_long_is_told_so_while_it_runs(
    start_gateway: StartGateway, alpha: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its beginning is gone; the first caller gets the rest."""
    monkeypatch.setattr(runs, "Recording", lambda room: Recording(room, 1_000))
    gateway = await start_gateway()
    gate = asyncio.Event()
    tail = piece(chunk({}, finish="stop") + DONE)
    alpha.next([STREAM_HEAD, piece(said("Hello") * 20), 0.1, piece(said("Hello")), gate, tail, STREAM_END])
    first = await gateway.dial_raw(dialled(gateway, stream=True))
    await alpha.received(1)
    for _ in range(21):
        await first.read_until(b"Hello")
    late = await gateway.chat(stream=True, headers=KEY)
    gate.set()
    await first.read_until(b"[DONE]\n\n")

    assert (409, "idempotency_answer_lost") == late.code
    assert original(late) == gateway.row().request_id


async def test_books_that_are_away_while_the_answer_is_to_be_kept(
    start_gateway: StartGateway, sqlite_database_url: str, book_lock: object, alpha: RawUpstream
) -> None:
    """It is kept as soon as they are back; until then the process that made it answers."""
    gateway = await start_gateway(stall_seconds=0.2)
    gate = asyncio.Event()
    tail = piece(chunk({}, finish="stop", usage=USAGE) + DONE)
    alpha.next([STREAM_HEAD, piece(said("Hello")), gate, tail, STREAM_END])
    calls = asyncio.create_task(gateway.chat(stream=True, headers=KEY))
    await alpha.received(1)
    book_lock.take_after_next_commit(gateway.database)  # type: ignore[attr-defined]
    gate.set()
    first = await calls
    again = await gateway.chat(stream=True, headers=KEY)
    await asyncio.sleep(0.5)
    book_lock.release()  # type: ignore[attr-defined]
    await ended(gateway)
    later = await gateway.chat(stream=True, headers=KEY)

    assert [first.body] * 2 == [again.body, later.body]
    assert 1 == len(alpha.requests)
    gateway.prove()


async def test_a_replay_is_counted_as_one(gateway: Gateway) -> None:
    """Neither its tokens nor its cost a second time."""
    await gateway.chat(headers=KEY)
    await ended(gateway)
    await gateway.chat(headers=KEY)

    assert 1 == await gateway.metric("requests_total", outcome="replayed", code="200")
    assert 1 == await gateway.metric("requests_total", outcome="complete")
    assert 0.000_295_4 == pytest.approx(await gateway.metric("spend_usd_total"))


async def test_stopping_settles_what_runs_without_a_caller(start_gateway: StartGateway, alpha: RawUpstream) -> None:
    """A gateway that stops does not wait for callers who may come back."""
    gateway = await start_gateway(routing={"reconnect_seconds": 60})
    alpha.next([STREAM_HEAD, piece(said("early")), HANG])
    caller = await gateway.dial_raw(dialled(gateway, stream=True))
    await caller.read_until(b"early")
    caller.hang_up(by_reset=True)
    await asyncio.sleep(0.05)
    assert 0 == len(gateway.rows())
    await gateway.process.close()

    assert (["client_left"], 0) == ([row.billing_outcome for row in gateway.rows()], gateway.balance().held)
    assert gateway.balance().balance < CREDIT


async def test_a_packed_answer_is_the_same_unpacked() -> None:
    """Head and every byte."""
    recording = Recording(Room())
    recording.begin(Head(200, (("Content-Type", "text/event-stream"), ("X-Two", "a"), ("X-Two", "b")), True))
    for frame in (b"data: one\n\n", b"\n", b"\xff\x00"):
        await recording.write(frame)
    again = await unpack(pack(recording))

    assert (recording.head, b"data: one\n\n\n\xff\x00", b"") == (
        again.head,
        await (reader := again.read_from()).read(),
        await reader.read(),
    )
