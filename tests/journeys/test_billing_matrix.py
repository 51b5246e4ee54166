"""The billing matrix of docs/billing.md over a real wire, for callers who stay to the end: who pays, to the last digit.

One test for each row, called `test_row_` and its name; on SQLite and PostgreSQL. Every one ends with books that agree, in
five seconds, and with nothing held.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from billing.money import UNITS_PER_USD
from storage.identifiers import now_microseconds
from storage.ledger import Ledger
from tests.fakes.raw_upstream import (
    DONE,
    FIN,
    HANG,
    RST,
    STREAM_HEAD,
    Answer,
    RawUpstream,
    chunk,
    completion,
    failure,
    http,
    piece,
    said,
    stream,
    streamed,
)
from tests.gateway import CREDIT, Gateway, chat_body, http_request
from tests.journeys.books import Books
from tests.journeys.charges import (
    ALTERNATIVE,
    DEAR,
    STANDARD,
    books_locked,
    borne,
    costs,
    ended,
    free,
    left,
    paid,
    provider_costs,
    told,
    usage,
)
from tests.journeys.mix import settings_text

StartGateway = Callable[..., Awaitable[Gateway]]

BROKEN_EVENT = b'data: {"error":{"message":"boom","code":"500"}}\n\n'
PROMPT_ONLY = usage(5000, 0)
"""What S-039 has a provider report that produced nothing."""


async def test_row_refused_before_any_call(
    database_url: str, start_gateway: StartGateway, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """401, 402, 404, 400 and 429: no provider sees it, nothing is held or charged, and it leaves no line."""
    gateway = await start_gateway(database_url=database_url, credit=UNITS_PER_USD, limits={"requests_per_minute": 4})
    replies = [
        await gateway.chat(headers={"Authorization": "Bearer sk-ft_nobody"}),
        await gateway.chat(model="dear", max_tokens=100_000),
        await gateway.chat(model="no-such-model"),
        await gateway.chat(max_tokens=0),
        await gateway.send(b'{"model":"standard","model":"standard","messages":[]}'),
        await gateway.chat(),
    ]

    assert [401, 402, 404, 400, 400, 429] == [reply.status for reply in replies]
    assert [None] * 6 == [reply.headers.get("X-FindToken-Cost") for reply in replies]
    assert ([], [], []) == (alpha.requests, beta.requests, gateway.rows())
    assert (UNITS_PER_USD, 0) == (gateway.balance().balance, gateway.balance().held)
    gateway.prove(credit=UNITS_PER_USD)


FAILURES: dict[str, tuple[bool, Answer, int]] = {
    "an error": (False, failure(503), 0),
    "an error in a 200": (False, [http({"error": {"message": "no", "code": "500"}, "usage": usage(9, 9)})], 378),
    "no choices, but usage": (False, [http({"choices": [], "usage": usage(1000, 500)})], 28_000),
    "gave up": (False, [http(completion(None, usage=PROMPT_ONLY, finish="error"))], 70_000),
    "no JSON": (False, [http(b"<html>")], 0),
    "a stream of nothing": (True, streamed(chunk({}, usage=PROMPT_ONLY), DONE), 70_000),
    "a stream that gave up": (True, streamed(chunk({}, finish="error", usage=PROMPT_ONLY), DONE), 70_000),
    "a reset": (True, [STREAM_HEAD, RST], 0),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_row_failed_over(
    name: str, database_url: str, start_gateway: StartGateway, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """The account pays the model that answered at that model's price; what the failed attempt reported is the operator's."""
    streaming, answer, cost = FAILURES[name]
    gateway = await start_gateway(database_url=database_url)
    alpha.next(answer)
    report = usage(1000, 1000)
    beta.next(stream(usage=report) if streaming else [http(completion(usage=report))])
    reply = await gateway.chat(stream=streaming)

    row = await ended(gateway)
    assert (200, "alternative") == (reply.status, reply.header("Model"))
    assert ("standard", "alternative", "beta") == (row.requested_model, row.model, row.provider)
    assert paid(316_500) == paid(costs(1000, 1000, ALTERNATIVE)) == told(row)
    failed, served = borne(row)
    assert ("alpha", cost, "operator" if cost else "nobody") == failed
    assert ("beta", provider_costs(1000, 1000, ALTERNATIVE), "account") == served


async def test_row_all_failed(database_url: str, start_gateway: StartGateway, alpha: RawUpstream) -> None:
    """Nothing is charged, however often it was tried; each attempt has its row, and what it reported is the operator's."""
    gateway = await start_gateway(database_url=database_url)
    alpha.otherwise = lambda _request: failure(503)
    refused = await gateway.chat(model="lonely")

    row = await ended(gateway)
    assert (503, free("failed", None)) == (refused.status, told(row))
    assert [("alpha", 0, "nobody")] * 4 == borne(row)

    unreadable: Answer = [http({"choices": [], "usage": usage(1000, 500)})]
    alpha.next(unreadable, unreadable)
    reply = await gateway.chat(model="dear")
    row = await ended(gateway, 2)
    assert (502, free("failed")) == (reply.status, told(row))
    assert [("alpha", provider_costs(1000, 500, DEAR), "operator")] * 2 == borne(row)


