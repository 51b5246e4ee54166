"""What Stripe tells, taken into the books: facts are written down, and the entries that follow from them, in one transaction.

Everything here may be told in any order and any number of times, by webhooks, by the sweep and by return pages, in several
processes: billing/recharges.py says which entries are missing, and only those are written, under ids of their own:

* `<recharge>` from stripe:clearing to the account: the credit; it is also the id of the lot.
* `refund:<recharge>:<number>` to stripe:clearing, or back where a refund failed; the numbers count up.
* `dispute:<dispute>` to disputed:<account>, `dispute_returned:<dispute>` back.

Refunds and disputes may leave a debt. Locks are taken in one order: the account, the recharge, the payment. A payment that is
no recharge's yet is written down without an account; whoever hears later which recharge it paid finds it there.
"""

from __future__ import annotations

from typing import Final, Literal

from billing.money import format_usd
from billing.recharges import (
    UNITS_PER_CENT,
    Dispute,
    DisputeTold,
    Expected,
    Facts,
    Refund,
    RefundedTold,
    RefundTold,
    SessionTold,
    Step,
    due,
    judge,
)
from billing.values import value
from storage.accounts import find_account
from storage.database import Connection
from storage.outbox import put_mail
from storage.postings import find_balance, post_credit, remember_balance
from storage.recharges import Recharge, find_by_payment, find_by_session, find_recharge

Outcome = Literal["credited", "applied", "nothing_new", "refused", "unmatched", "again"]

_LOCK_ACCOUNT = "UPDATE account SET held = held WHERE id = ? RETURNING id"
_LOCK_RECHARGE = "UPDATE recharge SET checked = checked WHERE id = ?"
_LOCK_PAYMENT = """INSERT INTO payment (payment_intent, refunded_cents) VALUES (?, ?)
    ON CONFLICT (payment_intent) DO UPDATE SET refunded_cents = CASE
        WHEN excluded.refunded_cents > payment.refunded_cents THEN excluded.refunded_cents ELSE payment.refunded_cents END"""
_REFUNDED = "SELECT refunded_cents FROM payment WHERE payment_intent = ?"
_PAID = """UPDATE recharge SET status = 'paid', paid = ?, paid_cents = ?, difference = ?,
    session_id = COALESCE(session_id, ?), payment_intent = ? WHERE id = ?"""
_STATUS = """UPDATE recharge SET status = ?, session_id = COALESCE(session_id, ?)
    WHERE id = ? AND status IN ('created', 'open', 'processing') AND status <> ?"""
_DIFFERENCE = "UPDATE recharge SET difference = ? WHERE id = ? AND difference = ''"
_BOOKED = """UPDATE recharge SET credited = credited + ?, refunded = refunded + ?, refund_entries = refund_entries + ?
    WHERE id = ?"""
_MOVE = "UPDATE account SET balance = balance + ? WHERE id = ?"
_INSERT_ENTRY = """INSERT INTO entry (id, debit, credit, amount, kind, reference, reason, created)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
_REFUNDS = "SELECT cents, status, stripe_id FROM refund WHERE payment_intent = ?"
_DISPUTES = """SELECT id, cents, opened, returned, taken, given_back FROM dispute WHERE payment_intent = ?
    ORDER BY created, id"""
_TAKEN = "UPDATE dispute SET taken = ? WHERE id = ?"
_GIVEN_BACK = "UPDATE dispute SET given_back = ? WHERE id = ?"
_KNOWN_REFUND = """UPDATE refund SET stripe_id = COALESCE(stripe_id, ?), finished = COALESCE(finished, ?),
    status = CASE WHEN status = 'failed' THEN 'failed' ELSE ? END
    WHERE (id = ? OR stripe_id = ?) AND payment_intent = ?"""
_NEW_REFUND = """INSERT INTO refund (id, payment_intent, stripe_id, cents, status, asked_by, created, finished)
    VALUES (?, ?, ?, ?, ?, 'stripe', ?, ?)"""
_TELL_DISPUTE = """INSERT INTO dispute (id, payment_intent, cents, opened, returned, lost, taken, given_back, created)
    VALUES (?, ?, ?, ?, ?, ?, NULL, NULL, ?) ON CONFLICT (id) DO UPDATE SET
    opened = dispute.opened OR excluded.opened, returned = dispute.returned OR excluded.returned,
    lost = dispute.lost OR excluded.lost"""
_EVENT = "INSERT INTO stripe_event (id, type, subject, outcome, received) VALUES (?, ?, ?, ?, ?)"
_EVENT_ONCE = f"{_EVENT} ON CONFLICT (id) DO NOTHING"
_UNMATCHED = """SELECT id, type, subject, received FROM stripe_event WHERE outcome IN ('unmatched', 'refused')
    ORDER BY received DESC, id DESC LIMIT ?"""

_STATUS_OF: Final = {"unpaid": "processing", "expired": "expired", "failed": "failed"}

PaymentTold = RefundedTold | RefundTold | DisputeTold


@value
class Event:
    """A webhook's own id and type; None in its place is something that we asked for ourselves."""

    id: str
    type: str


