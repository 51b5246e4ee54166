"""The most a call can cost is held before anybody is called, and what it did cost is taken once, when it is over.

Hold and settlement stand in one function, visibly paired: the caller may vanish at any await, the provider may fail in any
way, and every way out of `handler` leads through the same `finally`. A settlement that the database cannot take at that
moment is offered again until it can; it is written under the request's id, so offering it twice takes nothing twice.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from multidict import istr

from billing.bound import bound_and_bytes
from billing.matrix import BYOK, Ending
from billing.money import Money, format_usd, parse_usd
from billing.pricing import NOTHING, Fee, bound
from billing.usage import Usage
from billing.values import blank
from metrics.instruments import Instruments
from middlewares.byok import falls_over
from middlewares.call import CALL, Call
from middlewares.choice import Choice, nobody_can_serve
from middlewares.errors import Refusal, status_of
from providers.covering import affordable_limit, within
from providers.selection import Need, Offer, Selection
from storage.accounts import AccountInactive
from storage.calls import CallRow, shown_instant
from storage.connection import StorageUnavailable
from storage.identifiers import microseconds, month_of
from storage.ledger import Balance, InsufficientCredit, KeyLimitReached, Ledger, Purpose, Settled, Settlement

SETTLE_WAIT_SECONDS: Final = 10.0
"""How long the last bytes of an answer wait for the books. After that the caller is told, and settling goes on."""
SETTLE_PAUSES_SECONDS: Final = (0.05, 0.2, 0.5, 1.0)
"""Waits between tries to settle; the last one repeats."""
LONGEST_CALL_SECONDS: Final = 24 * 3600
"""A hold's deadline. It is the owner's heartbeat that frees a hold earlier, when its process dies."""


@dataclass(frozen=True, slots=True)
class BudgetSettings:
    """Fees and the free part of BYOK."""

    fee: Fee
    byok_fee: Fee
    byok_free_requests_per_month: int
    explain_header: str = "X-FindToken-Explain"
    """By which a caller asks why this candidate was chosen."""


async def settle(ledger: Ledger, settlement: Settlement) -> Settled:
    """Settle, again and again while the books are out of reach. Raises StorageUnavailable when that takes too long."""
    give_up = asyncio.get_running_loop().time() + SETTLE_WAIT_SECONDS
    pauses = iter(SETTLE_PAUSES_SECONDS)
    while True:
        try:
            return await ledger.settle(settlement)
        except StorageUnavailable:
            pause = next(pauses, SETTLE_PAUSES_SECONDS[-1])
            if asyncio.get_running_loop().time() + pause > give_up:
                raise
            await asyncio.sleep(pause)


def budget(
    ledger: Ledger,
    settings: BudgetSettings,
    choice: Choice,
    instruments: Instruments,
) -> Middleware:
    """Choose who may serve, hold what the dearest of them can cost, and settle when the call is over."""
    explain = istr(settings.explain_header)

    @web.middleware
    async def hold_and_settle(request: web.Request, handler: Handler) -> web.StreamResponse:
        call = request[CALL]
        token_bound, call.prompt_bytes = bound_and_bytes(call.request)
        call.explained = _wants_explanation(request.headers.get(explain))
        need = choice.need_of(call, token_bound, call.prompt_bytes)
        try:
            selection = call.selection = choice.select(call, need)
            if not selection.offers:
                raise nobody_can_serve(call.model.id, need, selection.passed_over)
            await _hold(call, request.path, need, selection, ledger, settings)
        except (InsufficientCredit, KeyLimitReached, Refusal) as error:
            told = error.problem.status if isinstance(error, Refusal) else 402
            await _close_tried(call, request.path, told, ledger, instruments)
            if isinstance(error, Refusal):
                raise
            call.offers = ()
            shorter = choice.select(call, replace(need, max_tokens=1))
            raise _insufficient(error, selection.offers, shorter.offers, need, settings.fee, call) from None
        status = 500
        goes_on = False
        try:
            response = await handler(request)
            status = response.status
            return response
        except BaseException as error:
            status = status_of(error)
            goes_on = falls_over(call, error)
            raise
        finally:
            if goes_on:
                # The call comes again as a standard one, whose hold and settlement are those of the whole call.
                await _release(call.request_id, str(call.account_id), ledger)
                call.hold = None
            else:
                try:
                    await _close(call, request.path, status, ledger, instruments)
                finally:
                    choice.learn(call)

    return hold_and_settle


def _wants_explanation(header: str | None) -> bool:
    return header is not None and header.strip().lower() in ("1", "true")


async def _hold(
    call: Call, path: str, need: Need, selection: Selection, ledger: Ledger, settings: BudgetSettings
) -> None:
    """Set the call's hold, balance and offers. Raises InsufficientCredit, and a Refusal for an account that is closed."""
    assert call.account_id is not None, "auth comes first"
    started = microseconds(call.started_at)
    deadline = started + LONGEST_CALL_SECONDS * 1_000_000
    purpose = Purpose(call.key_id, path, call.model.id, _payer(call), call.streamed, started)
    offers, key_limited = selection.offers, call.key.terms.spend_limit is not None
    try:
        if call.mode == BYOK:
            held = await ledger.hold_byok(
                call.request_id,
                call.account_id,
                month=month_of(call.started_at),
                free_requests=settings.byok_free_requests_per_month,
                fee_bound=max(offer.most for offer in offers),
                deadline=deadline,
                purpose=purpose,
                key_limited=key_limited,
            )
            call.offers = offers
        else:
            amounts = sorted({offer.most for offer in offers}, reverse=True)
            if need.max_tokens is None:
                # The balance is what shortens the answer of the first candidate, never a cheaper stand-in's price.
                amounts = [amount for amount in amounts if amount >= offers[0].most]
            held = await ledger.hold(
                call.request_id,
                call.account_id,
                amounts,
                at_least=_least(offers, need, settings.fee) if need.max_tokens is None else None,
                deadline=deadline,
                purpose=purpose,
                key_limited=key_limited,
            )
            call.offers = within(offers, held.amount, need, need.prompt_token_bound, settings.fee)
    except AccountInactive:
        raise Refusal("account_deactivated", "this account is deactivated") from None
    call.hold = held.amount
    call.balance = held.balance.balance
    call.free_byok = held.free_byok


