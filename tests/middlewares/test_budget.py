"""The most a call can cost is held before anybody is called, and what it did cost is taken once, whatever happens."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from typing import Any

import pytest

from middlewares import budget
from storage.accounts import set_status
from tests.fakes.raw_upstream import (
    FIN,
    HANG,
    STREAM_HEAD,
    Answer,
    RawUpstream,
    Received,
    as_asked,
    completion,
    failure,
    http,
    piece,
    said,
    stream,
)
from tests.gateway import BookLock, Gateway, chat_body, http_request


@pytest.mark.parametrize("streaming", [False, True])
async def test_while_a_call_runs_its_most_is_held(streaming: bool, gateway: Gateway, alpha: RawUpstream) -> None:
    """At the dearest candidate that may serve: prompt bytes and `max_tokens` at 1/2 with the fee; afterwards nothing."""
    gate = asyncio.Event()
    alpha.next([gate, *(stream() if streaming else [http(completion())])])
    running = asyncio.create_task(gateway.chat(stream=streaming, max_tokens=1000))
    await alpha.received(1)

    held = gateway.balance()
    gate.set()
    reply = await running

    # 64 for the request, 16 for the message, 5 + 4 bytes: 89 tokens at 1 and 1,000 at 2, with 5.5 %, rounded up.
    assert 220_390 == held.held
    assert 10**9 == held.balance, "what is held still counts as balance"
    if streaming:
        assert held.held == reply.money("Hold")
    gateway.prove()


async def test_n_answers_are_held_n_fold(gateway: Gateway, alpha: RawUpstream) -> None:
    """And a limit under either name counts."""
    gate = asyncio.Event()
    alpha.otherwise = lambda request: [gate, *as_asked()(request)]
    tasks = [
        asyncio.create_task(gateway.chat(model="lonely", **fields))
        for fields in ({"max_tokens": 1000}, {"max_completion_tokens": 1000, "n": 3})
    ]
    await alpha.received(2)
    held = gateway.balance().held
    gate.set()
    await asyncio.gather(*tasks)

    # 89 tokens of prompt at 14 units of 10^-8 USD each, 1,000 or 3,000 at 28, with 5.5 %, each rounded up.
    assert 30_855 + 89_935 == held
    gateway.prove()


async def test_what_is_held_cannot_be_spent_twice(start_gateway: Any, alpha: RawUpstream) -> None:
    """Fifty at once on a balance that affords three: at most three succeed, the upstream saw exactly those."""
    gateway: Gateway = await start_gateway(credit=10**9)
    alpha.otherwise = lambda _request: [
        0.05,
        http(completion(usage={"prompt_tokens": 10, "completion_tokens": 100_000})),
    ]
    replies = await asyncio.gather(*(gateway.chat(model="dear", max_tokens=100_000) for _ in range(50)))

    served = [reply for reply in replies if reply.status == 200]
    assert 1 <= len(served) <= 3
    assert {(402, "insufficient_credits")} == {reply.code for reply in replies if reply.status != 200}
    assert len(served) == len(alpha.requests) == len(gateway.rows())
    assert 10**9 - len(served) * 316_510_550 == gateway.balance().balance
    gateway.prove()


async def test_a_balance_that_does_not_cover_the_limit(start_gateway: Any, alpha: RawUpstream) -> None:
    """402 with the machine fields and the sentence; asking for what it says is affordable then succeeds."""
    gateway: Gateway = await start_gateway(credit=100_000)
    reply = await gateway.chat(model="dear", max_tokens=50_000)

    error = reply.error
    affordable = error["affordable_max_tokens"]
    assert (402, "insufficient_credits", "insufficient_credits", "max_tokens") == (
        reply.status,
        error["type"],
        error["code"],
        error["param"],
    )
    assert ("0.001", "1.58343895") == (error["available_usd"], error["required_usd"])
    assert (
        "This request requires more credits, or fewer max_tokens. "
        f"You requested up to 50000 tokens, but can only afford {affordable}." == error["message"]
    )
    assert ("standard", None, None) == (reply.header("Mode"), reply.header("Cost"), reply.header("Balance"))
    assert 402 == (await gateway.chat(model="dear", max_tokens=affordable + 1)).status
    newer = await gateway.chat(model="dear", max_completion_tokens=50_000)
    assert (402, "max_completion_tokens") == (newer.status, newer.error["param"])
    assert ([], []) == (alpha.requests, gateway.rows())
    assert 200 == (await gateway.chat(model="dear", max_tokens=affordable)).status


async def test_no_credit_at_all(start_gateway: Any, alpha: RawUpstream) -> None:
    """402 also without a limit of the caller's: nothing is affordable, and no field is at fault."""
    gateway: Gateway = await start_gateway(credit=0)
    for streaming in (False, True):
        reply = await gateway.chat(stream=streaming)
        assert (402, "insufficient_credits") == reply.code
        assert (0, "0", None) == (
            reply.error["affordable_max_tokens"],
            reply.error["available_usd"],
            reply.error["param"],
        )
    assert ([], []) == (alpha.requests, gateway.rows())


