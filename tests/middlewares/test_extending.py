"""What others' middlewares may do to a call, and that nothing they do wrong costs anybody money."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from middlewares.correlate import new_call
from middlewares.extending import Extension, add_header, as_extension, extension, replace_request
from tests.fakes.packages import plant
from tests.fakes.raw_upstream import HANG, RawUpstream, failure
from tests.gateway import Gateway, Reply

BROKEN = '''
import asyncio

from aiohttp import web

from middlewares.errors import Refusal
from middlewares.extending import extension

TASKS = []


def broken(place):
    """Breaks in the way that the header X-Break names for this place."""

    def make():
        async def middleware(request, handler):
            where, _, how = request.headers.get("X-Break", "").partition(" ")
            if where != place:
                return await handler(request)
            return await globals()[how](request, handler)

        return middleware

    return make


outer, middle, tried, inner = (broken(place) for place in ("outer", "middle", "tried", "inner"))


async def raises(request, handler):
    raise KeyError("a mistake")


async def exits(request, handler):
    raise SystemExit(3)


async def cancels_itself(request, handler):
    raise asyncio.CancelledError


async def answers(request, handler):
    return web.Response(text="mine")


async def says_nothing(request, handler):
    return None


async def refuses(request, handler):
    raise Refusal("content_filter", "not in this house")


async def forgets(request, handler):
    TASKS.append(asyncio.ensure_future(handler(request)))
    TASKS[-1].add_done_callback(lambda task: task.exception())
    return web.Response(text="later")


async def leaves(request, handler):
    TASKS.append(asyncio.ensure_future(handler(request)))
    await asyncio.sleep(0.1)
    return web.Response(text="later")


async def is_impatient(request, handler):
    async with asyncio.timeout(0.1):
        return await handler(request)


async def raises_late(request, handler):
    await handler(request)
    raise KeyError("a mistake")


async def refuses_late(request, handler):
    await handler(request)
    raise Refusal("content_filter", "not in this house")


async def answers_late(request, handler):
    await handler(request)
    return web.Response(text="mine")


async def forgets_the_answer(request, handler):
    await handler(request)


async def goes_twice(request, handler):
    await handler(request)
    return await handler(request)


async def tries_again(request, handler):
    try:
        return await handler(request)
    except Exception:
        return await handler(request)


async def swallows(request, handler):
    try:
        return await handler(request)
    except Exception:
        return web.Response(text="all is well")
'''
PLACES = ("outer", "middle", "tried", "inner")
CHAIN = ["auth", "outer", "rate_limit", "byok", "budget", "middle", "routing", "tried", "metering", "headers", "inner"]


@pytest.fixture
async def broken(start_gateway: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Gateway:
    """A gateway with a middleware that breaks as it is told, at four places of the chain."""
    plant(monkeypatch, tmp_path, BROKEN, *PLACES)
    gateway: Gateway = await start_gateway(middlewares=CHAIN)
    return gateway


async def ask(gateway: Gateway, place: str, how: str, **fields: Any) -> Reply:
    """A call during which the middleware at ``place`` breaks so."""
    return await gateway.chat(headers={"X-Break": f"{place} {how}"}, model="lonely", **fields)


@pytest.mark.parametrize("place", PLACES)
async def test_what_breaks_before_the_call_costs_nothing(broken: Gateway, alpha: RawUpstream, place: str) -> None:
    """500 in our shape, or the refusal that was raised; nobody was called, nothing is held, nothing is written down."""
    told = {
        how: (await ask(broken, place, how, stream=stream)).code
        for how in ("raises", "exits", "cancels_itself", "answers", "says_nothing", "forgets", "refuses")
        for stream in (False, True)
    }

    assert {"refuses": (400, "content_filter")} == {how: told.pop(how) for how in ("refuses",)}
    assert {(500, "server_error")} == set(told.values())
    assert ([], []) == (alpha.requests, broken.rows())
    broken.prove()


@pytest.mark.parametrize("place", PLACES)
async def test_what_breaks_after_the_call_changes_nothing(broken: Gateway, alpha: RawUpstream, place: str) -> None:
    """The answer is paid for, so its caller gets it, plain or streamed; it was asked for once."""
    ways = ("raises_late", "refuses_late", "answers_late", "forgets_the_answer", "goes_twice")
    replies = [await ask(broken, place, how, stream=stream) for how in ways for stream in (False, True)]

    assert {200} == {reply.status for reply in replies}
    assert 1 == len({reply.text for reply in replies})
    assert 2 * len(ways) == len(alpha.requests) == len(await broken.settled(2 * len(ways)))
    assert all(row.cost for row in broken.rows())
    broken.prove()


async def test_an_error_stays_the_error_that_it_was(broken: Gateway, alpha: RawUpstream) -> None:
    """Whoever swallows it, or tries again, changes nothing of what the caller is told and the provider was asked."""
    alpha.otherwise = lambda _request: failure(400)
    told = [(await ask(broken, place, how)).code for place in PLACES for how in ("swallows", "tries_again")]

    assert {(400, "invalid_value")} == set(told)
    assert len(told) == len(alpha.requests)
    broken.prove()


@pytest.mark.parametrize("how", ["leaves", "is_impatient"])
async def test_who_does_not_wait_ends_the_call(broken: Gateway, alpha: RawUpstream, how: str) -> None:
    """The call ends as one whose caller left: nothing goes on behind a hold that has been given back."""
    for number, place in enumerate(PLACES, start=1):
        alpha.next([HANG])
        reply = await ask(broken, place, how)

        assert (500, "server_error") == reply.code
        await alpha.requests[-1].caller_left.wait()
        await broken.settled(number)
    assert len(PLACES) == len(alpha.requests)
    broken.prove()


async def test_a_mistake_at_the_second_candidate_is_not_told_of_the_first(
    start_gateway: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """Whoever breaks before the second attempt has called anybody adds no attempt: the first stands once, and is free."""
    source = """
