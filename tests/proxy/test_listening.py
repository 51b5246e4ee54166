"""An address that cannot be had is told in a sentence, and what was opened for it is closed."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from proxy.listening import listen

TIMES = {"keepalive_seconds": 5.0, "shutdown_seconds": 1.0}


def application() -> web.Application:
    """One that answers at its root."""

    async def handle(_request: web.Request) -> web.Response:
        return web.Response(text="here")

    made = web.Application()
    made.router.add_get("/", handle)
    return made


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_the_address_is_told_with_the_port_that_the_system_chose(host: str) -> None:
    """And it answers there."""
    runner, url = await listen(application(), f"{host}:0", **TIMES)

    async with aiohttp.ClientSession() as session, session.get(url) as reply:
        assert "here" == await reply.text()
    assert url.startswith(f"http://{host}:")
    assert not url.endswith(":0")
    await runner.cleanup()


async def test_a_socket_in_the_file_system_will_do(tmp_path: Path) -> None:
    """For our own processes among themselves."""
    runner, url = await listen(application(), f"unix:{tmp_path}/x.sock", **TIMES)

    connector = aiohttp.UnixConnector(path=f"{tmp_path}/x.sock")
    async with aiohttp.ClientSession(connector=connector) as session, session.get("http://us/") as reply:
        assert ("here", f"unix:{tmp_path}/x.sock") == (await reply.text(), url)
    await runner.cleanup()


async def test_a_port_is_shared_only_by_those_who_say_so() -> None:
    """Two that share listen side by side; one that does not is refused, and told what to do."""
    first, url = await listen(application(), "127.0.0.1:0", share_port=True, **TIMES)
    address = url.removeprefix("http://")
    second, again = await listen(application(), address, share_port=True, **TIMES)

    assert url == again
    with pytest.raises(OSError, match=r"cannot be listened on .*in use.*; stop who does, or change the setting"):
        await listen(application(), address, **TIMES)
    await first.cleanup()
    await second.cleanup()


async def test_a_socket_that_nobody_can_make_is_told() -> None:
    """The address stands in the sentence."""
    with pytest.raises(OSError, match=r"^\[Errno \d+\] unix:/nowhere/at/all cannot be listened on"):
        await listen(application(), "unix:/nowhere/at/all", **TIMES)