async def test_a_thin_balance_shortens_the_answer(start_gateway: Any, alpha: RawUpstream) -> None:
    """Without a limit of the caller's, the limit is what the balance covers: sent upstream, told in a header, all held."""
    gateway: Gateway = await start_gateway(credit=100_000)
    alpha.next([http(completion(usage={"prompt_tokens": 89, "completion_tokens": 1}))])
    reply = await gateway.chat(model="dear")

    sent = alpha.requests[0].json["max_tokens"]
    assert str(sent) == reply.header("Max-Tokens")
    # 0.001 USD less 5.5 % and 89 tokens of prompt at 10, at 30 a million.
    assert (100_000 * 1000 // 1055 - 89 * 1000) // 3000 == sent == 1
    gateway.prove(credit=100_000)
    unlimited: Gateway = await start_gateway(database_url=gateway.database_url + "2")
    whole = await unlimited.chat(model="dear")
    assert (None, 100_000) == (whole.header("Max-Tokens"), alpha.requests[1].json["max_tokens"])


async def test_a_thin_balance_passes_over_dear_candidates(
    start_gateway: Any,
    alpha: RawUpstream,
    beta: RawUpstream,
) -> None:
    """It covers the model asked for, but not its dearer stand-in: when the first fails, the second is not called."""
    gateway: Gateway = await start_gateway(credit=50_000)
    alpha.otherwise = lambda _request: failure(503)
    reply = await gateway.chat(max_tokens=1000)

    assert (503, "all_providers_unavailable") == reply.code
    assert (4, []) == (len(alpha.requests), beta.requests)
    assert 50_000 == gateway.balance().available
    gateway.prove(credit=50_000)


async def test_a_stand_in_that_is_affordable_gets_fewer_tokens(
    start_gateway: Any,
    alpha: RawUpstream,
    beta: RawUpstream,
) -> None:
    """Without a limit of the caller's the dearer stand-in stays, with as many tokens as the hold covers there.

    Held is what the model asked for can cost: 89 tokens at 0.14 and 8,192 at 0.28 are 243,307 with the fee.
    """
    gateway: Gateway = await start_gateway(credit=1_000_000)
    alpha.next(failure(503))
    beta.next([http(completion(usage={"prompt_tokens": 89, "completion_tokens": 10}))])
    reply = await gateway.chat()

    sent = beta.requests[0].json["max_tokens"]
    assert 200 == reply.status
    assert str(sent) == reply.header("Max-Tokens")
    assert (243_307 * 1000 // 1055 - 89 * 100) // 200 == sent == 1108
    gateway.prove(credit=1_000_000)


async def test_what_was_held_for_nothing_is_given_back(gateway: Gateway, alpha: RawUpstream) -> None:
    """All circuits open: nothing is tried, nothing held, nothing written."""
    alpha.otherwise = lambda _request: failure(503)
    for _ in range(3):
        await gateway.chat(model="lonely")
    tried, rows = len(alpha.requests), len(gateway.rows())

    reply = await gateway.chat(model="lonely")

    assert (503, "0", "10") == (reply.status, reply.header("Cost"), reply.header("Balance"))
    assert (tried, rows) == (len(alpha.requests), len(gateway.rows()))
    gateway.prove()


async def test_an_account_that_is_deactivated_in_between(gateway: Gateway, alpha: RawUpstream) -> None:
    """The key may still be believed for a moment; the ledger is not that easy to fool. Own keys are no way around."""
    while not gateway.process._keys._cache._kept:
        assert 200 == (await gateway.chat()).status
    served = len(alpha.requests)
    with gateway.database.session() as connection:
        connection.execute("UPDATE account SET status = 'deactivated'")  # As if the revision had not been heard yet.

    replies = [
        await gateway.chat(),
        await gateway.chat(provider_key={"provider": "alpha", "api_key": "some-key-of-ours"}),
    ]

    assert [(403, "account_deactivated")] * 2 == [reply.code for reply in replies]
    assert served == len(alpha.requests)
    with gateway.database.session() as connection:
        set_status(connection, gateway.account_id, "active")
    gateway.prove()


async def test_without_books_nothing_is_called(start_gateway: Any, alpha: RawUpstream, book_lock: BookLock) -> None:
    """503 and not a free answer; afterwards everything goes on without a restart."""
    gateway: Gateway = await start_gateway(stall_seconds=0.1)
    await gateway.chat()
    book_lock.take()
    refused = [await gateway.chat(), await gateway.chat(stream=True)]
    book_lock.release()

    assert [(503, "storage_unavailable")] * 2 == [reply.code for reply in refused]
    assert all("Retry-After" in reply.headers for reply in refused)
    assert 1 == len(alpha.requests)
    assert 200 == (await gateway.chat()).status
    gateway.prove()


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_settlement_is_offered_until_the_books_take_it(
    streaming: bool,
    start_gateway: Any,
    book_lock: BookLock,
) -> None:
    """The last bytes wait for it, and it is charged once."""
    gateway: Gateway = await start_gateway(stall_seconds=0.05)
    book_lock.take_after_next_commit(gateway.database)
    running = asyncio.create_task(gateway.chat(stream=streaming))
    await asyncio.sleep(0.3)
    assert not running.done(), "without a durable charge there is no complete answer"
    book_lock.release()
    reply = await running

    assert 200 == reply.status
    assert "0.0002954" == (reply.bill["cost"] if streaming else reply.header("Cost"))
    assert 29_540 == gateway.row().cost
    gateway.prove()


@pytest.mark.parametrize("streaming", [False, True])
async def test_books_that_stay_away_for_long(
    streaming: bool,
    start_gateway: Any,
    book_lock: BookLock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A plain answer is withheld, and free like every error; a stream ends with an error and without `[DONE]`, and what was
    delivered is charged once the books are back. Both are counted as the log has it."""
    monkeypatch.setattr(budget, "SETTLE_WAIT_SECONDS", 0.1)
    gateway: Gateway = await start_gateway(stall_seconds=0.05)
    book_lock.take_after_next_commit(gateway.database)
    if streaming:
        caller = await gateway.dial(stream=True)
        whole = await caller.read_all()
        caller.hang_up(by_reset=False)
        assert b"there" in whole
        assert 1 == whole.count(b'"code": "storage_unavailable"')
        assert b"what was delivered is charged" in whole
        assert b"[DONE]" not in whole
    else:
        reply = await gateway.chat()
        assert (503, "storage_unavailable") == reply.code
        assert "withheld and not charged" in reply.error["message"]
        assert reply.header("Cost") is None
    assert [] == gateway.rows()
    book_lock.release()

    [row] = await gateway.settled(1)
    expected = (29_540, "complete") if streaming else (0, "failed")
    assert expected == (row.cost, row.billing_outcome)
    assert (200 if streaming else 503) == row.status
    assert ("account" if streaming else "operator") == row.attempts[0].borne_by
    gateway.prove()
    assert row.cost == round(1e8 * await gateway.metric("spend_usd_total"))
    assert 1500 == await gateway.metric("tokens_total")


async def test_a_resumable_stream_and_books_that_stay_away(
    start_gateway: Any, book_lock: BookLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends in the same way, and with its connection."""
    monkeypatch.setattr(budget, "SETTLE_WAIT_SECONDS", 0.1)
    gateway: Gateway = await start_gateway(stall_seconds=0.05)
    book_lock.take_after_next_commit(gateway.database)
    body = json.dumps(chat_body(stream=True)).encode()
    caller = await gateway.dial_raw(http_request(body, gateway.key, head="X-FindToken-Resumable: true\r\n"))
    whole = await caller.read_all()
    caller.hang_up(by_reset=False)
    book_lock.release()

    assert b"\nid: 1\n" in whole
    assert 1 == whole.count(b'"code": "storage_unavailable"')
    assert b"[DONE]" not in whole
    [row] = await gateway.settled(1)
    assert (29_540, "complete") == (row.cost, row.billing_outcome)
    gateway.prove()


async def test_a_caller_who_leaves_while_it_is_settled(
    start_gateway: Any, book_lock: BookLock, alpha: RawUpstream
) -> None:
    """The settlement does not depend on anybody who waits for it, nor do the metrics."""
    gateway: Gateway = await start_gateway(stall_seconds=0.05)
    book_lock.take_after_next_commit(gateway.database)
    caller = await gateway.dial()
    request = await alpha.received(1)
    await request.answered.wait()
    await asyncio.sleep(0.1)
    caller.hang_up(by_reset=True)
    await asyncio.sleep(0.1)
    assert [] == gateway.rows()
    book_lock.release()

    [row] = await gateway.settled(1)
    assert (29_540, "complete") == (row.cost, row.billing_outcome)
    gateway.prove()
    assert 29_540 == round(1e8 * await gateway.metric("spend_usd_total"))


async def test_a_caller_who_left_and_books_that_stay_away(
    start_gateway: Any, book_lock: BookLock, alpha: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is left to be told; what had been delivered is charged all the same."""
    monkeypatch.setattr(budget, "SETTLE_WAIT_SECONDS", 0.1)
    gateway: Gateway = await start_gateway(stall_seconds=0.05)
    alpha.next([STREAM_HEAD, piece(said("Hello")), HANG])
    book_lock.take_after_next_commit(gateway.database)
    caller = await gateway.dial(stream=True)
    await caller.read_until(b"Hello")
    caller.hang_up(by_reset=True)
    await asyncio.sleep(0.4)
    book_lock.release()

    [row] = await gateway.settled(1)
    assert ("client_left", True) == (row.billing_outcome, row.cost > 0)
    gateway.prove()


async def test_what_cannot_be_released_at_once_is_released_later(
    start_gateway: Any,
    alpha: RawUpstream,
    book_lock: BookLock,
) -> None:
    """No hold outlives its call, although the database was away at the moment it was to be given back."""
    gateway: Gateway = await start_gateway(stall_seconds=0.05)
    alpha.otherwise = lambda _request: failure(503)
    for _ in range(3):
        await gateway.chat(model="lonely")
    book_lock.take_after_next_commit(gateway.database)
    reply = await gateway.chat(model="lonely")
    assert 503 == reply.status
    assert gateway.balance().held > 0
    book_lock.release()

    await gateway.settled(3)
    gateway.prove()


async def test_a_caller_who_leaves_while_it_is_held(
    start_gateway: Any, book_lock: BookLock, alpha: RawUpstream
) -> None:
    """Whatever the hold took is given back, and nobody is called."""
    gateway: Gateway = await start_gateway(stall_seconds=2)
    await gateway.chat()
    book_lock.take()
    caller = await gateway.dial()
    await asyncio.sleep(0.1)
    caller.hang_up(by_reset=True)
    await asyncio.sleep(0.1)
    book_lock.release()

    # A call behind it: only when that is over has the hold in question surely been made.
    await gateway.chat()
    await gateway.settled(2)
    assert 2 == len(alpha.requests)
    gateway.prove()


def mixed(turn: int, request: Received) -> Answer:
    """An answer of one of five kinds."""
    small = as_asked(usage={"prompt_tokens": 11, "completion_tokens": 7})
    if turn == 0:
        return [0.01, *small(request)]
    if turn == 1:
        return failure(400)
    if turn == 2:
        return failure(429)
    return [STREAM_HEAD, piece(said("Hello")), 0.01, FIN] if turn == 3 else as_asked()(request)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_mixed_calls_on_both_databases(
    kind: str,
    request: pytest.FixtureRequest,
    start_gateway: Any,
    alpha: RawUpstream,
    beta: RawUpstream,
) -> None:
    """Served, refused, failed, cut, left: what was given less what the log says is the balance, and the metrics agree."""
    gateway: Gateway = await start_gateway(database_url=request.getfixturevalue(f"{kind}_database_url"))
    turns = itertools.cycle(range(5))
    alpha.otherwise = lambda request: mixed(next(turns), request)

    async def leave() -> None:
        caller = await gateway.dial(stream=True)
        await caller.reader.read(10)
        caller.hang_up(by_reset=True)

    for _ in range(4):
        await asyncio.gather(
            *(gateway.chat(stream=number % 2 == 0) for number in range(12)),
            *(gateway.chat(model="nothing") for _ in range(2)),
            leave(),
        )
    async with asyncio.timeout(10):
        while gateway.balance().held or await gateway.metric("streams_open"):
            await asyncio.sleep(0.01)

    rows = gateway.rows()
    assert {"complete"} < {row.billing_outcome for row in rows}
    gateway.prove()
    assert sum(row.cost for row in rows) == round(1e8 * await gateway.metric("spend_usd_total"))
    for kind_of_token in ("prompt", "completion", "cached", "reasoning"):
        expected = sum(getattr(row, f"{kind_of_token}_tokens") for row in rows)
        assert expected == await gateway.metric("tokens_total", kind=kind_of_token), kind_of_token
    attempts = [attempt for row in rows for attempt in row.attempts]
    assert len(attempts) == await gateway.metric("upstream_attempts_total")
    assert sum(one.upstream_cost for one in attempts) == round(1e8 * await gateway.metric("upstream_cost_usd_total"))


async def test_the_billing_log_keeps_what_happened(gateway: Gateway, alpha: RawUpstream, beta: RawUpstream) -> None:
    """Asked for one model, tried, served by another: one line says it all, under the id the caller was told."""
    alpha.next(failure(503, code="overloaded"))
    reply = await gateway.chat(model="vendor/standard", stream=True, path="/api/v1/chat/completions")

    row = gateway.row()
    assert (
        reply.header("Request-Id"),
        "/api/v1/chat/completions",
        "standard",
        "alternative",
        "beta",
        "standard",
        "credits",
        True,
        200,
        "complete",
        "alternative:beta/alternative-upstream@2026-01-01",
    ) == (
        row.request_id,
        row.path,
        row.requested_model,
        row.model,
        row.provider,
        row.mode,
        row.payer,
        row.streamed,
        row.status,
        row.billing_outcome,
        row.price_version,
    )
    assert gateway.balance().balance == row.balance_after
    assert [("alpha", "overloaded", 503, "overloaded", "nobody"), ("beta", "served", 200, "", "account")] == [
        (attempt.provider, attempt.outcome, attempt.status, attempt.code, attempt.borne_by) for attempt in row.attempts
    ]


async def test_a_call_that_hangs_is_settled_when_the_gateway_stops(
    start_gateway: Any,
    alpha: RawUpstream,
) -> None:
    """Closing waits for calls in flight, then ends them: nothing stays held."""
    gateway: Gateway = await start_gateway(server={"shutdown_seconds": 0.1})
    alpha.next([STREAM_HEAD, piece(said("Hello")), HANG])
    caller = await gateway.dial(stream=True)
    await caller.read_until(b"Hello")
    await gateway.process.close()
    caller.hang_up(by_reset=False)

    [row] = gateway.rows()
    assert "client_left" == row.billing_outcome
    gateway.prove()


async def test_nothing_is_logged_as_an_error(
    gateway: Gateway, alpha: RawUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls of every kind are everyday life."""
    caplog.set_level(logging.WARNING)
    alpha.next(failure(400), failure(503), [STREAM_HEAD, piece(said("Hello")), FIN])
    for streaming in (False, True, False, True):
        await gateway.chat(stream=streaming)

    assert [] == caplog.records
