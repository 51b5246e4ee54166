"""What a call costs, computed again from the facts that its line of the billing log keeps.

Receipts prove a charge with it, re-rating finds what a wrong price took too much, a comparison of price books what another
would take. It does again what was done when the call was made: choose the rule by instant and prompt, multiply, add the
fee, round once, take no more than was held, and nothing at all where the call was free by how it ended.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Final

from billing.matrix import BYOK, PAID_ENDINGS, Ending
from billing.money import Money, divide_half_up
from billing.pricing import (
    NOTHING,
    RATE_UNITS_PER_MONEY_UNIT,
    Charge,
    Fee,
    InvalidPrice,
    Price,
    Rates,
    cap,
    charge,
    charge_fee_only,
)
from billing.usage import Usage
from billing.values import named_value, value

_PAID: Final = frozenset(ending.value for ending in PAID_ENDINGS)
OUTCOMES: Final = frozenset(ending.value for ending in Ending)
"""Every way a call can end, as the billing log says it."""


class NotPriced(ValueError):
    """The facts of a call do not say enough to compute its cost again; ``field`` is the one that stands in the way."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


@named_value
class Facts:
    """What decides a call's cost, besides the price."""

    instant: datetime
    """When it came in: the moment whose prices count."""
    mode: str
    billing_outcome: str
    usage: Usage
    fee_percent: str | None
    """The fee as it was when the call was made; ``0`` for a free byok call. None in lines written before it was kept."""
    held: Money

    @property
    def paid(self) -> bool:
        """Whether the account pays for a call that ended like this."""
        return self.billing_outcome in _PAID


@value
class Moves:
    """What a call moves in the ledger, by where it goes."""

    usage: Money = 0
    """customer → revenue:usage."""
    fee: Money = 0
    """customer → revenue:fee."""
    byok: Money = 0
    """customer → revenue:byok."""
    absorbed: Money = 0
    """absorbed → revenue:usage."""

    @property
    def cost(self) -> Money:
        """What the account pays."""
        return self.usage + self.fee + self.byok

    def by_kind(self) -> dict[str, Money]:
        """The amounts under the kinds of their entries."""
        return {"usage": self.usage, "fee": self.fee, "byok": self.byok, "absorbed": self.absorbed}


@value
class Repriced:
    """What a price makes of a call's facts."""

    rule: str
    rates: Rates
    charge: Charge
    absorbed: Money
    upstream_cost: Money
    """What the provider charged the operator for the answer."""
    byok: bool

    @property
    def moves(self) -> Moves:
        """The same as the ledger posts it."""
        return moves_of(self.charge.provider_cost, self.charge.fee, self.absorbed, byok=self.byok)


def moves_of(provider_cost: Money, fee: Money, absorbed: Money, *, byok: bool) -> Moves:
    """What a line of the billing log moved."""
    if byok:
        return Moves(byok=provider_cost + fee, absorbed=absorbed)
    return Moves(usage=provider_cost, fee=fee, absorbed=absorbed)


def reprice(price: Price, facts: Facts, *, capped: bool = True) -> Repriced:
    """The call at ``price``; ``capped`` by what was held for it, as every charge is. Raises NotPriced."""
    usage = facts.usage
    if usage.cached_tokens + usage.cache_write_tokens > usage.prompt_tokens:
        raise NotPriced(
            "cached_tokens", "cached and cache-write tokens are part of the prompt, and are more than it has"
        )
    rule, rates = price.applied_at(facts.instant, usage.prompt_tokens)
    byok = facts.mode == BYOK
    wanted = NOTHING
    if facts.paid:
        fee = fee_of(facts.fee_percent)
        wanted = (charge_fee_only if byok else charge)(rates.exact_cost(usage), fee)
    taken, absorbed = cap(wanted, facts.held) if capped else (wanted, 0)
    upstream = 0 if byok else price.upstream_rates_at(facts.instant, usage.prompt_tokens).exact_cost(usage)
    upstream_cost = divide_half_up(upstream, RATE_UNITS_PER_MONEY_UNIT)
    return Repriced(rule, rates, taken, absorbed, upstream_cost, byok)


def fee_of(percent: str | None) -> Fee:
    """The fee that a line of the billing log names. Raises NotPriced."""
    if percent is None:
        raise NotPriced("fee_percent", "the line was written before hold and fee were kept in it")
    try:
        return Fee.percent(Decimal(percent))
    except (InvalidOperation, InvalidPrice):
        raise NotPriced("fee_percent", f"a fee is a percentage such as 5.5, not {percent!r}") from None


def ledger_accounts(account_id: str) -> dict[str, tuple[str, str]]:
    """For each kind of a call's entries, the ledger account it takes from and the one it gives to."""
    customer = f"customer:{account_id}"
    return {
        "usage": (customer, "revenue:usage"),
        "fee": (customer, "revenue:fee"),
        "byok": (customer, "revenue:byok"),
        "absorbed": ("absorbed", "revenue:usage"),
    }


ADJUSTMENT: Final = "adjustment"
"""The kind of an entry that corrects what a call was charged."""


def adjustment_id(version: str, request_id: str, kind: str) -> str:
    """The id of the entry that moves a call's ``kind`` to the price ``version``; the same correction is the same id."""
    return f"rerate:{version}:{request_id}:{kind}"


def version_of_adjustment(entry_id: str, request_id: str) -> tuple[str, str] | None:
    """The price version and the kind that such an id names; None if it is not one of this call's."""
    head, _, kind = entry_id.rpartition(":")
    if not head.startswith("rerate:") or not head.endswith(f":{request_id}"):
        return None
    version = head.removeprefix("rerate:").removesuffix(f":{request_id}")
    return (version, kind) if version and kind in Moves().by_kind() else None
