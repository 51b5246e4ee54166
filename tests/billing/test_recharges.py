"""What a payment's entries must be, whatever is told in whatever order: properties of the pure decision."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.recharges import (
    UNITS_PER_CENT,
    Dispute,
    Expected,
    Facts,
    Refund,
    SessionTold,
    Verdict,
    cents_to_pay,
    credit_for,
    due,
    judge,
    refundable_cents,
    share,
    taken_back_cents,
)

CENTS = st.integers(1, 10_000_000)
STATES = st.sampled_from(["paid", "unpaid", "open", "expired", "failed"])


def facts(**changes: object) -> Facts:
    """A recharge of 20 dollars, paid in full and credited, unless told otherwise."""
    paid = Facts(
        amount=2_000 * UNITS_PER_CENT,
        asked_cents=2_000,
        paid_cents=2_000,
        refunded_cents=0,
        refunds=(),
        disputes=(),
        credited=2_000 * UNITS_PER_CENT,
        refunded=0,
    )
    return dataclasses.replace(paid, **changes)  # type: ignore[arg-type]


def session(**changes: object) -> SessionTold:
    """A session that paid what was asked, unless told otherwise."""
    told = SessionTold(
        session_id="cs_1",
        recharge_id="recharge_1",
        account_id="acct_1",
        state="paid",
        currency="usd",
        amount_cents=2_000,
        payment_intent="pi_1",
    )
    return dataclasses.replace(told, **changes)  # type: ignore[arg-type]


EXPECTED = Expected(recharge_id="recharge_1", account_id="acct_1", session_id="cs_1", asked_cents=2_000)


@st.composite
def any_facts(draw: st.DrawFn) -> Facts:
    """Anything that can be known of a payment, nothing of it in the books yet."""
    asked = draw(CENTS)
    amount = draw(st.integers(1, asked)) * UNITS_PER_CENT
    statuses = st.sampled_from(["asked", "sent", "failed"])
    refunds = st.lists(
        st.builds(lambda c, s, k: Refund(cents=c, status=s, at_stripe=k), CENTS, statuses, st.booleans())
    )
    flags = st.lists(st.tuples(CENTS, st.booleans(), st.booleans()), max_size=3)
    disputes = tuple(
        Dispute(id=f"dp_{number}", cents=cents, opened=opened, returned=returned, taken=None, given_back=None)
        for number, (cents, opened, returned) in enumerate(draw(flags))
    )
    return facts(
        amount=amount,
        asked_cents=asked,
        paid_cents=draw(st.one_of(st.just(0), st.just(asked), CENTS)),
        refunded_cents=draw(st.integers(0, 10_000_000)),
        refunds=tuple(draw(refunds)),
        disputes=disputes,
        credited=0,
        refunded=0,
    )


def book(known: Facts) -> tuple[Facts, int]:
    """The facts once what is due is in the books, and what the balance moved."""
    balance = 0
    for step in due(known):
        sign = 1 if step.kind in ("credit", "refund_failed", "dispute_returned") else -1
        balance += sign * step.amount
        if step.kind == "credit":
            known = dataclasses.replace(known, credited=step.amount)
        elif not step.about:
            known = dataclasses.replace(known, refunded=known.refunded - sign * step.amount)
        else:
            name = "taken" if step.kind == "dispute" else "given_back"
            disputes = tuple(
                dataclasses.replace(one, **{name: step.amount}) if one.id == step.about else one  # type: ignore[arg-type]
                for one in known.disputes
            )
            known = dataclasses.replace(known, disputes=disputes)
    return known, balance


@given(any_facts())
def test_what_is_booked_is_not_due_again(known: Facts) -> None:
    """However often the same is told."""
    booked, _ = book(known)

    assert [] == due(booked)


@given(any_facts())
def test_never_more_than_was_asked_for_and_never_more_back_than_in(known: Facts) -> None:
    """A credit is at most our row's, a refund at most the credit, and a returned dispute moves nothing in the end."""
    booked, balance = book(known)
    lost = sum(dispute.taken or 0 for dispute in booked.disputes if not dispute.returned)

    assert 0 <= booked.refunded <= booked.credited <= known.amount
    assert balance == booked.credited - booked.refunded - lost


