"""The proxies as deploy/ configures them: a node learns from where a caller comes, and nobody can make it up."""

from __future__ import annotations

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from console.sign_in_desk import client_of
from tests.fakes.front_proxies import running_haproxy, running_nginx


async def tell(request: web.Request) -> web.Response:
    """Who asks, where one proxy is trusted."""
    return web.Response(text=client_of(request, trusted_proxies=1))


async def test_a_node_behind_them_learns_who_asks() -> None:
    """With sign_in.trusted_proxies = 1: what the proxy saw counts, and not what a caller said."""
    node = web.Application()
    node.router.add_get("/{path:.*}", tell)
    async with TestServer(node) as server, aiohttp.ClientSession() as session:
        assert server.port is not None
        with running_haproxy([(server.port, server.port)] * 3) as haproxy, running_nginx([server.port] * 3) as nginx:
            for url in (haproxy.url, nginx):
                async with session.get(url, headers={"X-Forwarded-For": "198.51.100.7"}) as reply:
                    assert (200, "127.0.0.1") == (reply.status, await reply.text())