def _least(offers: tuple[Offer, ...], need: Need, fee: Fee) -> Money:
    """What an answer of one token costs at the cheapest candidate: below it not even a shorter answer can be afforded."""
    return min(bound(offer.rates, need.prompt_token_bound, need.n, fee) for offer in offers)


def _insufficient(
    error: InsufficientCredit | KeyLimitReached,
    offers: tuple[Offer, ...],
    shorter: tuple[Offer, ...],
    need: Need,
    fee: Fee,
    call: Call,
) -> Refusal:
    """402 with what a program needs to do better, and OpenRouter's sentence for people.

    ``shorter``: who could serve if the answer's limit were lower, those included whose longest answer is.
    """
    code, fields = _shortage(error)
    if call.mode == BYOK:
        fields["required_usd"] = format_usd(error.required)
        who = "the balance" if code == "insufficient_credits" else "what is left of this key's limit"
        return Refusal(
            code,
            f"the month's free requests with provider keys are used up, and {who} does not cover the fee",
            **fields,
        )
    fields["required_usd"] = format_usd(min(offer.most for offer in offers))
    needed = "credits" if code == "insufficient_credits" else "credits than are left of this key's limit"
    if need.inputs is not None:
        return Refusal(code, f"This request requires more {needed}, or a shorter input.", param="input", **fields)
    affordable = affordable_limit(shorter, parse_usd(fields["available_usd"]), need, fee)
    fields["affordable_max_tokens"] = affordable
    asked = need.max_tokens if need.max_tokens is not None else max(offer.max_tokens for offer in offers)
    return Refusal(
        code,
        f"This request requires more {needed}, or fewer max_tokens. "
        f"You requested up to {asked} tokens, but can only afford {affordable}.",
        param=need.limit_field if need.max_tokens is not None else None,
        **fields,
    )


def _shortage(error: InsufficientCredit | KeyLimitReached) -> tuple[str, dict[str, Any]]:
    """The code of a 402, and what there is: in the account, or left of the key's limit."""
    if isinstance(error, InsufficientCredit):
        return "insufficient_credits", {"available_usd": format_usd(error.available)}
    return "key_limit_reached", {
        "available_usd": format_usd(error.remaining),
        "limit_usd": format_usd(error.limit),
        "resets_at": None if error.resets is None else shown_instant(error.resets),
    }


async def _close(call: Call, path: str, status: int, ledger: Ledger, instruments: Instruments) -> None:
    """Settle what was tried, or give back what was held for nothing."""
    assert call.account_id is not None, "auth comes first"
    if not call.attempts:
        balance = await _release(call.request_id, call.account_id, ledger)
        call.cost = 0
    else:
        settlement = _settlement(call, path, status)
        try:
            settled = await settle(ledger, settlement)
        except asyncio.CancelledError:
            ledger.settle_in_background(settlement)
            _count(settlement, instruments)
            raise
        except StorageUnavailable:
            if call.stream is None:
                settlement = _withheld(settlement)
                said = "so the answer is withheld and not charged; try again"
            else:
                said = "and what was delivered is charged as soon as they can be"
            ledger.settle_in_background(settlement)
            _count(settlement, instruments)
            raise Refusal("storage_unavailable", f"the books could not be reached in time, {said}") from None
        balance, call.cost = settled.balance, settled.cost
        _count(settlement, instruments)
    call.balance = balance.balance


