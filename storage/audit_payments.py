"""What the audit asks of payments: each row of a recharge, refund and dispute says what its entries say, and the other way round.

Each check is a subject, a sentence, and SQL that selects id, expected and found of every row that disagrees; storage/audit.py
runs them.
"""

# ruff: noqa: S608 - statements are put together from our own constants, never from a value
from __future__ import annotations

from typing import Final

_STANDING: Final = "SUM(CASE WHEN refund.status <> 'failed' THEN refund.cents ELSE 0 END)"
_FAILED: Final = "SUM(CASE WHEN refund.status = 'failed' AND refund.stripe_id IS NOT NULL THEN refund.cents ELSE 0 END)"

PAYMENT_CHECKS: Final = (
    (
        "recharge {id}",
        "{expected} were credited by its row, {found} by its entry",
        """SELECT recharge.id, recharge.credited, COALESCE(entry.amount, 0) FROM recharge
            LEFT JOIN entry ON entry.id = recharge.id AND entry.kind = 'recharge' AND entry.debit = 'stripe:clearing'
                AND entry.credit = 'customer:' || recharge.account_id
            WHERE recharge.credited <> COALESCE(entry.amount, 0) ORDER BY recharge.id""",
    ),
    (
        "entry {id}",
        "a credit for a payment belongs to a recharge, and there is none",
        """SELECT entry.id, 'a recharge', 'none' FROM entry LEFT JOIN recharge ON recharge.id = entry.id
            WHERE entry.kind = 'recharge' AND substr(entry.id, 1, 9) = 'recharge_' AND recharge.id IS NULL
            ORDER BY entry.id""",
    ),
    (
        "recharge {id}",
        "{expected} is the most that its payment stands for, {found} were credited",
        """SELECT id, CASE WHEN paid_cents = 0 THEN 0 ELSE amount END, credited FROM recharge
            WHERE credited > amount OR (paid_cents = 0 AND credited <> 0) OR (paid_cents > 0 AND credited = 0)
                OR (paid_cents >= asked_cents AND credited <> amount) ORDER BY id""",
    ),
    (
        "recharge {id}",
        "{expected} were refunded by its row, {found} by its entries",
        """SELECT recharge.id, recharge.refunded, COALESCE(SUM(CASE entry.kind WHEN 'refund' THEN entry.amount
                ELSE -entry.amount END), 0) FROM recharge
            LEFT JOIN entry ON entry.reference = recharge.id AND entry.kind IN ('refund', 'refund_failed')
            GROUP BY recharge.id, recharge.refunded HAVING recharge.refunded <> COALESCE(SUM(CASE entry.kind
                WHEN 'refund' THEN entry.amount ELSE -entry.amount END), 0) ORDER BY recharge.id""",
    ),
    (
        "recharge {id}",
        "{expected} were given back or asked to be, {found} were taken from the account",
        f"""SELECT id, cents * 1000000, refunded FROM (SELECT recharge.id, recharge.refunded, CASE
                WHEN COALESCE(known.standing, 0) > COALESCE(payment.refunded_cents, 0) - COALESCE(known.failed, 0)
                THEN COALESCE(known.standing, 0)
                ELSE COALESCE(payment.refunded_cents, 0) - COALESCE(known.failed, 0) END AS cents, recharge.paid_cents
            FROM recharge LEFT JOIN payment ON payment.payment_intent = recharge.payment_intent
            LEFT JOIN (SELECT payment_intent, {_STANDING} AS standing, {_FAILED} AS failed FROM refund
                GROUP BY payment_intent) AS known ON known.payment_intent = recharge.payment_intent
            WHERE recharge.credited > 0 AND recharge.credited = recharge.paid_cents * 1000000) AS told
            WHERE refunded <> (CASE WHEN cents > paid_cents THEN paid_cents ELSE cents END) * 1000000 ORDER BY id""",
    ),
    *(
        (
            "dispute {id}",
            "{expected} moved by its row, {found} by its entry",
            f"""SELECT dispute.id, dispute.{column}, COALESCE(entry.amount, 0) FROM dispute
                LEFT JOIN entry ON entry.id = '{kind}:' || dispute.id AND entry.kind = '{kind}'
                WHERE COALESCE(dispute.{column}, 0) <> COALESCE(entry.amount, 0) ORDER BY dispute.id""",
        )
        for column, kind in (("taken", "dispute"), ("given_back", "dispute_returned"))
    ),
)