@given(any_facts(), st.integers(0, 10_000_000), st.booleans())
def test_the_order_does_not_matter(known: Facts, later: int, early: bool) -> None:
    """Booked in between or all at the end: the same balance."""
    grown = dataclasses.replace(known, refunded_cents=max(known.refunded_cents, later))
    half, first = book(known if early else dataclasses.replace(known, refunds=(), disputes=()))
    together = dataclasses.replace(
        grown,
        credited=half.credited,
        refunded=half.refunded,
        disputes=half.disputes if early else grown.disputes,
    )

    assert book(grown)[1] == first + book(together)[1]


@given(any_facts(), st.integers(0, 10**15))
def test_what_is_refundable_is_covered_and_is_the_most(known: Facts, left: int) -> None:
    """What goes back takes at most what is left, and one cent more would take more or is not there."""
    booked, _ = book(known)
    cents = refundable_cents(booked, left)
    back = taken_back_cents(booked)

    assert cents >= 0
    if cents:
        assert share(booked, back + cents) - share(booked, back) <= left
    if booked.paid_cents and back + cents < booked.paid_cents:
        assert share(booked, back + cents + 1) - share(booked, back) > left


@given(
    st.builds(session, state=STATES, amount_cents=st.integers(0, 10_000), currency=st.sampled_from(["usd", "eur", ""]))
)
def test_only_dollars_that_were_paid_are_credited(told: SessionTold) -> None:
    """Everything else waits, ends or is refused."""
    verdict = judge(EXPECTED, told)

    paid = told.state == "paid" and told.currency == "usd" and told.amount_cents > 0
    assert paid == (verdict.state == "paid")
    assert (told.amount_cents != 2_000) == bool(verdict.difference) or not paid


def test_a_session_of_somebody_else_is_refused() -> None:
    """Whatever names another recharge, account or session than our row does, paid or not."""
    for name in ("session_id", "recharge_id", "account_id"):
        verdict = judge(EXPECTED, session(**{name: "another"}))
        assert ("refused", True) == (verdict.state, bool(verdict.difference))
    assert Verdict("paid", "") == judge(EXPECTED, session(recharge_id="", account_id=""))


@pytest.mark.parametrize(
    ("changes", "state", "difference"),
    [
        ({}, "paid", ""),
        ({"session_id": "cs_2"}, "refused", "another session than ours"),
        ({"recharge_id": "recharge_2"}, "refused", "another recharge than ours"),
        ({"account_id": "acct_2"}, "refused", "another account than ours"),
        ({"recharge_id": ""}, "paid", ""),
        ({"state": "expired", "currency": "eur"}, "expired", ""),
        ({"currency": "USD"}, "paid", ""),
        ({"currency": "eur"}, "refused", "paid in eur"),
        ({"currency": "a very long one"}, "refused", "paid in a very lon"),
        ({"currency": ""}, "refused", "paid in no currency"),
        ({"amount_cents": 0}, "refused", "paid nothing"),
        ({"amount_cents": 1}, "paid", "paid 1 cents of 2000"),
        ({"amount_cents": 2_001}, "paid", "paid 2001 cents of 2000"),
    ],
)
def test_what_a_session_means(changes: dict[str, Any], state: str, difference: str) -> None:
    """What it is worth, and in words what is not as it was asked for."""
    verdict = judge(EXPECTED, session(**changes))

    assert (state, difference) == (verdict.state, verdict.difference)


