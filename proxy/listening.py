"""Opening a listener: what we ask of aiohttp's server, and a sentence where an address cannot be had."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from proxy.checks import parse_listen
from proxy.front import HEADERS_LIMIT, LINE_LIMIT_BYTES, Front, FrontRunner
from proxy.shortcut import take_shortcut

BACKLOG: Final = 2048
UNIX: Final = "unix:"
"""What an address begins with that is a socket in the file system: between our own processes only."""


async def listen(
    application: web.Application,
    address: str,
    *,
    keepalive_seconds: float,
    shutdown_seconds: float,
    share_port: bool = False,
    front: Front | None = None,
) -> tuple[web.AppRunner, str]:
    """Serve ``application``; its runner, to be cleaned up, and its URL. Raises OSError.

    ``address`` is host:port or unix:/path. With ``share_port`` other processes may listen on the same port.
    ``front`` stands where strangers may come.
    """
    settings: dict[str, Any] = {
        "access_log": None,
        # A caller who hangs up cancels the handler: that is how we notice while a provider is silent.
        "handler_cancellation": True,
        # A body's encoding is judged, and undone, within our limits and in our words (middlewares/body.py).
        "auto_decompress": False,
        "keepalive_timeout": keepalive_seconds,
        "shutdown_timeout": shutdown_seconds,
        "max_line_size": LINE_LIMIT_BYTES,
        "max_field_size": LINE_LIMIT_BYTES,
        "max_headers": HEADERS_LIMIT,
    }
    runner = web.AppRunner(application, **settings) if front is None else FrontRunner(application, front, **settings)
    await runner.setup()
    take_shortcut(runner)
    try:
        if address.startswith(UNIX):
            await web.UnixSite(runner, address.removeprefix(UNIX), backlog=BACKLOG).start()
            return runner, address
        host, port = parse_listen(address)
        await web.TCPSite(runner, host, port, backlog=BACKLOG, reuse_port=share_port or None).start()
    except OSError as error:
        await runner.cleanup()
        # asyncio's own sentence shows a Python tuple and names no setting.
        reason = error.strerror.rpartition(": ")[2] if error.strerror else str(error)
        raise OSError(
            error.errno, f"{address} cannot be listened on ({reason}); stop who does, or change the setting"
        ) from error
    bound = runner.addresses[0]
    shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
    return runner, f"http://{shown}:{bound[1]}"
