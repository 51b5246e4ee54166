"""What one attempt costs: prices fixed before it, its bill made when it is over.

It stands inside `routing`, so it runs once per attempt; taking money is `budget`'s, outside, so that it happens once.
"""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from billing.matrix import BYOK, Ending, decide
from billing.pricing import NOTHING, Fee
from middlewares.call import CALL, Answer, Call, Pricing
from providers.errors import UpstreamError


def metering(fee: Fee, byok_fee: Fee) -> Middleware:
    """Set the attempt's pricing and an empty answer; afterwards the bill and the charge, if there was an answer."""

    @web.middleware
    async def meter(request: web.Request, handler: Handler) -> web.StreamResponse:
        call = request[CALL]
        offer = call.offer
        assert offer is not None, "routing comes first"
        if call.mode != BYOK:
            call.pricing = Pricing(offer.price, call.started_at, call.hold or 0, fee, fee_only=False)
        else:
            own_fee = None if call.free_byok else byok_fee
            call.pricing = Pricing(offer.price, call.started_at, call.hold or 0, own_fee, fee_only=True)
        answer = call.answer = Answer()
        call.bill = None
        if call.request.get("max_tokens") is None and call.request.get("max_completion_tokens") is None:
            clamped = 0 < offer.max_tokens < min(offer.model.max_output, call.model.max_output)
            call.max_tokens_clamp = offer.max_tokens if clamped else None
        try:
            return await handler(request)
        except asyncio.CancelledError:
            if answer.ending is None:
                answer.ending = Ending.CLIENT_LEFT_EARLY
            raise
        except UpstreamError:
            # Free to the account; what the provider reported all the same is what the attempt cost the operator.
            if answer.ending is None and answer.tally.usage() is not None:
                answer.ending = Ending.FAILED
            raise
        finally:
            if answer.ending is not None:
                _make_bill(call, answer, answer.ending)

    return meter


def _make_bill(call: Call, answer: Answer, ending: Ending) -> None:
    assert call.offer is not None, "routing comes first"
    usage, limit = answer.tally.usage(), call.offer.max_tokens * (call.request.get("n") or 1)
    call.bill = decide(ending, usage, call.prompt_bytes, answer.produced_bytes, limit, answer.unreported_bytes)
    if call.bill.payable:
        call.charge, call.absorbed = call.pricing.charge_for(call.bill.usage)
    else:
        call.charge, call.absorbed = NOTHING, 0
