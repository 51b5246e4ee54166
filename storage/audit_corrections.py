"""What the audit asks of entries that are no calls: where money may come from and go to, refunds, expiry, notices.

Each check is a subject, a sentence, and SQL that selects id, expected and found of every row that disagrees; storage/audit.py
runs them. Its last one is the equation of the books: what accounts have is what was paid and promoted, less what was charged,
refunded, disputed and expired.
"""

# ruff: noqa: S608 - statements are put together from our own constants, never from a value
from __future__ import annotations

from typing import Final

_CALL_KINDS: Final = "('usage', 'fee', 'byok', 'absorbed')"


def _net(counterpart: str, sign: str, where: str) -> str:
    """The sum of what accounts gave (`sign` +) or got (−) in exchange with some ledger accounts, the way back deducted."""
    gave = f"substr(debit, 1, 9) = 'customer:' AND {counterpart.format(side='credit')}"
    got = f"substr(credit, 1, 9) = 'customer:' AND {counterpart.format(side='debit')}"
    total = f"SUM(CASE WHEN {gave} THEN amount WHEN {got} THEN -amount ELSE 0 END)"
    return f"{sign}COALESCE({total}, 0) FROM entry WHERE {where}"


_NO_CALL: Final = f"kind NOT IN {_CALL_KINDS}"
_STRIPE: Final = "{side} = 'stripe:clearing'"

EQUATION: Final = (
    _net(_STRIPE, "-", "kind = 'recharge'"),
    _net("{side} = 'promotion'", "-", _NO_CALL),
    _net(_STRIPE, "", f"{_NO_CALL} AND kind <> 'recharge'"),
    _net("substr({side}, 1, 9) = 'disputed:'", "", _NO_CALL),
    _net("{side} = 'expired'", "", _NO_CALL),
    _net("substr({side}, 1, 8) = 'revenue:'", "", _NO_CALL),
)
"""Paid, promoted, refunded, disputed, expired, re-rated, each as a select without its SELECT."""

_PAID, _PROMOTED, _REFUNDED, _DISPUTED, _EXPIRED, _RERATED = (f"(SELECT {total})" for total in EQUATION)

_MOVED = """(SELECT id, kind, substr(debit, 10) AS account_id, credit AS other FROM entry
        WHERE substr(debit, 1, 9) = 'customer:'
    UNION ALL SELECT id, kind, substr(credit, 10), debit FROM entry WHERE substr(credit, 1, 9) = 'customer:') AS moved"""