async def _close_tried(call: Call, path: str, status: int, ledger: Ledger, instruments: Instruments) -> None:
    """Give a call its row, free, that was tried on the caller's own key and goes no further."""
    if not call.attempts:
        return
    assert call.account_id is not None, "auth comes first"
    call.hold, deadline = 0, microseconds(call.started_at) + LONGEST_CALL_SECONDS * 1_000_000
    try:
        await ledger.hold_byok(
            call.request_id, call.account_id, month="", free_requests=0, fee_bound=0, deadline=deadline
        )
    except AccountInactive:
        return
    await _close(call, path, status, ledger, instruments)


async def _release(request_id: str, account_id: str, ledger: Ledger) -> Balance:
    """Give the hold back, in the background where the books cannot take it now: no hold outlives its call."""
    try:
        return await ledger.release(request_id, account_id)
    except (StorageUnavailable, asyncio.CancelledError):
        ledger.release_in_background(request_id, account_id)
        raise


def _withheld(settlement: Settlement) -> Settlement:
    """The same call, free: whoever is told of an error is not charged.

    Only if the answer to a commit was lost may the charge already stand; the books then keep what was written first.
    """
    row = replace(
        settlement.row,
        status=503,
        billing_outcome=Ending.FAILED.value,
        provider_cost=0,
        fee=0,
        cost=0,
        absorbed=0,
        anomalous=False,
    )
    attempts = tuple(
        replace(attempt, borne_by="operator" if attempt.upstream_cost else "nobody") for attempt in settlement.attempts
    )
    return Settlement(row, attempts, delivered=False)


def _settlement(call: Call, path: str, status: int) -> Settlement:
    """The call as the books keep it."""
    assert call.account_id is not None, "auth comes first"
    assert call.mode is not None, "byok comes first"
    bill, offer = call.bill, call.offer
    usage = bill.usage if bill is not None else Usage(0, 0)
    charge, absorbed = (call.charge, call.absorbed) if bill is not None else (NOTHING, 0)
    answer = call.answer
    now = asyncio.get_running_loop().time()
    first_content = answer.first_content_at if answer is not None else None
    row = blank(CallRow)
    row.request_id = call.request_id
    row.created = microseconds(call.started_at)
    row.account_id = call.account_id
    row.key_id = call.key_id
    row.path = path
    row.requested_model = call.model.id
    row.model = offer.model.id if offer is not None else None
    row.provider = offer.provider_name if offer is not None else None
    row.mode = call.mode
    row.payer = _payer(call)
    row.streamed = call.streamed
    row.status = status
    row.billing_outcome = (bill.ending if bill is not None else Ending.FAILED).value
    row.usage_source = bill.usage_source if bill is not None else None
    row.estimated = bill is not None and bill.estimated
    row.anomalous = absorbed > 0
    row.prompt_tokens = usage.prompt_tokens
    row.cached_tokens = usage.cached_tokens
    row.cache_write_tokens = usage.cache_write_tokens
    row.completion_tokens = usage.completion_tokens
    row.reasoning_tokens = usage.reasoning_tokens
    row.held = call.hold or 0
    row.provider_cost = charge.provider_cost
    row.fee = charge.fee
    row.cost = charge.cost
    row.absorbed = absorbed
    row.price_version = offer.price.version if offer is not None else None
    row.price_rule = offer.price.applied_at(call.started_at, usage.prompt_tokens)[0] if offer is not None else None
    row.fee_percent = call.pricing.fee_percent if offer is not None else None
    row.latency_ms = int((now - call.started) * 1000)
    row.first_content_ms = int((first_content - call.started) * 1000) if first_content is not None else None
    row.balance_after = 0  # The books know it.
    row.attempts = ()
    return Settlement(row, tuple(call.attempts), delivered=bill is not None and bill.payable)


def _payer(call: Call) -> str:
    return "provider_key" if call.mode == BYOK else "credits"


def _count(settlement: Settlement, instruments: Instruments) -> None:
    """The metrics of money and tokens: the same numbers as the row that was just written."""
    row = settlement.row
    assert row.provider is not None, "a call that was not tried is released, not settled"
    assert row.model is not None, "a call that was not tried is released, not settled"
    instruments.spend(row.provider, row.model, row.mode, row.cost, row.absorbed)
    instruments.tokens(
        row.provider, row.model, row.prompt_tokens, row.cached_tokens, row.completion_tokens, row.reasoning_tokens
    )
    for attempt in settlement.attempts:
        instruments.upstream_cost(attempt.provider, attempt.model, attempt.upstream_cost)
