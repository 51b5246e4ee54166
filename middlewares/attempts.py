"""What is written down of one try at one upstream: an attempt row for the billing log, and its counts.

Every request that reached a provider has a row, those that failed and were tried again as well: what may be billed twice
upstream can be seen there (outcomes `connection_lost`, `timed_out`, `unreadable`, `stream_cut`).
"""

from __future__ import annotations

from typing import Final

from billing.matrix import BYOK
from billing.money import Money, divide_half_up
from billing.pricing import RATE_UNITS_PER_MONEY_UNIT
from billing.usage import Usage
from billing.values import blank
from metrics.instruments import Instruments
from middlewares.call import Call
from providers.errors import UpstreamError
from providers.selection import Offer
from storage.calls import AttemptRow

_STATUS_WITHOUT_ERROR: Final = {"served": 200}
"""What an upstream answered where nothing was wrong; unknown where the attempt was given up."""


def record(
    call: Call, offer: Offer, seconds: float, outcome: str, error: UpstreamError | None, instruments: Instruments
) -> None:
    """Add the row of an attempt that is over to its call, and count it."""
    if call.answer is None or call.answer.asked_at is None:
        return  # Refused before the upstream was called: nothing was tried, so nothing is told in the log.
    usage = call.bill.usage if call.bill is not None else Usage(0, 0)
    cost = _upstream_cost(offer, call, usage)
    row = blank(AttemptRow)
    row.number = len(call.attempts) + 1
    row.provider = offer.provider_name
    row.model = offer.model.id
    row.upstream_model = offer.upstream.upstream_model
    row.outcome = outcome
    row.status = error.status if error is not None else _STATUS_WITHOUT_ERROR.get(outcome)
    row.code = error.code[:60] if error is not None else ""
    row.latency_ms = int(seconds * 1000)
    row.prompt_tokens = usage.prompt_tokens
    row.completion_tokens = usage.completion_tokens
    row.upstream_cost = cost
    row.borne_by = _borne_by(call, cost)
    call.attempts.append(row)
    if call.attempt_times is not None:
        call.attempt_times.append((call.answer.asked_at, call.answer.heard_at))
    instruments.attempt(offer.provider_name, offer.model.id, outcome, seconds)
    if call.answer.tally.ignored:
        instruments.usage_ignored(offer.provider_name, call.answer.tally.ignored)


def _upstream_cost(offer: Offer, call: Call, usage: Usage) -> Money:
    """What the provider charges the operator for the attempt; nothing where the caller's own key pays."""
    if call.mode == BYOK:
        return 0
    rates = offer.price.upstream_rates_at(call.started_at, usage.prompt_tokens)
    return divide_half_up(rates.exact_cost(usage), RATE_UNITS_PER_MONEY_UNIT)


def _borne_by(call: Call, cost: Money) -> str:
    if not cost:
        return "nobody"
    return "account" if call.bill is not None and call.bill.payable else "operator"