@value
class Heard:
    """What became of something told: an outcome, the credit if there was one, and what is not as it should be."""

    outcome: Outcome
    credited: int = 0
    difference: str = ""


def find_told_recharge(connection: Connection, told: SessionTold) -> Recharge | None:
    """The recharge that a session is about: by the id that we gave it, else by the session's own."""
    return find_recharge(connection, told.recharge_id) or find_by_session(connection, told.session_id)


def hear_session(
    connection: Connection, recharge: Recharge | None, told: SessionTold, event: Event | None, now: int
) -> Heard:
    """Take in what Stripe says of a checkout session, and credit it if it is paid. Without a recharge it is only noted."""
    if recharge is None:
        return _noted(connection, event, told.session_id, Heard("unmatched"), now)
    found = _lock(connection, recharge)
    expected = Expected(
        recharge_id=found.id,
        account_id=found.account_id,
        session_id=found.session_id or "",
        asked_cents=found.asked_cents,
    )
    verdict = judge(expected, told)
    if verdict.state == "refused":
        heard = _refused(connection, found, verdict.difference)
    elif verdict.state == "paid":
        heard = _hear_paid(connection, found, told, verdict.difference, now)
    elif (status := _STATUS_OF.get(verdict.state)) is not None:
        changed = connection.execute(_STATUS, (status, told.session_id, found.id, status)).rowcount
        heard = Heard("applied" if changed else "nothing_new")
    else:
        heard = Heard("nothing_new")
    return _noted(connection, event, told.session_id, heard, now)


def _hear_paid(connection: Connection, found: Recharge, told: SessionTold, difference: str, now: int) -> Heard:
    """Credit a paid session once; another payment for the same recharge, or one that paid another, is refused."""
    intent = told.payment_intent or told.session_id
    if found.paid_cents:
        if found.payment_intent != intent:
            return _refused(connection, found, "paid again by another payment")
        return Heard("nothing_new")
    other = find_by_payment(connection, intent)
    if other is not None:
        return _refused(connection, found, "paid by a payment that paid another recharge")
    connection.execute(_PAID, (now, told.amount_cents, difference, told.session_id, intent, found.id))
    credited = settle(connection, found.id, now)
    return Heard("credited", credited, difference)


def _refused(connection: Connection, found: Recharge, difference: str) -> Heard:
    connection.execute(_DIFFERENCE, (difference, found.id))
    return Heard("refused", 0, difference)


def hear_payment(
    connection: Connection, recharge: Recharge | None, told: PaymentTold, event: Event | None, now: int
) -> Heard:
    """Take in what Stripe says of a payment's refunds and disputes, and book what follows.

    `recharge` is the one that the payment is known to have paid. If only this look finds it, the outcome is "again": the
    facts stand, and the caller must come again with it, so that locks are taken in their order.
    """
    if recharge is not None:
        _lock(connection, recharge)
    refunded = told.refunded_cents if isinstance(told, RefundedTold) else 0
    lock_payment(connection, told.payment_intent, refunded)
    if isinstance(told, RefundTold):
        _tell_refund(connection, told, now)
    elif isinstance(told, DisputeTold):
        opened, returned, lost = (told.phase == phase for phase in ("opened", "returned", "lost"))
        values = (told.dispute_id, told.payment_intent, told.cents, opened or lost, returned, lost, now)
        connection.execute(_TELL_DISPUTE, values)
    if recharge is None:
        if find_by_payment(connection, told.payment_intent) is not None:
            return Heard("again")
        return _noted(connection, event, told.payment_intent, Heard("unmatched"), now)
    before = _entries(connection, recharge)
    settle(connection, recharge.id, now)
    heard = Heard("nothing_new" if _entries(connection, recharge) == before else "applied")
    return _noted(connection, event, told.payment_intent, heard, now)


def _tell_refund(connection: Connection, told: RefundTold, now: int) -> None:
    values = (told.stripe_id, now, told.status, told.refund_id, told.stripe_id, told.payment_intent)
    if not connection.execute(_KNOWN_REFUND, values).rowcount:
        row = (told.stripe_id, told.payment_intent, told.stripe_id, told.cents, told.status, now, now)
        connection.execute(_NEW_REFUND, row)


def _entries(connection: Connection, recharge: Recharge) -> tuple[int, int]:
    """Changes whenever an entry was written: the number of refunds' entries, and the balance."""
    found = find_recharge(connection, recharge.id)
    assert found is not None, "recharges are never deleted"
    return found.refund_entries, find_balance(connection, recharge.account_id).balance


def settle(connection: Connection, recharge_id: str, now: int) -> int:
    """Write the entries that are missing, and return what was credited. The account and the recharge are locked."""
    recharge = find_recharge(connection, recharge_id)
    assert recharge is not None, "recharges are never deleted"
    lock_payment(connection, recharge.payment_intent or "")
    credited = 0
    for step in due(read_facts(connection, recharge)):
        recharge = find_recharge(connection, recharge_id)
        assert recharge is not None, "recharges are never deleted"
        if step.kind == "credit":
            reason = f"paid by {recharge.payment_intent}"
            post_credit(connection, recharge_id, recharge.account_id, step.amount, "stripe:clearing", reason, now)
            connection.execute(_BOOKED, (step.amount, 0, 0, recharge_id))
            _mail(connection, f"receipt:{recharge_id}", "receipt", recharge, step.amount, now)
            credited = step.amount
        elif step.about:
            _post_dispute(connection, recharge, step, now)
        else:
            _post_refund(connection, recharge, step, now)
    return credited


