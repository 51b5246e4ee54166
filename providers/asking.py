"""A question to a provider that costs nothing: sent, answered within a time, and heard to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from providers.transport import Outgoing, Transport


@dataclass(frozen=True, slots=True)
class Heard:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def ask(transport: Transport, outgoing: Outgoing, *, until: float, limit_bytes: int) -> Heard:
    """The answer, by ``until`` on the loop's clock and up to so many bytes. Raises TimeoutError, UpstreamError, and ValueError
    for what cannot be sent.

    The transport puts a cancellation off where an answer is just coming, because what a call cost is worth knowing. A question
    that costs nothing is not: who was told to stop meanwhile stops.
    """
    async with asyncio.timeout_at(until) as limit, await transport.open(outgoing) as incoming:
        body = await incoming.read(limit_bytes)
        if incoming.interrupted and not limit.expired():
            raise asyncio.CancelledError
    return Heard(incoming.status, incoming.headers, body)
