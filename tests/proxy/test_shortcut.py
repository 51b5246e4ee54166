"""The way past the router, and what goes the long way: callers cannot tell them apart."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web

from proxy.shortcut import fold
from tests.gateway import Gateway, chat_body, http_request

BODY = json.dumps(chat_body("Hello")).encode()


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/api/v1/chat/completions",
        "/v1/chat/completions?trace=1",
        "/v1/chat/complet%69ons",
    ],
)
async def test_every_spelling_of_the_path_ends_at_the_same_chain(gateway: Gateway, path: str) -> None:
    """Served, held, settled and told in the same headers, whether the router was asked or not."""
    caller = await gateway.dial_raw(http_request(BODY, gateway.key, path=path, head="Connection: close\r\n"))
    received = (await caller.read_all()).decode()

    assert received.startswith("HTTP/1.1 200 ")
    for field in ("X-FindToken-Request-Id", "X-FindToken-Cost", "X-FindToken-Balance", "X-FindToken-Model"):
        assert 1 == received.count(f"\r\n{field}: "), field
    assert 1 == len(gateway.rows())


async def test_a_refusal_on_the_short_way_is_told_in_full(gateway: Gateway) -> None:
    """Its status, its JSON, and the headers that every answer has."""
    reply = await gateway.send(b"{", headers={})

    assert (400, "invalid_json") == reply.code
    assert reply.headers["X-FindToken-Request-Id"] == reply.error["request_id"]
    assert "find-token" == reply.headers["Server"]


async def test_other_methods_and_paths_go_the_long_way(gateway: Gateway) -> None:
    """And are answered as they always were."""
    method = await gateway.send(b"", method="PUT")
    nowhere = await gateway.send(BODY, path="/v1/chat/completionss")

    assert ((405, "method_not_allowed"), "POST") == (method.code, method.headers["Allow"])
    assert (404, "not_found") == nowhere.code


async def test_a_caller_who_asks_first_is_told_to_go_on(gateway: Gateway) -> None:
    """`Expect: 100-continue` is answered before the body is read."""
    caller = await gateway.dial_raw(
        http_request(b"", gateway.key, head="Expect: 100-continue\r\nConnection: close\r\n").replace(
            b"Content-Length: 0", f"Content-Length: {len(BODY)}".encode()
        )
    )
    assert b"HTTP/1.1 100 Continue\r\n\r\n" == await caller.read_until(b"\r\n\r\n")

    caller.writer.write(BODY)
    assert (await caller.read_all()).startswith(b"HTTP/1.1 200 ")


async def test_the_first_of_a_chain_is_outermost() -> None:
    """Each sees the request before, and the answer after, those behind it."""
    seen: list[str] = []

    def link(name: str) -> Any:
        @web.middleware
        async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
            seen.append(name)
            response: web.StreamResponse = await handler(request)
            seen.append(name.upper())
            return response

        return middleware

    async def end(_request: web.Request) -> web.StreamResponse:
        return web.Response()

    await fold([link("a"), link("b")], end)(None)  # type: ignore[arg-type]

    assert ["a", "b", "B", "A"] == seen