def read_facts(connection: Connection, recharge: Recharge) -> Facts:
    """All that is known of a recharge's payment."""
    intent = recharge.payment_intent or ""
    told = connection.execute(_REFUNDED, (intent,)).fetchone()
    refunds = [
        Refund(cents=cents, status=status, at_stripe=stripe_id is not None)
        for cents, status, stripe_id in connection.execute(_REFUNDS, (intent,)).fetchall()
    ]
    disputes = [
        Dispute(id=name, cents=cents, opened=bool(opened), returned=bool(returned), taken=taken, given_back=given_back)
        for name, cents, opened, returned, taken, given_back in connection.execute(_DISPUTES, (intent,)).fetchall()
    ]
    return Facts(
        amount=recharge.amount,
        asked_cents=recharge.asked_cents,
        paid_cents=recharge.paid_cents,
        refunded_cents=0 if told is None else told[0],
        refunds=tuple(refunds),
        disputes=tuple(disputes),
        credited=recharge.credited,
        refunded=recharge.refunded,
    )


def _post_refund(connection: Connection, recharge: Recharge, step: Step, now: int) -> None:
    taken = step.amount if step.kind == "refund" else -step.amount
    entry_id = f"refund:{recharge.id}:{recharge.refund_entries + 1}"
    _post(connection, entry_id, recharge, -taken, "stripe:clearing", step.kind, now)
    _mail(connection, entry_id, "refund" if taken > 0 else "refund_returned", recharge, step.amount, now)
    connection.execute(_BOOKED, (0, taken, 1, recharge.id))


def _post_dispute(connection: Connection, recharge: Recharge, step: Step, now: int) -> None:
    taken = step.kind == "dispute"
    change = -step.amount if taken else step.amount
    entry_id = f"{step.kind}:{step.about}"
    _post(connection, entry_id, recharge, change, f"disputed:{recharge.account_id}", step.kind, now)
    connection.execute(_TAKEN if taken else _GIVEN_BACK, (step.amount, step.about))


def _post(
    connection: Connection, entry_id: str, recharge: Recharge, change: int, counterpart: str, kind: str, now: int
) -> None:
    """One entry between the account and `counterpart`; below zero it takes, also what is not there."""
    customer = f"customer:{recharge.account_id}"
    sides = (counterpart, customer) if change > 0 else (customer, counterpart)
    connection.execute(_INSERT_ENTRY, (entry_id, *sides, abs(change), kind, recharge.id, "", now))
    remember_balance(connection, entry_id, recharge.account_id)
    connection.execute(_MOVE, (change, recharge.account_id))


def _mail(connection: Connection, mail_id: str, kind: str, recharge: Recharge, amount: int, now: int) -> None:
    """Have the owner told of an entry, in the transaction that writes it."""
    account = find_account(connection, recharge.account_id)
    assert account is not None, "accounts are never deleted"
    facts = {
        "recharge": recharge.id,
        "amount": format_usd(amount),
        "charged": format_usd(recharge.paid_cents * UNITS_PER_CENT),
        "balance": format_usd(account.balance),
    }
    put_mail(connection, mail_id, kind, account.email, facts, now)


def _lock(connection: Connection, recharge: Recharge) -> Recharge:
    """Lock the account, then the recharge, and read it as it is now."""
    lock_account(connection, recharge.account_id)
    connection.execute(_LOCK_RECHARGE, (recharge.id,))
    found = find_recharge(connection, recharge.id)
    assert found is not None, "recharges are never deleted"
    return found


def lock_account(connection: Connection, account_id: str) -> None:
    """Make everybody else who moves this account's money wait for this transaction."""
    connection.execute(_LOCK_ACCOUNT, (account_id,)).fetchone()


def lock_payment(connection: Connection, payment_intent: str, refunded_cents: int = 0) -> None:
    """Make everybody else who is told of this payment wait; what is known of its refunds only grows."""
    if payment_intent:
        connection.execute(_LOCK_PAYMENT, (payment_intent, refunded_cents))


def _noted(connection: Connection, event: Event | None, subject: str, heard: Heard, now: int) -> Heard:
    """Write down that an event came, once; repetitions change nothing."""
    if event is not None:
        connection.execute(_EVENT_ONCE, (event.id, event.type, subject, heard.outcome, now))
    return heard


def list_unmatched(connection: Connection, limit: int) -> list[tuple[str, str, str, int]]:
    """Events that led to no credit although Stripe may hold money: id, type, what they are about, when they came."""
    rows = connection.execute(_UNMATCHED, (limit,)).fetchall()
    return [(str(row[0]), str(row[1]), str(row[2]), int(row[3])) for row in rows]
