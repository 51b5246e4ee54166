"""Callers who try again with one Idempotency-Key, and leave, and come back, at two gateways on one database."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from tests.fakes.raw_upstream import (
    DONE,
    STREAM_END,
    STREAM_HEAD,
    USAGE,
    Answer,
    RawUpstream,
    Received,
    chunk,
    completion,
    http,
    piece,
    said,
)
from tests.faults.processes import PATIENT
from tests.gateway import PATH, Gateway, chat_body
from tests.journeys.mix import draw_seed

EXAM = os.environ.get("FIND_TOKEN_EXAM") == "1"
KEYS, AT_ONCE = (300, 40) if EXAM else (10, 15)
CALLERS = 5
"""Of each key, at most."""

StartGateway = Callable[..., Awaitable[Gateway]]


async def test_same_request_ten_times_with_one_key(start_gateway: StartGateway, alpha: RawUpstream) -> None:
    """S-041: one after another and all at once, plain and streamed: one upstream call and one charge; another body is 409, a
    key of 256 characters 400."""
    gateway = await start_gateway()
    for number, streamed in enumerate((False, True)):
        key = {"Idempotency-Key": "k" * 254 + str(number)}
        at_once = await asyncio.gather(*(gateway.chat(stream=streamed, headers=key) for _ in range(10)))
        later = [await gateway.chat(stream=streamed, headers=key) for _ in range(3)]
        assert {(200, at_once[0].body)} == {(reply.status, reply.body) for reply in [*at_once, *later]}
        assert (409, "idempotency_conflict") == (await gateway.chat("Another", stream=streamed, headers=key)).code
        assert (number + 1, number + 1) == (len(alpha.requests), len(gateway.rows()))
    assert (400, "invalid_value") == (await gateway.chat(headers={"Idempotency-Key": "k" * 256})).code
    assert [29_540] * 2 == [row.cost for row in gateway.rows()]
    gateway.prove()


def slowly(dice: random.Random) -> Callable[[Received], Answer]:
    """Answers that take their time, and say what they were asked."""

    def answer(request: Received) -> Answer:
        text = request.json["messages"][0]["content"]
        if not request.json.get("stream"):
            return [dice.uniform(0, 0.2), http(completion(f"answer to {text}"))]
        words = [f"{text} {number} " for number in range(dice.randint(1, 12))]
        steps: list[bytes | float] = [STREAM_HEAD]
        for word in words:
            steps += [piece(said(word)), dice.uniform(0, 0.03)]
        return [*steps, piece(chunk({}, finish="stop") + chunk(None, usage=USAGE) + DONE), STREAM_END]

    return answer


class Insistent:
    """One who asks until there is an answer, and loses patience or the connection in between."""

    def __init__(self, gateways: list[Gateway], number: int, streamed: bool, seed: int) -> None:
        self._gateways = gateways
        self._number = number
        self._streamed = streamed
        self._dice = random.Random(seed)

    async def ask(self, session: aiohttp.ClientSession) -> bytes:
        """The whole answer, at whichever gateway gives it."""
        dice = self._dice
        await asyncio.sleep(dice.uniform(0, 0.2))
        for patience in (0.02, 0.05, 0.1, 60, 60, 60):
            gateway = dice.choice(self._gateways)
            try:
                async with (
                    asyncio.timeout(patience),
                    session.post(
                        gateway.url + PATH,
                        json=chat_body(f"Call {self._number}", stream=self._streamed, model="lonely"),
                        headers={"Authorization": f"Bearer {gateway.key}", "Idempotency-Key": f"key {self._number}"},
                    ) as response,
                ):
                    body = await response.read()
                    if response.status == 200:
                        return body
                    assert b"idempotency_in_progress" in body, (
                        "nothing else is said of a call that another process runs"
                    )
            except (TimeoutError, aiohttp.ClientError):
                await asyncio.sleep(dice.uniform(0, 0.05))
        raise AssertionError(f"no answer for key {self._number}")


@pytest.mark.timeout(0 if EXAM else 120)
@pytest.mark.parametrize("round_", range(3))
async def test_whoever_insists_gets_the_same_answer_and_pays_once(
    round_: int, start_gateway: StartGateway, database_url: str, alpha: RawUpstream
) -> None:
    """Up to five callers a key, at two gateways, plain and streamed, most of whom leave again and again: every key is one
    upstream call, one line of the log, one charge, and the same bytes for all."""
    dice = random.Random(draw_seed())
    alpha.otherwise = slowly(dice)
    routing = {**PATIENT, "reconnect_seconds": 60}
    one = await start_gateway(database_url=database_url, routing=routing)
    two = await start_gateway(database_url=database_url, routing=routing, name="bob")
    two.account_id, two.key = one.account_id, one.key
    room = asyncio.Semaphore(AT_ONCE)

    async def one_key(number: int, session: aiohttp.ClientSession) -> set[bytes]:
        streamed, count = dice.random() < 0.5, dice.randint(1, CALLERS)
        callers = [Insistent([one, two], number, streamed, dice.randrange(10**9)) for _ in range(count)]
        async with room:
            return set(await asyncio.gather(*(caller.ask(session) for caller in callers)))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:
        answers = await asyncio.gather(*(one_key(number, session) for number in range(KEYS)))

    assert [1] * KEYS == [len(bodies) for bodies in answers]
    asked = Counter(request.json["messages"][0]["content"] for request in alpha.requests)
    assert {f"Call {number}": 1 for number in range(KEYS)} == asked
    rows = await one.settled(KEYS)
    assert {("complete", 29_540)} == {(row.billing_outcome, row.cost) for row in rows}
    one.prove()