DOLLAR = 100 * UNITS_PER_CENT
DISPUTE = Dispute(id="dp_1", cents=500, opened=False, returned=False, taken=None, given_back=None)


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, []),
        ({"credited": 0}, [("credit", 20 * DOLLAR, "")]),
        ({"credited": 0, "paid_cents": 0}, []),
        ({"credited": 0, "paid_cents": 300}, [("credit", 3 * DOLLAR, "")]),
        ({"refunded_cents": 500}, [("refund", 5 * DOLLAR, "")]),
        ({"refunded_cents": 500, "refunded": 5 * DOLLAR}, []),
        ({"refunded_cents": 500, "refunded": 7 * DOLLAR}, [("refund_failed", 2 * DOLLAR, "")]),
        ({"amount": 2_000, "credited": 2_000, "refunded_cents": 1}, [("refund", 1, "")]),
        ({"disputes": (DISPUTE,)}, []),
        ({"disputes": (replace(DISPUTE, opened=True),)}, [("dispute", 5 * DOLLAR, "dp_1")]),
        (
            {"disputes": (replace(DISPUTE, returned=True),)},
            [("dispute", 5 * DOLLAR, "dp_1"), ("dispute_returned", 5 * DOLLAR, "dp_1")],
        ),
        ({"disputes": (replace(DISPUTE, opened=True, taken=3),)}, []),
        ({"disputes": (replace(DISPUTE, opened=True, returned=True, taken=3),)}, [("dispute_returned", 3, "dp_1")]),
        ({"disputes": (replace(DISPUTE, opened=True, returned=True, taken=3, given_back=3),)}, []),
    ],
)
def test_the_steps_that_are_missing(changes: dict[str, Any], steps: list[tuple[str, int, str]]) -> None:
    """Each on the smallest history that asks for it."""
    assert steps == [(step.kind, step.amount, step.about) for step in due(facts(**changes))]


@pytest.mark.parametrize(
    ("changes", "left", "cents"),
    [
        ({}, 20 * DOLLAR, 2_000),
        ({}, 5 * DOLLAR, 500),
        ({}, 5 * DOLLAR - 1, 499),
        ({}, UNITS_PER_CENT - 1, 0),
        ({"refunded_cents": 700, "refunded": 7 * DOLLAR}, 13 * DOLLAR, 1_300),
        ({"refunded_cents": 700, "refunded": 7 * DOLLAR}, 3 * DOLLAR, 300),
        ({"credited": 0}, 20 * DOLLAR, 0),
        ({"paid_cents": 0}, 20 * DOLLAR, 0),
        # Three units for two cents: one unit covers the first cent, the second needs both others.
        ({"amount": 3, "credited": 3, "asked_cents": 2, "paid_cents": 2}, 1, 1),
        ({"amount": 3, "credited": 3, "asked_cents": 2, "paid_cents": 2}, 2, 1),
        ({"amount": 3, "credited": 3, "asked_cents": 2, "paid_cents": 2}, 3, 2),
    ],
)
def test_what_can_be_paid_back(changes: dict[str, Any], left: int, cents: int) -> None:
    """Whole cents that what is left covers; nothing of a payment that is not in the books."""
    assert cents == refundable_cents(facts(**changes), left)


def test_a_credit_is_whole_units() -> None:
    """Rounded down, and of type int: money is never a float."""
    assert (3, int) == (credit_for(10, 3, 1), type(credit_for(10, 3, 1)))


def test_a_refund_is_counted_once_however_it_is_told() -> None:
    """By the payment's sum, by the refund itself, or by both; one that failed not at all."""
    sent = Refund(cents=500, status="sent", at_stripe=True)
    failed = Refund(cents=500, status="failed", at_stripe=True)
    never_made = Refund(cents=500, status="failed", at_stripe=False)

    assert 500 == taken_back_cents(facts(refunded_cents=500))
    assert 500 == taken_back_cents(facts(refunds=(sent,)))
    assert 500 == taken_back_cents(facts(refunded_cents=500, refunds=(sent,)))
    assert 0 == taken_back_cents(facts(refunded_cents=500, refunds=(failed,)))
    assert 500 == taken_back_cents(facts(refunded_cents=500, refunds=(never_made,)))


@given(CENTS, st.decimals(0, 100, places=2))
def test_the_card_pays_the_fee_on_top(cents: int, percent: Decimal) -> None:
    """Rounded half up to the cent; without a fee exactly the amount; paid in full is credited in full."""
    asked = cents_to_pay(cents * UNITS_PER_CENT, percent)
    exact = Decimal(cents) * (100 + percent) / 100

    assert abs(asked - exact) <= Decimal("0.5")
    assert cents * UNITS_PER_CENT == credit_for(cents * UNITS_PER_CENT, asked, asked)


def test_the_fee_of_the_guide() -> None:
    """20 dollars with 5.5 % are 21.10."""
    assert 2_110 == cents_to_pay(2_000 * UNITS_PER_CENT, Decimal("5.5"))