CORRECTION_CHECKS: Final = (
    (
        "entry {id}",
        "an account cannot exchange money with {found}",
        f"""SELECT id, 'a ledger account', other FROM {_MOVED}
            WHERE other NOT IN ('promotion', 'stripe:clearing', 'expired', 'disputed:' || account_id)
                AND substr(other, 1, 8) <> 'revenue:' ORDER BY id""",
    ),
    (
        "entry {id}",
        "an adjustment lies between an account and promotion or revenue, not {found}",
        f"""SELECT id, 'promotion or revenue', other FROM {_MOVED}
            WHERE kind = 'adjustment' AND other <> 'promotion' AND substr(other, 1, 8) <> 'revenue:' ORDER BY id""",
    ),
    (
        "entry {id}",
        "a re-rating belongs to the call {found}, which is not in the billing log",
        """SELECT entry.id, 'a call', entry.reference FROM entry LEFT JOIN call ON call.request_id = entry.reference
            WHERE entry.kind = 'adjustment' AND substr(entry.id, 1, 7) = 'rerate:' AND call.request_id IS NULL
            ORDER BY entry.id""",
    ),
    (
        "call {id}",
        "it cost {expected}, and re-ratings gave back {found}",
        """SELECT call.request_id, call.cost, SUM(CASE WHEN entry.credit = 'customer:' || call.account_id THEN entry.amount
                WHEN entry.debit = 'customer:' || call.account_id THEN -entry.amount ELSE 0 END) AS back
            FROM entry JOIN call ON call.request_id = entry.reference WHERE entry.kind = 'adjustment'
            GROUP BY call.request_id, call.cost
            HAVING SUM(CASE WHEN entry.credit = 'customer:' || call.account_id THEN entry.amount
                WHEN entry.debit = 'customer:' || call.account_id THEN -entry.amount ELSE 0 END) > call.cost
            ORDER BY call.request_id""",
    ),
    (
        "entry {id}",
        "only an expiry and its undoing touch the ledger account expired, not {found}",
        """SELECT id, 'expiry or restore', kind FROM entry
            WHERE (credit = 'expired' AND kind <> 'expiry') OR (debit = 'expired' AND kind <> 'restore') ORDER BY id""",
    ),
    (
        "entry {id}",
        "an expiry has the id of its account and day, {expected}…",
        """SELECT id, 'expiry:' || substr(debit, 10) || ':', id FROM entry WHERE kind = 'expiry'
            AND (credit <> 'expired' OR substr(debit, 1, 9) <> 'customer:' OR length(id) <> length(debit) + 9
                OR substr(id, 1, length(debit) - 1) <> 'expiry:' || substr(debit, 10) || ':') ORDER BY id""",
    ),
    (
        "entry {id}",
        "the expiry took {found} more than the account had",
        """SELECT expiry.id, 0, SUM(moved.amount) FROM entry AS expiry
            JOIN (SELECT debit AS customer, amount, created FROM entry WHERE substr(debit, 1, 9) = 'customer:'
                UNION ALL SELECT credit, -amount, created FROM entry WHERE substr(credit, 1, 9) = 'customer:') AS moved
                ON moved.customer = expiry.debit AND moved.created <= expiry.created
            WHERE expiry.kind = 'expiry' GROUP BY expiry.id HAVING SUM(moved.amount) > 0 ORDER BY expiry.id""",
    ),
    (
        "entry {id}",
        "the account had {found} before this expiry, which took {expected}",
        """SELECT expiry.id, expiry.amount, entry_balance.balance FROM entry AS expiry
            JOIN entry_balance ON entry_balance.entry_id = expiry.id
            WHERE expiry.kind = 'expiry' AND expiry.amount > entry_balance.balance ORDER BY expiry.id""",
    ),
    (
        "entry {id}",
        "the balance before it is kept, and there is no such entry",
        """SELECT entry_balance.entry_id, 'an entry', 'none' FROM entry_balance
            LEFT JOIN entry ON entry.id = entry_balance.entry_id WHERE entry.id IS NULL ORDER BY entry_balance.entry_id""",
    ),
    (
        "entry {id}",
        "the account was given no notice before this expiry",
        """SELECT expiry.id, 'a notice', 'none' FROM entry AS expiry
            LEFT JOIN notice ON notice.account_id = substr(expiry.debit, 10) AND notice.kind = 'expiry_1'
                AND notice.expires_on = substr(expiry.id, length(expiry.id) - 9) AND notice.recorded < expiry.created
            WHERE expiry.kind = 'expiry' AND notice.account_id IS NULL ORDER BY expiry.id""",
    ),
    (
        "entry {id}",
        "the expiry that is undone took {expected}, given back are {found}",
        """SELECT undone.id, COALESCE(expiry.amount, 0), undone.amount FROM entry AS undone
            LEFT JOIN entry AS expiry ON expiry.id = undone.reference AND expiry.kind = 'expiry'
                AND expiry.debit = undone.credit
            WHERE undone.kind = 'restore' AND (expiry.id IS NULL OR expiry.amount <> undone.amount
                OR undone.id <> 'restore:' || expiry.id) ORDER BY undone.id""",
    ),
    (
        "entry {id}",
        "a refund or dispute names {found}, which is no recharge of its account",
        """SELECT taken.id, 'a recharge', taken.reference FROM entry AS taken
            LEFT JOIN entry AS paid ON paid.id = taken.reference AND paid.kind = 'recharge' AND paid.credit = taken.debit
            WHERE substr(taken.debit, 1, 9) = 'customer:' AND paid.id IS NULL
                AND (taken.credit = 'stripe:clearing' OR substr(taken.credit, 1, 9) = 'disputed:') ORDER BY taken.id""",
    ),
    (
        "recharge {id}",
        "{expected} were paid, {found} of it were taken back in one way",
        """SELECT paid.id, paid.amount, SUM(taken.amount) FROM entry AS paid
            JOIN (SELECT reference, credit AS other, amount FROM entry WHERE substr(debit, 1, 9) = 'customer:'
                    AND substr(credit, 1, 8) <> 'revenue:'
                UNION ALL SELECT reference, debit, -amount FROM entry WHERE substr(credit, 1, 9) = 'customer:'
                    AND id <> reference) AS taken ON taken.reference = paid.id
            WHERE paid.kind = 'recharge' GROUP BY paid.id, paid.amount, taken.other
            HAVING SUM(taken.amount) > paid.amount ORDER BY paid.id""",
    ),
    (
        "notice of {id}",
        "a notice names an account that does not exist",
        """SELECT notice.account_id, 'an account', notice.kind FROM notice
            LEFT JOIN account ON account.id = notice.account_id WHERE account.id IS NULL ORDER BY notice.account_id""",
    ),
    (
        "the {id}",
        "paid and promoted less charged, refunded, disputed and expired is {expected}, the balances sum to {found}",
        f"""SELECT 'books', expected, found FROM (SELECT
            {_PAID} + {_PROMOTED} - {_REFUNDED} - {_DISPUTED} - {_EXPIRED} - {_RERATED}
                - (SELECT COALESCE(SUM(cost), 0) FROM call) AS expected,
            (SELECT COALESCE(SUM(balance), 0) FROM account) AS found) AS sums WHERE expected <> found""",
    ),
)
