"""OpenAI's own client tries again where a connection fails: with an Idempotency-Key that is one call, answered and paid once."""

from __future__ import annotations

import openai
import pytest

from tests.fakes.cutting_wire import CuttingWire
from tests.fakes.raw_upstream import RawUpstream, stream
from tests.gateway import Gateway

MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize("cuts", [[1], [150, 20], [400, 1, 30]], ids=["once", "twice", "three times"])
async def test_a_client_that_loses_its_answer_gets_it(cuts: list[int], gateway: Gateway, alpha: RawUpstream) -> None:
    """However often the connection breaks on the way back: one upstream call, one row, one charge."""
    async with (
        CuttingWire(gateway.url, cuts, by_reset=True) as wire,
        openai.AsyncOpenAI(base_url=f"{wire.url}/v1", api_key=gateway.key, max_retries=len(cuts)) as client,
    ):
        answer = await client.chat.completions.with_raw_response.create(
            model="standard",
            messages=MESSAGES,  # type: ignore[arg-type]
            extra_headers={"Idempotency-Key": "order-1"},
        )

    row = gateway.row()
    assert ("Hello there", "true") == (
        answer.parse().choices[0].message.content,
        answer.headers["X-FindToken-Replayed"],
    )
    assert (row.request_id, 29_540) == (answer.headers["X-FindToken-Request-Id"], row.cost)
    assert (len(cuts), 1) == (wire.cut, len(alpha.requests))
    gateway.prove()


async def test_a_stream_that_is_asked_for_again_comes_whole(gateway: Gateway, alpha: RawUpstream) -> None:
    """The client does not resume streams, but reads resumable ones; asking again with the same key gives all of it, without
    another call."""
    alpha.next(stream(["Hello", " there"]))
    async with (
        CuttingWire(gateway.url, [1_000]) as wire,
        openai.AsyncOpenAI(base_url=f"{wire.url}/v1", api_key=gateway.key, max_retries=0) as client,
    ):
        with pytest.raises(openai.APIConnectionError):
            await text_of(client)
        assert "Hello there" == await text_of(client)

    assert (1, 1, 1) == (wire.cut, len(alpha.requests), len(await gateway.settled(1)))


async def text_of(client: openai.AsyncOpenAI) -> str:
    """What a resumable stream says."""
    text = ""
    stream = await client.chat.completions.create(
        model="standard",
        messages=MESSAGES,  # type: ignore[arg-type]
        stream=True,
        extra_headers={"Idempotency-Key": "order-1", "X-FindToken-Resumable": "true"},
    )
    async for chunk in stream:
        text += chunk.choices[0].delta.content or ""
    return text