@pytest.mark.parametrize("streaming", [False, True])
async def test_row_complete(
    streaming: bool, database_url: str, start_gateway: StartGateway, alpha: RawUpstream
) -> None:
    """The provider's last word is what is paid: snapshots before it are not added up. It is asked for usage, whether the
    caller wants to see it or not, and who did not ask does not see it."""
    gateway = await start_gateway(database_url=database_url)
    snapshots = [chunk({"content": "word"}, usage=usage(1000, count)) for count in (1, 2, 3)]
    end = [chunk({}, finish="stop"), chunk(None, usage=usage(1000, 500)), DONE]
    answer = streamed(*snapshots, *end) if streaming else [http(completion(usage=usage(1000, 500)))]
    alpha.next(answer, answer)
    reply = await gateway.chat(stream=streaming)

    row = await ended(gateway)
    assert paid(29_540) == paid(costs(1000, 500)) == told(row)
    assert [("alpha", provider_costs(1000, 500), "account")] == borne(row)
    if not streaming:
        assert 29_540 == reply.money("Cost")
        return
    assert ("0.0002954", True) == (reply.bill["cost"], all(one["choices"] for one in reply.chunks))
    assert alpha.requests[0].json["stream_options"] == {"include_usage": True}
    asked = await gateway.chat(stream=True, stream_options={"include_usage": True})
    assert [0.0002954] == [one["usage"]["cost"] for one in asked.chunks if not one["choices"]]
    assert paid(29_540) == told(await ended(gateway, 2))


@pytest.mark.parametrize("streaming", [False, True])
async def test_row_complete_without_usage(
    streaming: bool, database_url: str, start_gateway: StartGateway, alpha: RawUpstream
) -> None:
    """Neither free nor all at the output's price: a token per four bytes, the prompt's at the input price, marked."""
    gateway = await start_gateway(database_url=database_url)
    words = ["word "] * 200
    alpha.next(stream(words, usage=None) if streaming else [http(completion("".join(words), usage=None))])
    await gateway.chat("p" * 3996, stream=streaming)

    row = await ended(gateway)
    # "user" was sent as well: 4,000 bytes.
    assert (1000, 250) == (row.prompt_tokens, row.completion_tokens)
    assert paid(costs(1000, 250), source="estimated") == told(row)
    assert [("alpha", provider_costs(1000, 250), "account")] == borne(row)


BREAKS: dict[str, list[Any]] = {
    "reset": [RST],
    "end without a finish": [FIN],
    "error event": [piece(BROKEN_EVENT), HANG],
    "silence": [HANG],
}


