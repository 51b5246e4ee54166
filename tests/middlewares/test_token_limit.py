"""How many tokens a minute: an estimate is taken, usage puts it right, and what is refused reaches no provider."""

from __future__ import annotations

from typing import Any

from middlewares.token_limit import GUESSED_ANSWER_TOKENS, estimate
from tests.fakes.raw_upstream import RawUpstream, failure
from tests.gateway import Gateway, chat_body


def test_what_is_estimated() -> None:
    """A quarter of the prompt's bytes, something for each message, and the answer as long as it may be, n times."""
    assert 100 + 16 + 50 == estimate(chat_body("x" * 396, max_tokens=50))
    assert 100 + 16 + 3 * 50 == estimate(chat_body("x" * 396, max_completion_tokens=50, n=3))
    assert 100 + 16 + GUESSED_ANSWER_TOKENS == estimate(chat_body("x" * 396))
    assert 25 + 3 == estimate({"model": "m", "input": ["x" * 100, "y" * 12], "n": None}), "embeddings have no answer"


async def test_tokens_beyond_the_limit_are_refused(start_gateway: Any, alpha: RawUpstream) -> None:
    """429 with a wait, free and uncalled; a call that used less than was taken leaves the rest to the next."""
    gateway: Gateway = await start_gateway(limits={"tokens_per_minute": 3000})
    served = await gateway.chat(max_tokens=2000)
    row = (await gateway.settled(1))[0]
    used = row.prompt_tokens + row.completion_tokens
    assert (200, 0 < used < 2500) == (served.status, True)

    second = await gateway.chat(max_tokens=2900 - used)
    refused = await gateway.chat(max_tokens=2900)

    assert (200, (429, "rate_limit_exceeded")) == (second.status, refused.code)
    assert "tokens" in refused.error["message"]
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert 2 == len(alpha.requests) == len(gateway.rows())
    assert 1 == await gateway.metric("rate_limited_total")
    gateway.prove()


async def test_a_call_that_failed_used_nothing(start_gateway: Any, alpha: RawUpstream) -> None:
    """All that was taken for it is there again, however often it happens."""
    gateway: Gateway = await start_gateway(limits={"tokens_per_minute": 3000})
    alpha.otherwise = lambda _request: failure(400)
    replies = [await gateway.chat(model="lonely", max_tokens=2500) for _ in range(4)]

    assert [400] * 4 == [reply.status for reply in replies]
