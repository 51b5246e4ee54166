"""Playing a script: the only file that writes to a caller's connection, and the one that notices when the caller leaves.

A call's record is closed here, whichever way the call ends.
"""

import asyncio
import socket
import struct
from collections.abc import Callable

from aiohttp import web

from simulator.journal import RecordedCall
from simulator.script import Script, Step

# A reset makes the peer throw away what it has not read yet, so what was sent gets this long to be read.
SECONDS_BEFORE_RESET = 0.02

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

Stamp = Callable[[bytes], bytes]


async def play(
    request: web.Request, script: Script, call: RecordedCall, headers: dict[str, str], stamp: Stamp
) -> web.StreamResponse:
    """Answer `request` as `script` says, each step's bytes put through `stamp` first, and close the record of the call.

    `headers` are sent besides the script's own, which win.
    """
    try:
        if script.latency_seconds:
            await asyncio.sleep(script.latency_seconds)
        call.status = script.status
        response, completed = await _answered(request, script, call, headers, stamp)
    except ConnectionError:
        # The caller closed its end while we wrote; a response that is never sent lets the server clean up quietly.
        call.close(completed=False, peer_left=True)
        return _closed(request)
    except asyncio.CancelledError:
        call.close(completed=False, peer_left=True)
        raise
    call.close(completed=completed)
    return response


async def _answered(
    request: web.Request, script: Script, call: RecordedCall, headers: dict[str, str], stamp: Stamp
) -> tuple[web.StreamResponse, bool]:
    """The response, sent as far as the script goes, and whether that was all of it."""
    if not script.sends_headers:
        return await _ended(request, web.StreamResponse(), script), False
    # An empty Content-Type is a mark: `hide_empty_content_type` takes the header out, which aiohttp would put in.
    all_headers = {**headers, **script.headers, "Content-Type": script.content_type}
    if script.ending == "end" and script.length is not None and len(script.steps) <= 1:
        body = stamp(script.steps[0].data) if script.steps else b""
        if not script.steps or script.steps[0].wait_seconds == 0:
            plain = web.Response(status=script.status, body=body, headers=all_headers)
            await plain.prepare(request)
            await plain.write_eof()
            call.pieces_sent = sum(step.pieces for step in script.steps)
            return plain, True
    response = web.StreamResponse(status=script.status, headers=all_headers)
    if script.length is not None:
        response.content_length = script.length
    await response.prepare(request)
    await _write_steps(response, script.steps, call, stamp)
    if script.ending in ("end", "cut"):
        await response.write_eof()
        return response, script.ending == "end"
    return await _ended(request, response, script), False


async def _write_steps(response: web.StreamResponse, steps: tuple[Step, ...], call: RecordedCall, stamp: Stamp) -> None:
    """Send the steps at their times. Steps that fell due while one was being sent go out together."""
    clock = asyncio.get_running_loop().time
    due = clock()
    paced = any(step.wait_seconds for step in steps)
    waiting: list[bytes] = []
    pieces = 0
    for step in steps:
        due += step.wait_seconds
        delay = due - clock()
        if waiting and (delay > 0 or not paced):
            await response.write(stamp(b"".join(waiting)))
            call.pieces_sent += pieces
            waiting, pieces = [], 0
        if delay > 0:
            await asyncio.sleep(delay)
        elif not paced:
            # Portions without pauses still leave one by one: each gets its own turn of the loop, hence its own write.
            await asyncio.sleep(0)
        waiting.append(step.data)
        pieces += step.pieces
    if waiting:
        await response.write(stamp(b"".join(waiting)))
        call.pieces_sent += pieces


async def _ended(request: web.Request, response: web.StreamResponse, script: Script) -> web.StreamResponse:
    """End the connection the way the script says: hang until the caller leaves, drop it, or reset it."""
    if script.ending == "hang":
        await asyncio.Event().wait()
    transport = request.transport
    if transport is None:
        return response
    if script.ending == "reset":
        await asyncio.sleep(SECONDS_BEFORE_RESET)
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
        return response
    transport.close()
    return response


def _closed(request: web.Request) -> web.StreamResponse:
    """Something to return for a connection that is gone."""
    if request.transport is not None:
        request.transport.close()
    return web.StreamResponse()


async def hide_empty_content_type(_request: web.Request, response: web.StreamResponse) -> None:
    """Take an empty Content-Type out of the headers: some edges send none at all. Connect to `on_response_prepare`."""
    if response.headers.get("Content-Type") == "":
        del response.headers["Content-Type"]
