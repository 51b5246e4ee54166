"""What a recharge's entries must be: a pure function of what Stripe has told about its payment, in any order and repetition.

What is told is kept as facts that only grow: paid or not, the largest sum refunded so far, each refund and its end, each
dispute opened and given back. `due` compares the facts with what the books say and returns the steps that are missing, so an
event that comes early, late, twice or never changes when something is booked and not what.

Amounts of Stripe are whole cents of what the card paid; ours are 10⁻⁸ USD of credit. Where a fee is taken on recharges the
card pays more than is credited, and every part of the payment stands for the same part of the credit.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal

from billing.money import Money, divide_half_up
from billing.values import named_value, value

CURRENCY: Final = "usd"
UNITS_PER_CENT: Final = 1_000_000

SessionState = Literal["paid", "unpaid", "open", "expired", "failed"]
RefundStatus = Literal["asked", "sent", "failed"]


@named_value
class SessionTold:
    """What Stripe says of a checkout session. `recharge_id` and `account_id` are ours, given when it was opened."""

    session_id: str
    recharge_id: str
    account_id: str
    state: SessionState
    currency: str
    amount_cents: int
    payment_intent: str


@named_value
class RefundedTold:
    """How much of a payment has been refunded, all refunds together."""

    payment_intent: str
    refunded_cents: int


@named_value
class RefundTold:
    """One refund and how it stands; `refund_id` is ours where we asked for it."""

    payment_intent: str
    stripe_id: str
    refund_id: str
    cents: int
    status: Literal["sent", "failed"]


@named_value
class DisputeTold:
    """One dispute: `opened` takes the money away, `returned` gives it back."""

    payment_intent: str
    dispute_id: str
    cents: int
    phase: Literal["opened", "returned", "lost"]


Told = SessionTold | RefundedTold | RefundTold | DisputeTold


@named_value
class Expected:
    """What our own row says of a recharge: what a session is checked against."""

    recharge_id: str
    account_id: str
    session_id: str
    asked_cents: int


@value
class Verdict:
    """What a session means for its recharge; `difference` says what is not as it was asked for."""

    state: SessionState | Literal["refused"]
    difference: str


@named_value
class Refund:
    """A refund of a payment; `at_stripe` once Stripe has said that it knows it."""

    cents: int
    status: RefundStatus
    at_stripe: bool


@named_value
class Dispute:
    """A dispute: what is known of it, and what the books have of it (None where nothing was booked yet)."""

    id: str
    cents: int
    opened: bool
    returned: bool
    taken: Money | None
    given_back: Money | None


@named_value
class Facts:
    """All that is known of a payment, and what of it is in the books."""

    amount: Money
    """The credit that was asked for."""
    asked_cents: int
    paid_cents: int
    """What the card paid; 0 until it did."""
    refunded_cents: int
    """The largest sum of refunds that Stripe has told."""
    refunds: tuple[Refund, ...]
    disputes: tuple[Dispute, ...]
    credited: Money
    refunded: Money
    """In the books: what was credited, and what refunds took of it."""


@value
class Step:
    """One entry that is missing. `amount` is above zero; `about` is a dispute's id, empty otherwise."""

    kind: Literal["credit", "refund", "refund_failed", "dispute", "dispute_returned"]
    amount: Money
    about: str


def cents_to_pay(amount: Money, fee_percent: Decimal) -> int:
    """What the card pays for an amount of credit, which is whole cents: the fee comes on top, rounded half up."""
    numerator, denominator = (100 + fee_percent).as_integer_ratio()
    return divide_half_up(amount * numerator, denominator * 100 * UNITS_PER_CENT)


def judge(expected: Expected, told: SessionTold) -> Verdict:
    """Compare a session with our own row, which alone says whose money it is and how much was asked for.

    Only a payment in full view is credited: of our recharge, for its account, in dollars, more than nothing.
    """
    for ours, theirs, name in (
        (expected.session_id, told.session_id, "session"),
        (expected.recharge_id, told.recharge_id, "recharge"),
        (expected.account_id, told.account_id, "account"),
    ):
        if ours and theirs and ours != theirs:
            return Verdict("refused", f"another {name} than ours")
    if told.state != "paid":
        return Verdict(told.state, "")
    if told.currency.lower() != CURRENCY:
        return Verdict("refused", f"paid in {told.currency[:10] or 'no currency'}")
    if told.amount_cents <= 0:
        return Verdict("refused", "paid nothing")
    if told.amount_cents != expected.asked_cents:
        return Verdict("paid", f"paid {told.amount_cents} cents of {expected.asked_cents}")
    return Verdict("paid", "")


def credit_for(amount: Money, asked_cents: int, paid_cents: int) -> Money:
    """What is credited for what was paid: never more than was asked for."""
    return amount * min(paid_cents, asked_cents) // asked_cents


def share(facts: Facts, cents: int) -> Money:
    """The part of the credit that stands for so many cents of the payment."""
    credit = credit_for(facts.amount, facts.asked_cents, facts.paid_cents)
    return credit * min(cents, facts.paid_cents) // facts.paid_cents


def taken_back_cents(facts: Facts) -> int:
    """How much of the payment has gone back, or is asked to go back: each refund counted once, however it was told."""
    failed = sum(refund.cents for refund in facts.refunds if refund.status == "failed" and refund.at_stripe)
    standing = sum(refund.cents for refund in facts.refunds if refund.status != "failed")
    return min(facts.paid_cents, max(facts.refunded_cents - failed, standing))


def refundable_cents(facts: Facts, left: Money) -> int:
    """The most that can be paid back for credit of which `left` is unspent: whole cents, never more than they stand for."""
    if not facts.credited or not facts.paid_cents:
        return 0
    back = taken_back_cents(facts)
    reach = ((left + share(facts, back) + 1) * facts.paid_cents - 1) // facts.credited
    return max(0, min(facts.paid_cents, reach) - back)


def due(facts: Facts) -> list[Step]:
    """The entries that are missing; empty when the books say what is known."""
    if not facts.paid_cents:
        return []
    steps: list[Step] = []
    if not facts.credited:
        steps.append(Step("credit", credit_for(facts.amount, facts.asked_cents, facts.paid_cents), ""))
    change = share(facts, taken_back_cents(facts)) - facts.refunded
    if change:
        steps.append(Step("refund" if change > 0 else "refund_failed", abs(change), ""))
    for dispute in facts.disputes:
        taken = dispute.taken
        if taken is None and (dispute.opened or dispute.returned):
            taken = share(facts, dispute.cents)
            steps.append(Step("dispute", taken, dispute.id))
        if dispute.given_back is None and dispute.returned and taken is not None:
            steps.append(Step("dispute_returned", taken, dispute.id))
    return [step for step in steps if step.amount]
