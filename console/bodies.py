"""Reading a small body of the account plane: within limits of size and time, as the bytes that were sent."""

from __future__ import annotations

import asyncio

from aiohttp import web

from middlewares.errors import Refusal

READ_SECONDS = 10.0


async def read_body(request: web.Request, max_bytes: int, read_seconds: float = READ_SECONDS) -> bytes:
    """The whole body, which nothing has compressed. Raises a Refusal for what is too large, too slow or encoded."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refusal("unsupported_encoding", "this body must not be compressed")
    too_large = Refusal("request_too_large", f"the body is larger than {max_bytes} bytes")
    if (request.content_length or 0) > max_bytes:
        raise too_large
    parts = bytearray()
    try:
        async with asyncio.timeout(read_seconds):
            while part := await request.content.readany():
                parts += part
                if len(parts) > max_bytes:
                    raise too_large
    except TimeoutError:
        raise Refusal("request_timeout", f"the body did not arrive within {read_seconds:g} seconds") from None
    except (web.PayloadAccessError, web.RequestPayloadError) as error:
        raise Refusal("invalid_json", "the body could not be read to its end") from error
    return bytes(parts)
