"""Questions that cost nothing: heard to their end, within their time, and given up by whoever is told to stop."""

from __future__ import annotations

import asyncio

import pytest

from providers.asking import Heard, ask
from providers.errors import AnswerUnreadable
from providers.transport import INTERRUPTED_SECONDS, Outgoing, PooledTransport
from tests.fakes.raw_upstream import HANG, Answer, RawUpstream, http

SOON = INTERRUPTED_SECONDS / 5
"""So soon that an answer still comes to whoever has just been cancelled."""


async def question(
    transport: PooledTransport, upstream: RawUpstream, *, seconds: float = 10, limit: int = 1_000
) -> Heard:
    """Ask for the list of models."""
    outgoing = Outgoing(f"{upstream.url}/models", {}, b"", method="GET")
    until = asyncio.get_running_loop().time() + seconds
    return await ask(transport, outgoing, until=until, limit_bytes=limit)


async def test_an_answer_is_heard_to_its_end(transport: PooledTransport, alpha: RawUpstream) -> None:
    """Whatever its status."""
    alpha.listing = [http({"no": "list"}, status=404)]
    heard = await question(transport, alpha)
    assert (404, b'{"no": "list"}', "application/json") == (heard.status, heard.body, heard.headers["Content-Type"])


async def test_there_is_an_end_to_waiting_and_to_reading(transport: PooledTransport, alpha: RawUpstream) -> None:
    """TimeoutError, and an answer that is too large."""
    alpha.listing = [HANG]
    with pytest.raises(TimeoutError):
        await question(transport, alpha, seconds=0.1)
    alpha.listing = [http({"large": "x" * 2_000})]
    with pytest.raises(AnswerUnreadable):
        await question(transport, alpha)


WHOLE = http({"object": "list", "data": []})


@pytest.mark.parametrize(
    "answer", [[SOON, WHOLE], [WHOLE[:-5], 3 * SOON, WHOLE[-5:]]], ids=["before the head", "in the body"]
)
async def test_who_is_told_to_stop_stops_although_the_answer_comes(
    transport: PooledTransport, alpha: RawUpstream, answer: Answer
) -> None:
    """A cancellation that the transport puts off is carried out, and not forgotten."""
    alpha.listing = answer
    asking = asyncio.create_task(question(transport, alpha))
    async with asyncio.timeout(10):
        while not alpha.listings:
            await asyncio.sleep(0)
    if len(answer) > 2:
        await asyncio.sleep(2 * SOON)
    asking.cancel()
    await asyncio.wait({asking})
    assert asking.cancelled()
