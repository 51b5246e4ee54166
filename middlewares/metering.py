"""What one attempt costs: prices fixed before it, its bill made when it is over.

It stands inside `routing`, so it runs once per attempt; taking money is `budget`'s, outside, so that it happens once.
"""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from billing.matrix import Ending, decide
from billing.money import Money
from billing.pricing import NOTHING, Charge, Fee, cap, charge, charge_fee_only
from billing.usage import Usage
from middlewares.byok import BYOK
from middlewares.call import CALL, Answer, Call, Pricing


def metering(fee: Fee, byok_fee: Fee) -> Middleware:
    """Set the attempt's pricing and an empty answer; afterwards the bill and the charge, if there was an answer."""

    @web.middleware
    async def meter(request: web.Request, handler: Handler) -> web.StreamResponse:
        call = request[CALL]
        offer = call.offer
        assert offer is not None, "routing comes first"
        call.pricing = _pricing(call, fee, byok_fee)
        answer = call.answer = Answer()
        call.bill = None
        if call.request.get("max_tokens") is None and call.request.get("max_completion_tokens") is None:
            clamped = offer.max_tokens < min(offer.model.max_output, call.model.max_output)
            call.max_tokens_clamp = offer.max_tokens if clamped else None
        try:
            return await handler(request)
        except asyncio.CancelledError:
            if answer.ending is None:
                answer.ending = Ending.CLIENT_LEFT_EARLY
            raise
        finally:
            if answer.ending is not None:
                _make_bill(call, answer, answer.ending)

    return meter


def _make_bill(call: Call, answer: Answer, ending: Ending) -> None:
    assert call.offer is not None, "routing comes first"
    call.bill = decide(
        ending,
        answer.tally.usage(),
        prompt_bytes=call.prompt_bytes,
        produced_bytes=answer.produced_bytes,
        completion_limit=call.offer.max_tokens * (call.request.get("n") or 1),
    )
    if call.bill.payable:
        call.charge, call.absorbed = call.pricing.charge_for(call.bill.usage)
    else:
        call.charge, call.absorbed = NOTHING, 0


def _pricing(call: Call, fee: Fee, byok_fee: Fee) -> Pricing:
    """The price row, the fee and the hold of this attempt, closed over: from here on only usage is unknown."""
    offer = call.offer
    assert offer is not None, "routing comes first"
    price, instant, hold = offer.price, call.started_at, call.hold or 0

    def standard(usage: Usage) -> tuple[Charge, Money]:
        return cap(charge(price.rates_at(instant, usage.prompt_tokens).exact_cost(usage), fee), hold)

    def own_key(usage: Usage) -> tuple[Charge, Money]:
        return cap(charge_fee_only(price.rates_at(instant, usage.prompt_tokens).exact_cost(usage), byok_fee), hold)

    def free(_usage: Usage) -> tuple[Charge, Money]:
        return NOTHING, 0

    if call.mode != BYOK:
        return Pricing(price.version, standard)
    return Pricing(price.version, free if call.free_byok else own_key)