@pytest.mark.parametrize("reported", [False, True])
@pytest.mark.parametrize("name", BREAKS)
async def test_row_cut_by_provider(
    name: str, reported: bool, database_url: str, start_gateway: StartGateway, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """After 40 deltas: an error chunk and no `[DONE]`, nobody else is asked, nothing is charged, the operator bears it."""
    gateway = await start_gateway(database_url=database_url, routing={"silence_timeout_seconds": 0.2})
    words = [piece(said("word")) for _ in range(39)]
    last = piece(chunk({"content": "word"}, usage=usage(1000, 40) if reported else None))
    alpha.next([STREAM_HEAD, *words, last, *BREAKS[name]])
    reply = await gateway.chat("p" * 396, stream=True)

    row = await ended(gateway)
    assert ("word" * 40, "error") == (reply.text, reply.chunks[-1]["choices"][0]["finish_reason"])
    assert ([], True) == (beta.requests, "[DONE]" not in reply.events)
    assert free("cut_by_provider", "provider" if reported else "estimated", estimated=not reported) == told(row)
    assert [("alpha", provider_costs(1000 if reported else 100, 40), "operator")] == borne(row)
    if BREAKS[name][-1] is HANG:
        await left(alpha.requests[0])


NOTHINGS: dict[str, tuple[bool, Answer, str, int]] = {
    "no finish": (False, [http(completion(None, usage=PROMPT_ONLY, finish=None))], "nothing_produced", 1),
    "finish error": (False, [http(completion(None, usage=PROMPT_ONLY, finish="error"))], "failed", 4),
    "empty body": (False, [http(b"")], "failed", 2),
    "empty stream": (True, streamed(DONE), "failed", 2),
    "stream without a finish": (True, streamed(chunk({}, usage=PROMPT_ONLY), DONE), "failed", 2),
}


@pytest.mark.parametrize("name", NOTHINGS)
async def test_row_nothing_produced(
    name: str, database_url: str, start_gateway: StartGateway, alpha: RawUpstream
) -> None:
    """Whatever the provider reports for it, the account does not pay for an answer without any output."""
    streaming, answer, outcome, attempts = NOTHINGS[name]
    gateway = await start_gateway(database_url=database_url)
    alpha.otherwise = lambda _request: answer
    await gateway.chat(model="lonely", stream=streaming)

    row = await ended(gateway)
    reported = "empty" not in name
    assert free(outcome, "provider" if reported else None) == told(row)
    one = ("alpha", provider_costs(5000, 0), "operator") if reported else ("alpha", 0, "nobody")
    assert [one] * attempts == borne(row)


@pytest.mark.parametrize("streaming", [False, True])
async def test_row_usage_above_hold(
    streaming: bool, database_url: str, start_gateway: StartGateway, alpha: RawUpstream
) -> None:
    """S-005: a provider that ignores `max_tokens`: the hold is taken and no more, the rest is absorbed, marked and counted."""
    gateway = await start_gateway(database_url=database_url)
    report = usage(10, 1_000_000)
    alpha.next(stream(usage=report) if streaming else [http(completion(usage=report))])
    await gateway.chat(model="dear", max_tokens=1000, stream=streaming)

    row = await ended(gateway)
    # 5 bytes of "Hello", 4 of "user", and the allowance of 16 for a message and 64 for a request.
    hold = costs(89, 1000, DEAR)
    rest = costs(10, 1_000_000, DEAR) - hold
    assert ("complete", "provider", False, True, hold, rest) == told(row)
    assert hold == row.held
    assert [("alpha", provider_costs(10, 1_000_000, DEAR), "account")] == borne(row)
    assert rest == round(UNITS_PER_USD * await gateway.metric("absorbed_usd_total"))


REFUSALS: dict[str, dict[str, Any]] = {
    "content filter": {"text": "", "finish": "content_filter", "usage": usage(5000, 0)},
    "refusal in words": {"text": "I cannot help with that.", "finish": "stop", "usage": usage(5000, 7)},
    "nothing, properly ended": {"text": "", "finish": "stop", "usage": usage(5000, 0)},
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", REFUSALS)
async def test_row_refusal_with_finish(
    name: str, streaming: bool, database_url: str, start_gateway: StartGateway, alpha: RawUpstream
) -> None:
    """The prompt was read and the provider says that it is done: what it reports is paid, to the digit."""
    case = REFUSALS[name]
    gateway = await start_gateway(database_url=database_url)
    words = [case["text"]] if case["text"] else []
    plain = completion(case["text"], usage=case["usage"], finish=case["finish"])
    alpha.next(stream(words, usage=case["usage"], finish=case["finish"]) if streaming else [http(plain)])
    reply = await gateway.chat(stream=streaming)

    row = await ended(gateway)
    completion_tokens = case["usage"]["completion_tokens"]
    assert (200, paid(costs(5000, completion_tokens))) == (reply.status, told(row))
    assert [("alpha", provider_costs(5000, completion_tokens), "account")] == borne(row)


async def test_row_byok(database_url: str, start_gateway: StartGateway, alpha: RawUpstream) -> None:
    """A failed call takes none of the free ones; the delivered one is free, the next costs 5 % of the list price. What the
    provider charges is its key's owner's, so nobody here bears anything."""
    gateway = await start_gateway(database_url=database_url, billing={"byok_free_requests_per_month": 1})
    own = {"provider_key": {"provider": "alpha", "api_key": "own-key-0123456789"}}
    alpha.next(failure(400, "no"), stream(), [http(completion())])
    replies = [await gateway.chat(model="lonely", stream=streaming, **own) for streaming in (False, True, False)]

    rows = gateway.rows()
    assert [400, 200, 200] == [reply.status for reply in replies]
    assert [free("failed", None), paid(0), paid(costs(1000, 500, STANDARD, "0.05"))] == [told(row) for row in rows]
    assert 1400 == rows[2].cost == rows[2].fee == replies[2].money("Cost")
    assert [[("alpha", 0, "nobody")]] * 3 == [borne(row) for row in rows]
    assert {"byok"} == {row.mode for row in rows}
    assert "Bearer own-key-0123456789" == alpha.requests[1].headers["authorization"]
    await ended(gateway, 3)


async def test_row_gateway_died(
    sqlite_database_url: str,
    tmp_path: Path,
    alpha: RawUpstream,
    start_command: Callable[..., AbstractContextManager[Any]],
) -> None:
    """`kill -9` in the middle of an answer: its hold is given back by another process, and its line says that it is free."""
    books = Books(sqlite_database_url)
    [(_, key)] = books.open_account(CREDIT)
    (tmp_path / "catalogue.toml").write_text(
        f'[providers.alpha]\ndialect = "openai"\nbase_url = "{alpha.url}"\nkeys = ["alpha-key-0123"]\n'
        '[models.standard]\nprovider = "alpha"\ncontext = 1000\nmax_output = 100\n'
        "[[models.standard.prices]]\nfrom = 2026-01-01\ninput = 0.14\noutput = 0.28\n"
    )
    settings = tmp_path / "find-token.toml"
    server = {"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0"}
    settings.write_text('catalogue = "catalogue.toml"\n\n' + settings_text(sqlite_database_url, server=server))
    alpha.next([STREAM_HEAD, piece(said("Hello")), HANG])
    with start_command(tmp_path, "serve", "--config", str(settings)) as running:
        reader, writer = await _ask(running.told["url"], key)
        await reader.readuntil(b"Hello")
        assert 0 < books.balance().held
        running.process.kill()
        assert -signal.SIGKILL == await asyncio.to_thread(running.process.wait)
        writer.close()
    await books.database.start()
    try:
        ledger = Ledger(books.database, owner="another process")
        await ledger.heartbeat()
        await ledger.sweep(now_microseconds(), dead_after_seconds=0)
    finally:
        await books.database.close()

    [row] = books.rows()
    assert (free("gateway_died", None), []) == (told(row), borne(row))
    assert 0 == books.prove()


async def _ask(url: str, key: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(http_request(json.dumps(chat_body(stream=True)).encode(), key))
    return reader, writer


async def test_a_delivered_answer_is_charged_once_when_the_books_are_back(
    database_url: str, start_gateway: StartGateway, alpha: RawUpstream
) -> None:
    """Its text had reached the caller when the books went away: the last bytes wait for them, and it is paid in full, once."""
    gateway = await start_gateway(database_url=database_url)
    gate = asyncio.Event()
    alpha.next([STREAM_HEAD, piece(said("Hello")), gate, *stream([" there"])[1:]])
    caller = await gateway.dial(stream=True)
    await caller.read_until(b"Hello")
    with books_locked(gateway):
        gate.set()
        await caller.read_until(b" there")
        began = time.monotonic()
        await asyncio.sleep(0.3)
        assert [] == gateway.rows()
    rest = await caller.read_until(b"data: [DONE]\n\n")

    assert 0.3 <= time.monotonic() - began
    assert b"cost=0.0002954 " in rest
    assert paid(29_540) == told(await ended(gateway))
