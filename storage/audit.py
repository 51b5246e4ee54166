"""The proof of the books: every figure that is kept is computed again from what it must be the sum of.

Run it in a snapshot (`Database.session(snapshot=True)`) while the gateway serves: it sees one state of the database
throughout. An empty list is the proof; otherwise the first line names the first row that disagrees.
"""

# ruff: noqa: S608 - statements are put together from our own constants, never from a value
from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from storage.audit_corrections import CORRECTION_CHECKS, EQUATION
from storage.audit_payments import PAYMENT_CHECKS
from storage.database import Connection

LONGEST_LIST = 100
"""Disagreements of one kind that are listed; one cause often shows in many rows."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A row that does not agree with the rest of the books; amounts in 10⁻⁸ USD."""

    subject: str
    expected: int | str
    found: int | str
    sentence: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The books in figures; amounts in 10⁻⁸ USD. `credited` less `charged` is `balances`.

    `credited` is `paid` and `promoted` less `refunded`, `disputed` and `expired`, each net of what was undone, and less
    what was `rerated` on top of calls' charges.
    """

    accounts: int
    calls: int
    entries: int
    open_holds: int
    balances: int
    held: int
    credited: int
    charged: int
    revenue: int
    absorbed: int
    paid: int
    promoted: int
    refunded: int
    disputed: int
    expired: int
    rerated: int


@dataclass(frozen=True, slots=True)
class _Check:
    """`sql` selects id, expected and found of each row that disagrees; the texts are about one such row."""

    subject: str
    sentence: str
    sql: str


_CALL_KINDS = "('usage', 'fee', 'byok', 'absorbed')"

_CHECKS = (
    _Check(
        "entry {id}",
        "an entry must move a positive amount from one ledger account to another",
        "SELECT id, 'a positive amount', amount FROM entry WHERE amount <= 0 OR debit = credit ORDER BY id",
    ),
    _Check(
        "entry {id}",
        "an entry names the account {found}, which does not exist",
        """SELECT entry.id, 'an account', substr(name, 10) FROM
            (SELECT id, debit AS name FROM entry UNION ALL SELECT id, credit FROM entry) AS entry
            LEFT JOIN account ON account.id = substr(name, 10)
            WHERE substr(name, 1, 9) = 'customer:' AND account.id IS NULL ORDER BY entry.id""",
    ),
    _Check(
        "account {id}",
        "the balance is {found}, its entries sum to {expected}",
        """SELECT account.id, COALESCE(credits.total, 0) - COALESCE(debits.total, 0) AS expected, account.balance
            FROM account
            LEFT JOIN (SELECT credit AS name, SUM(amount) AS total FROM entry GROUP BY credit) AS credits
                ON credits.name = 'customer:' || account.id
            LEFT JOIN (SELECT debit AS name, SUM(amount) AS total FROM entry GROUP BY debit) AS debits
                ON debits.name = 'customer:' || account.id
            WHERE account.balance <> COALESCE(credits.total, 0) - COALESCE(debits.total, 0) ORDER BY account.id""",
    ),
    _Check(
        "account {id}",
        "{found} is held, its open holds sum to {expected}",
        """SELECT account.id, COALESCE(holds.total, 0) AS expected, account.held FROM account
            LEFT JOIN (SELECT account_id, SUM(amount) AS total FROM hold GROUP BY account_id) AS holds
                ON holds.account_id = account.id
            WHERE account.held <> COALESCE(holds.total, 0) OR account.held < 0 ORDER BY account.id""",
    ),
    _Check(
        "key {id}",
        "{found} counts as held for its spending limit, its open holds sum to {expected}",
        """SELECT key_spending.key_id, COALESCE(holds.total, 0) AS expected, key_spending.held FROM key_spending
            LEFT JOIN (SELECT key_id, key_period, SUM(amount) AS total FROM hold
                WHERE key_period IS NOT NULL GROUP BY key_id, key_period) AS holds
                ON holds.key_id = key_spending.key_id AND holds.key_period = key_spending.period
            WHERE key_spending.held <> COALESCE(holds.total, 0) ORDER BY key_spending.key_id""",
    ),
    _Check(
        "hold {id}",
        "a hold stands for the account {found}, which does not exist",
        """SELECT hold.request_id, 'an account', hold.account_id FROM hold
            LEFT JOIN account ON account.id = hold.account_id WHERE account.id IS NULL ORDER BY hold.request_id""",
    ),
    _Check(
        "hold {id}",
        "{found} is still held for a call that was settled",
        """SELECT hold.request_id, 0, hold.amount FROM hold
            JOIN call ON call.request_id = hold.request_id ORDER BY hold.request_id""",
    ),
    _Check(
        "call {id}",
        "the cost is {found}, provider cost and fee sum to {expected}",
        """SELECT request_id, provider_cost + fee, cost FROM call
            WHERE cost <> provider_cost + fee ORDER BY request_id""",
    ),
    _Check(
        "call {id}",
        "the cost is {expected}, the entries took {found} from the account",
        """SELECT call.request_id, call.cost, COALESCE(taken.total, 0) AS found FROM call
            LEFT JOIN (SELECT reference, debit, SUM(amount) AS total FROM entry
                WHERE kind IN ('usage', 'fee', 'byok') GROUP BY reference, debit) AS taken
                ON taken.reference = call.request_id AND taken.debit = 'customer:' || call.account_id
            WHERE call.cost <> COALESCE(taken.total, 0) ORDER BY call.request_id""",
    ),
    _Check(
        "call {id}",
        "{expected} were absorbed, the entries say {found}",
        """SELECT call.request_id, call.absorbed, COALESCE(entry.amount, 0) AS found FROM call
            LEFT JOIN entry ON entry.id = call.request_id || ':absorbed'
            WHERE call.absorbed <> COALESCE(entry.amount, 0) ORDER BY call.request_id""",
    ),
    _Check(
        "entry {id}",
        "an entry belongs to the call {found}, which is not in the billing log",
        f"""SELECT entry.id, 'a call', entry.reference FROM entry
            LEFT JOIN call ON call.request_id = entry.reference
            WHERE entry.kind IN {_CALL_KINDS} AND call.request_id IS NULL ORDER BY entry.id""",
    ),
    _Check(
        "entry {id}",
        "an entry of a call has the id {expected}",
        f"""SELECT id, reference || ':' || kind, id FROM entry
            WHERE kind IN {_CALL_KINDS} AND id <> reference || ':' || kind ORDER BY id""",
    ),
    _Check(
        "account {id}",
        "the balance is {found}, what was credited less what its calls cost is {expected}",
        f"""SELECT account.id, COALESCE(moved.total, 0) - COALESCE(spent.total, 0) AS expected, account.balance
            FROM account
            LEFT JOIN (SELECT name, SUM(amount) AS total FROM
                (SELECT credit AS name, amount FROM entry WHERE kind NOT IN {_CALL_KINDS}
                UNION ALL SELECT debit, -amount FROM entry WHERE kind NOT IN {_CALL_KINDS}) AS moves
                GROUP BY name) AS moved ON moved.name = 'customer:' || account.id
            LEFT JOIN (SELECT account_id, SUM(cost) AS total FROM call GROUP BY account_id) AS spent
                ON spent.account_id = account.id
            WHERE account.balance <> COALESCE(moved.total, 0) - COALESCE(spent.total, 0) ORDER BY account.id""",
    ),
    *(_Check(*check) for check in CORRECTION_CHECKS),
    *(_Check(*check) for check in PAYMENT_CHECKS),
)

_SUMMARY = f"""SELECT
    (SELECT COUNT(*) FROM account), (SELECT COUNT(*) FROM call),
    (SELECT COUNT(*) FROM entry), (SELECT COUNT(*) FROM hold),
    (SELECT COALESCE(SUM(balance), 0) FROM account), (SELECT COALESCE(SUM(held), 0) FROM account),
    (SELECT COALESCE(SUM(CASE WHEN substr(credit, 1, 9) = 'customer:' THEN amount ELSE 0 END), 0)
        - COALESCE(SUM(CASE WHEN substr(debit, 1, 9) = 'customer:' THEN amount ELSE 0 END), 0)
        FROM entry WHERE kind NOT IN {_CALL_KINDS}),
    (SELECT COALESCE(SUM(cost), 0) FROM call),
    (SELECT COALESCE(SUM(CASE WHEN substr(credit, 1, 8) = 'revenue:' THEN amount ELSE -amount END), 0) FROM entry
        WHERE (substr(credit, 1, 8) = 'revenue:' AND debit <> 'absorbed')
            OR (substr(debit, 1, 8) = 'revenue:' AND credit <> 'absorbed')),
    (SELECT COALESCE(SUM(CASE WHEN debit = 'absorbed' THEN amount ELSE -amount END), 0) FROM entry
        WHERE debit = 'absorbed' OR credit = 'absorbed'),
    {", ".join(f"(SELECT {total})" for total in EQUATION)}"""


def audit(connection: Connection) -> list[Disagreement]:
    """Everything that does not agree, in the order of the checks; empty when the books are right."""
    found: list[Disagreement] = []
    for check in _CHECKS:
        rows = connection.execute(f"{check.sql} LIMIT {LONGEST_LIST}").fetchall()
        found += [_disagreement(check, row) for row in rows]
    return found


def summary(connection: Connection) -> Summary:
    """The books in figures, whether they agree or not."""
    row = connection.execute(_SUMMARY).fetchone()
    assert row is not None
    return Summary(*map(int, row))


def _disagreement(check: _Check, row: tuple[Any, ...]) -> Disagreement:
    name, expected, found = (int(value) if isinstance(value, Decimal) else value for value in row)
    subject = check.subject.format(id=name)
    sentence = f"{subject}: {check.sentence.format(expected=expected, found=found)}"
    return Disagreement(subject, expected, found, sentence)
