"""What a balance affords, over a real wire: a shorter answer instead of a refusal, and a refusal that says what would be served.

The cases are drawn from a seed that is printed: prompts, balances, numbers of answers, and models with stand-ins of which
some are dearer and some give shorter answers.
"""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from billing.money import format_usd
from providers.catalogue import Catalogue, build
from tests.fakes.raw_upstream import RawUpstream, as_asked, failure
from tests.gateway import ALPHA_KEY, BETA_KEY, Gateway, model, price
from tests.journeys.charges import ALTERNATIVE, DEAR, costs, ended, paid, told, usage

StartGateway = Callable[..., Awaitable[Gateway]]
CASES = 300 if os.environ.get("FIND_TOKEN_EXAM") == "1" else 25


def family(alpha_url: str, beta_url: str) -> Catalogue:
    """`dear` may be stood in for by `short`, which is cheap and gives short answers, and by `other`."""
    plain = {"dialect": "openai"}
    return build(
        {
            "providers": {
                "alpha": {**plain, "base_url": alpha_url, "keys": [ALPHA_KEY]},
                "beta": {**plain, "base_url": beta_url, "keys": [BETA_KEY]},
            },
            "models": {
                "dear": model("alpha", price("10", "30"), max_output=100_000, equivalents=["short", "other"]),
                "short": model("beta", price("0.14", "0.28"), max_output=50),
                "other": model("beta", price("1", "2"), max_output=2_000, context=4_000),
                "alone": model("alpha", price("10", "30"), max_output=100_000),
            },
        }
    )


async def test_what_a_refusal_calls_affordable_is_served_and_no_more(
    database_url: str, start_gateway: StartGateway, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """Exactly `affordable_max_tokens` is served, one more is refused; the sentence and the amounts say the same."""
    seed = int(os.environ.get("FIND_TOKEN_SEED") or random.SystemRandom().randrange(2**32))
    print(f"FIND_TOKEN_SEED={seed}")
    source = random.Random(seed)
    gateway = await start_gateway(family(alpha.url, beta.url), database_url=database_url)
    alpha.otherwise = beta.otherwise = as_asked(usage=usage(1, 1))
    refused = 0
    for number in range(CASES):
        credit = int(10 ** source.uniform(3, 7.5))
        account_id, key = gateway.new_account(f"person{number}", credit=credit)
        text, n = "p" * source.randrange(1, 2_000), source.choice((1, 1, 2, 5))
        fields: dict[str, Any] = {"model": source.choice(("dear", "alone")), "n": n}
        headers = {"Authorization": f"Bearer {key}"}
        asked = source.randrange(1_000, 100_001)
        calls = len(alpha.requests) + len(beta.requests)
        reply = await gateway.chat(text, headers=headers, max_tokens=asked, **fields)
        if reply.status == 200:
            continue
        refused += 1
        error = reply.error
        affordable = error["affordable_max_tokens"]
        assert (402, "insufficient_credits", format_usd(credit)) == (*reply.code, error["available_usd"])
        assert (
            "This request requires more credits, or fewer max_tokens. "
            f"You requested up to {asked} tokens, but can only afford {affordable}." == error["message"]
        )
        assert float(error["required_usd"]) > float(error["available_usd"])
        more = await gateway.chat(text, headers=headers, max_tokens=affordable + 1, **fields)
        assert ((402, "insufficient_credits"), affordable) == (more.code, more.error["affordable_max_tokens"])
        assert calls == len(alpha.requests) + len(beta.requests)
        if affordable:
            served = await gateway.chat(text, headers=headers, max_tokens=affordable, **fields)
            assert 200 == served.status, (affordable, served.body)
        gateway.prove(account_id, credit=credit)
    assert refused


async def test_without_a_limit_the_balance_shortens_the_answer_and_nothing_else_does(
    database_url: str, start_gateway: StartGateway, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """The clamp is the most that the whole balance covers at the model asked for, however cheap a stand-in is; it is sent
    upstream and told. Below one token nobody is called."""
    gateway = await start_gateway(family(alpha.url, beta.url), database_url=database_url, credit=1)
    alpha.otherwise = as_asked(usage=usage(1, 1))
    least = costs(89, 1, DEAR)
    sent: dict[int, int] = {}
    for number, credit in enumerate((least - 1, least, 100_000, 10_000_000, 100_000_000)):
        _, key = gateway.new_account(f"person{number}", credit=credit)
        reply = await gateway.chat(headers={"Authorization": f"Bearer {key}"}, model="alone")
        if credit < least:
            assert ((402, "insufficient_credits"), 0) == (reply.code, reply.error["affordable_max_tokens"])
            assert [] == alpha.requests
            continue
        limit = alpha.requests[-1].json["max_tokens"]
        assert str(limit) == reply.header("Max-Tokens")
        sent[credit] = limit
        assert costs(89, limit, DEAR) <= credit < costs(89, limit + 1, DEAR)
    assert 4 == len(sent)
    _, key = gateway.new_account("family", credit=10_000_000)
    await gateway.chat(headers={"Authorization": f"Bearer {key}"}, model="dear")
    assert sent[10_000_000] == alpha.requests[-1].json["max_tokens"]


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_stand_in_beyond_the_balance_is_passed_over(
    streaming: bool, database_url: str, start_gateway: StartGateway, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """The balance covers the model asked for ten times, but not its stand-in: when the first is down the second is not
    called. With a balance that covers both it is, at its own price."""
    thin = 10 * costs(89, 100)
    assert thin < costs(89, 1000, ALTERNATIVE)
    gateway = await start_gateway(database_url=database_url, credit=thin)
    alpha.otherwise = lambda _request: failure(503)
    reply = await gateway.chat(max_tokens=1000, stream=streaming)

    assert ((503, "all_providers_unavailable"), []) == (reply.code, beta.requests)
    assert 0 == (await ended(gateway, credit=thin)).cost
    _, key = gateway.new_account("rich", credit=costs(89, 1000, ALTERNATIVE))
    served = await gateway.chat(headers={"Authorization": f"Bearer {key}"}, max_tokens=1000, stream=streaming)
    assert (200, "alternative") == (served.status, served.header("Model"))


async def test_the_dearest_that_remains_is_held(start_gateway: StartGateway, alpha: RawUpstream) -> None:
    """A balance that covers the stand-in as well holds for it; the call pays what served."""
    gateway = await start_gateway()
    await gateway.chat(max_tokens=1000)

    row = await ended(gateway)
    assert (costs(89, 1000, ALTERNATIVE), paid(29_540)) == (row.held, told(row))
