"""How often and how many at once: each account has its own limits, and what is refused costs nothing."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from metrics.instruments import Instruments
from middlewares.call import CALL
from middlewares.correlate import new_call
from middlewares.errors import Refusal
from middlewares.rate_limit import rate_limit
from storage.keys import KeyHolder, KeyTerms
from storage.limits import Limits, LocalLimits
from tests.fakes.raw_upstream import HANG, RawUpstream, completion, failure, http
from tests.gateway import PATH, Gateway


async def test_a_burst_over_the_limit(start_gateway: Any, alpha: RawUpstream) -> None:
    """300 at once at 60 a minute: 60 are served (a few more only if it takes seconds), the others 429, free and uncalled."""
    gateway: Gateway = await start_gateway(limits={"requests_per_minute": 60})
    loop = asyncio.get_running_loop()
    started = loop.time()
    replies = await asyncio.gather(*(gateway.chat() for _ in range(300)))
    refilled = int(loop.time() - started) + 1

    served = [reply for reply in replies if reply.status == 200]
    refused = [reply for reply in replies if reply.status != 200]
    assert 60 <= len(served) <= 60 + refilled
    assert {(429, "rate_limit_exceeded")} == {reply.code for reply in refused}
    assert {"rate_limit_error"} == {reply.error["type"] for reply in refused}
    assert all(int(reply.headers["Retry-After"]) >= 1 for reply in refused)
    assert len(served) == len(alpha.requests) == len(gateway.rows())
    assert len(refused) == await gateway.metric("rate_limited_total")
    assert len(refused) == await gateway.metric("requests_total", code="429", outcome="refused")
    gateway.prove()


async def test_what_the_headers_say(start_gateway: Any) -> None:
    """Limit, what is left, seconds until all are back: on served and on refused calls."""
    gateway: Gateway = await start_gateway(limits={"requests_per_minute": 2})
    replies = [await gateway.chat() for _ in range(3)]

    told = [[reply.headers[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining")] for reply in replies]
    assert [["2", "1"], ["2", "0"], ["2", "0"]] == told
    assert ["30", "60", "60"] == [reply.headers["X-RateLimit-Reset"] for reply in replies]
    assert (429, "30") == (replies[2].status, replies[2].headers["Retry-After"])
    assert None is replies[2].header("Mode")


async def test_every_account_has_its_own_limit_and_strangers_have_none(start_gateway: Any) -> None:
    """A neighbour's calls do not count, nor do those with a wrong key; all keys of one account count together."""
    gateway: Gateway = await start_gateway(limits={"requests_per_minute": 1})
    _, other = gateway.new_account("bob")
    wrong = await gateway.chat(headers={"Authorization": "Bearer sk-ft_nonsense"})
    own, neighbour, again = (
        await gateway.chat(),
        await gateway.chat(headers={"Authorization": f"Bearer {other}"}),
        await gateway.chat(),
    )

    assert [401, 200, 200, 429] == [reply.status for reply in (wrong, own, neighbour, again)]
    assert "X-RateLimit-Limit" not in wrong.headers
    assert 200 == (await gateway.get("/v1/models")).status, "other routes are not limited"


async def test_so_many_at_once_and_no_more(start_gateway: Any, alpha: RawUpstream) -> None:
    """The third of three at once is refused; one that ends, or fails, or whose caller leaves, makes room."""
    gateway: Gateway = await start_gateway(limits={"concurrent_requests": 2})
    gate = asyncio.Event()
    alpha.next([gate, http(completion())], [gate, *failure(400)])
    running = [asyncio.create_task(gateway.chat()) for _ in range(2)]
    await alpha.received(2)

    refused = await gateway.chat()

    assert (429, "concurrency_limit_exceeded") == refused.code
    assert "1" == refused.headers["Retry-After"]
    assert "X-RateLimit-Limit" not in refused.headers, "without a rate limit there is nothing to tell of it"
    assert 1 == await gateway.metric("rate_limited_total")
    gate.set()
    assert [200, 400] == sorted([(await one).status for one in running])
    alpha.next([HANG], [HANG])
    leaving = [await gateway.dial() for _ in range(2)]
    await alpha.received(4)
    for caller in leaving:
        caller.hang_up(by_reset=True)
    await gateway.settled(4)
    assert 200 == (await gateway.chat()).status


async def test_a_caller_who_waits_as_told_is_served(start_gateway: Any) -> None:
    """`Retry-After` is true: exactly that long is enough, and the refused calls before it did not make it longer."""
    gateway: Gateway = await start_gateway(limits={"requests_per_minute": 30})
    replies = await asyncio.gather(*(gateway.chat() for _ in range(33)))
    refused = [reply for reply in replies if reply.status == 429]
    waits = {int(reply.headers["Retry-After"]) for reply in refused}
    assert waits, replies
    assert waits <= {1, 2}

    await asyncio.sleep(max(waits))

    assert 200 == (await gateway.chat()).status


async def test_a_key_can_have_limits_of_its_own() -> None:
    """Beside those of its account: the tighter one refuses, says so, and is what the headers tell."""
    terms = {"key_1": KeyTerms(requests_per_minute=1), "key_2": KeyTerms()}
    link = rate_limit(LocalLimits(), Limits(requests_per_minute=3), Instruments("0"))

    async def end(_request: web.Request) -> web.StreamResponse:
        return web.Response()

    async def ask(key_id: str) -> tuple[str | None, tuple[int, int, float] | None]:
        request = make_mocked_request("POST", PATH)
        call = request[CALL] = new_call()
        call.account_id, call.key_id, call.key = (
            "acc",
            key_id,
            KeyHolder(key_id, "acc", "test", "active", None, None, terms[key_id]),
        )
        try:
            await link(request, end)
        except Refusal as refusal:
            return refusal.problem.message, call.limit_state
        return None, call.limit_state

    first, second = await ask("key_1"), await ask("key_1")
    others = [await ask("key_2") for _ in range(3)]

    assert (None, (1, 0)) == (first[0], (first[1] or ())[:2])
    assert second[0] is not None
    assert "1 requests a minute for this key" in second[0]
    assert [None, None] == [sentence for sentence, _ in others[:2]]
    assert "3 requests a minute for this account" in str(others[2][0])
