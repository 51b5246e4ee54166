"""Every request has an id of ours, whatever becomes of it."""

from __future__ import annotations

import re

import aiohttp
from aiohttp import web

from middlewares.call import CALL
from middlewares.correlate import correlate, new_request_id
from tests.gateway import Gateway, serving


def test_ids_are_unique_and_sort_by_time() -> None:
    """`req_` and 28 hex digits, the first twelve of them milliseconds."""
    ids = [new_request_id() for _ in range(2000)]

    assert len(ids) == len(set(ids))
    assert all(re.fullmatch("req_[0-9a-f]{28}", one) for one in ids)
    assert sorted(one[:16] for one in ids) == [one[:16] for one in ids]


async def test_every_answer_carries_the_id_under_all_its_names(gateway: Gateway) -> None:
    """Ours, OpenRouter's and OpenAI's; served, refused, unknown path, wrong method: header and error object agree."""
    served = await gateway.chat()
    refused = await gateway.send(b"no json")
    unknown = await gateway.get("/v1/nothing-here")
    wrong_method = await gateway.get("/v1/chat/completions")

    replies = (served, refused, unknown, wrong_method)
    ids = [reply.header("Request-Id") for reply in replies]
    assert 4 == len({*ids})
    assert None not in ids
    for name in ("X-Generation-Id", "X-Request-Id"):
        assert ids == [reply.headers[name] for reply in replies]
    assert ids[1:] == [reply.error["request_id"] for reply in replies[1:]]
    assert [ids[0]] == [row.request_id for row in gateway.rows()]


async def test_nobody_else_chooses_the_id(gateway: Gateway) -> None:
    """It names a hold and a bill, so one that the caller sends is not taken."""
    sent = "req_00000000000000000000000000aa"
    first, second = [
        await gateway.chat(headers={"X-Request-Id": sent, "X-FindToken-Request-Id": sent}) for _ in range(2)
    ]

    assert sent not in (first.header("Request-Id"), second.header("Request-Id"))
    assert 2 == len(gateway.rows())


async def test_facts_that_may_stay_empty_are_empty_from_the_start() -> None:
    """What a refusal's headers and metrics look at can be read although nobody decided it."""
    seen: dict[str, object] = {}
    empty = ("stream", "cost", "balance", "hold", "max_tokens_clamp", "offer", "mode", "limit_state", "answer", "bill")

    async def look(request: web.Request) -> web.StreamResponse:
        call = request[CALL]
        seen.update({name: getattr(call, name) for name in (*empty, "attempts", "shown")})
        return web.Response()

    application = web.Application(middlewares=[correlate()])
    application.router.add_get("/", look)
    async with serving(application) as url, aiohttp.ClientSession() as session, session.get(url):
        pass

    assert {**dict.fromkeys(empty), "attempts": [], "shown": False} == seen