from middlewares.call import CALL

def second():
    async def middleware(request, handler):
        if request[CALL].attempts:
            raise KeyError("a mistake")
        return await handler(request)
    return middleware
"""
    plant(monkeypatch, tmp_path, source, "second")
    alpha.otherwise = lambda _request: failure(503)
    gateway: Gateway = await start_gateway(middlewares=[*CHAIN[:1], *CHAIN[2:5], "routing", "second", *CHAIN[-3:-1]])

    reply = await gateway.chat()

    assert (500, "server_error") == reply.code
    assert ["alpha"] == [attempt.provider for attempt in gateway.row().attempts]
    assert [] == beta.requests
    gateway.prove()


async def test_what_a_middleware_may_do(
    start_gateway: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, alpha: RawUpstream
) -> None:
    """Add headers to every kind of answer, also to refusals, and put another request in the place of the caller's, which is
    what is held for, sent and charged."""
    source = """
from middlewares.call import CALL
from middlewares.extending import add_header, extension, replace_request

@extension(needs=("request",))
def shorten(*, words):
    async def middleware(request, handler):
        call = request[CALL]
        add_header(call, "X-House", "short")
        said = call.request["messages"][0]["content"].split()[:words]
        replace_request(call, call.request | {"messages": [{"role": "user", "content": " ".join(said)}], "max_tokens": 7})
        return await handler(request)
    return middleware
"""
    plant(monkeypatch, tmp_path, source, "shorten")
    chain = ["auth", "rate_limit", "shorten", *CHAIN[3:5], "routing", "metering", "headers"]
    gateway: Gateway = await start_gateway(middlewares=chain, extensions={"shorten": {"words": 2}})

    replies = [await gateway.chat("one two three", stream=stream, stream_options=None) for stream in (False, True)]
    refused = await gateway.chat("one two three", model="dear", n=9, provider={"only": ["nobody"]})

    assert [(200, "short")] * 2 == [(reply.status, reply.headers["X-House"]) for reply in replies]
    assert (400 <= refused.status, "short") == (True, refused.headers["X-House"])
    sent = [request.json for request in alpha.requests]
    assert [("one two", 7)] * 2 == [(body["messages"][0]["content"], body["max_tokens"]) for body in sent]
    gateway.prove()


def test_what_an_entry_point_may_name() -> None:
    """An extension, a factory, or a middleware without settings; nothing else."""

    async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
        raise NotImplementedError

    def factory() -> Any:
        return middleware

    declared = extension(needs=("request",), afterwards=("cost",))(factory)

    assert Extension(factory, ("request",), ("cost",)) == declared == as_extension(declared)
    assert Extension(factory) == as_extension(factory)
    assert middleware is as_extension(middleware).make()
    for other in ("auth", Extension, None):
        with pytest.raises(TypeError, match="not a factory of a middleware"):
            as_extension(other)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Content-Type", "text/plain"),
        ("X-FindToken-Cost", "0"),
        ("x-request-id", "mine"),
        ("X-RateLimit-Limit", "1"),
        ("X-Tag\r\nX-Other", "1"),
        ("X-", "1"),
        ("X-Tag", "one\r\nSet-Cookie: two"),
        ("X-Tag", "ü"),
        ("X-Tag", "x" * 201),
    ],
)
def test_headers_that_cannot_be_added(name: str, text: str) -> None:
    """Neither the gateway's own nor what would end a header early, and not any number of them."""
    call = new_call()
    with pytest.raises(ValueError):
        add_header(call, name, text)
    assert () == call.extra_headers


def test_headers_have_a_number() -> None:
    """Eight may be added to an answer."""
    call = new_call()
    for number in range(8):
        add_header(call, f"X-Tag-{number}", "1")
    with pytest.raises(ValueError, match="at most 8"):
        add_header(call, "X-Tag-9", "1")


def test_a_request_that_cannot_be_put_in_its_place() -> None:
    """What is decided stays decided, what no caller could send is not sent, and after the hold it is too late."""
    call = new_call()
    call.request = {"model": "standard", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    changes: list[dict[str, Any]] = [
        {"model": "dear"},
        {"stream": False},
        {"stream_options": {"include_usage": True}},
        {"messages": []},
        {"max_tokens": -1},
        {"api_key": "sk-1"},
        {"provider_key": {}},
    ]
    for change in changes:
        with pytest.raises(ValueError):
            replace_request(call, {**call.request, **change})
    replace_request(call, {**call.request, "max_tokens": 5})
    call.hold = 0
    with pytest.raises(ValueError, match="stand before 'budget'"):
        replace_request(call, call.request)
    assert 5 == call.request["max_tokens"]


def test_of_embeddings_the_input_alone_can_be_replaced() -> None:
    """With what a caller could have sent."""
    call = new_call()
    call.request = {"model": "text", "input": ["one", "two"], "dimensions": 8}
    for change in ({"dimensions": 9}, {"input": []}, {"messages": [{"role": "user", "content": "x"}]}, {"input": 7}):
        with pytest.raises(ValueError):
            replace_request(call, {**call.request, **change})
    replace_request(call, {**call.request, "input": "one"})
    assert {"model": "text", "input": "one", "dimensions": 8} == call.request
