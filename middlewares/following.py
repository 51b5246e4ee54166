"""Answering a caller out of a recording: from its start or from an event on, as it grows, at the caller's own pace."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiohttp import web
from multidict import CIMultiDict

from middlewares.recording import Broken, Head, Reader


async def follow(
    reader: Reader, request: web.Request, *, stall_seconds: float, extra: Iterable[tuple[str, str]] = ()
) -> web.StreamResponse:
    """Answer with what ``reader`` reads, and ``extra`` headers; the reader leaves in the end.

    A caller who has not read anything for ``stall_seconds`` is dropped. Raises Broken if there is no answer to follow; one
    that breaks in the middle ends the connection, so that nobody takes it for whole.
    """
    try:
        head = await reader.head()
        headers = CIMultiDict([*head.headers, *extra])
        if not head.streamed:
            return web.Response(status=head.status, headers=headers, body=await _rest(reader))
        return await _stream(reader, request, head, headers, stall_seconds)
    finally:
        reader.leave()


async def _rest(reader: Reader) -> bytes:
    body = b""
    while data := await reader.read():
        body += data
    return body


async def _stream(
    reader: Reader, request: web.Request, head: Head, headers: CIMultiDict[str], stall_seconds: float
) -> web.StreamResponse:
    response = web.StreamResponse(status=head.status, headers=headers)
    try:
        await response.prepare(request)
        while data := await reader.read():
            async with asyncio.timeout(stall_seconds):
                await response.write(data)
    except (Broken, ConnectionError, TimeoutError):
        # Its headers have left, so nobody else may answer, whatever happened.
        if request.transport is not None:
            request.transport.abort()
        return response
    if reader.closes:
        response.force_close()
    await response.write_eof()
    return response
