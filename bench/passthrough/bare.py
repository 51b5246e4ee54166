"""The peer: an idiomatic aiohttp passthrough, server and ClientSession, with no chain, no parsing and no books. Like any
passthrough it forwards the headers of both sides, but for those that belong to one connection.

What a gateway costs beyond this is what its own work costs.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

SESSION = web.AppKey("session", aiohttp.ClientSession)
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host", "content-length"}
)
UPSTREAM = web.AppKey("upstream", str)


async def forward(request: web.Request) -> web.StreamResponse:
    """Body in, body out, streamed as it comes."""
    body = await request.read()
    headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
    headers["Authorization"] = "Bearer bench-key"
    async with request.app[SESSION].post(request.app[UPSTREAM], data=body, headers=headers) as answer:
        passed_back = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
        if answer.headers["Content-Type"] != "text/event-stream":
            return web.Response(body=await answer.read(), headers=passed_back)
        response = web.StreamResponse(headers=passed_back)
        await response.prepare(request)
        async for data in answer.content.iter_any():
            await response.write(data)
        await response.write_eof()
        return response


async def session(application: web.Application) -> AsyncIterator[None]:
    """One pooled session for the life of the server."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        application[SESSION] = client
        yield


async def main(upstream: str) -> None:
    """Serve until killed; the port is printed."""
    application = web.Application()
    application[UPSTREAM] = upstream
    application.cleanup_ctx.append(session)
    application.router.add_post("/v1/chat/completions", forward)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
