"""A small body is read whole, or refused for its size, its slowness or its encoding."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web

from console.bodies import read_body
from middlewares.errors import Refusal
from tests.gateway import serving


async def outcome(chunks: list[bytes], *, pause: float = 0, headers: dict[str, str] | None = None) -> str:
    """What reading at most 10 bytes within a fifth of a second makes of a body that comes in parts."""

    async def handle(request: web.Request) -> web.Response:
        try:
            return web.Response(body=await read_body(request, 10, 0.2))
        except Refusal as refusal:
            return web.Response(text=str(refusal.problem.code))

    async def parts() -> object:  # type: ignore[misc]
        for chunk in chunks:
            yield chunk
            await asyncio.sleep(pause)

    application = web.Application()
    application.router.add_post("/", handle)
    async with (
        serving(application) as url,
        aiohttp.ClientSession() as client,
        client.post(url, data=parts(), headers=headers) as response,
    ):
        return await response.text()


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [([b"12345", b"67890"], "1234567890"), ([b"12345", b"678901"], "request_too_large"), ([], "")],
)
async def test_size(chunks: list[bytes], expected: str) -> None:
    """To the byte, in whatever parts it comes."""
    assert expected == await outcome(chunks)


async def test_slowness() -> None:
    """A body that trickles is left."""
    assert "request_timeout" == await outcome([b"1"] * 8, pause=0.1)


async def test_encoding() -> None:
    """What is signed must not be changed on the way, and what is small needs no compression."""
    assert "unsupported_encoding" == await outcome([b"1"], headers={"Content-Encoding": "x-ours"})
