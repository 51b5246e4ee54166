"""What accounts are told by mail without having asked: their credit expires, they are to be deactivated, little is left.

The warnings of storage/expiry.py are recorded there; here each is put into the outbox once, if it is still true. That a
balance is low is told once after each recharge. Any number of processes may run this: a mail has the id of what it tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from billing.lots import DAY_MICROSECONDS
from billing.money import Money, format_usd
from storage.accounts import find_account
from storage.database import Connection
from storage.expiry import DEACTIVATION, INACTIVE_DAYS
from storage.outbox import put_mail

LOW_BALANCE_DAYS: Final = 365
"""A recharge older than this is told nothing more about."""
EXPIRY: Final = "expiry"
LOW_BALANCE: Final = "low_balance"

_UNSENT: Final = """SELECT notice.account_id, notice.kind, notice.expires_on, notice.due FROM notice
    JOIN account ON account.id = notice.account_id
    WHERE notice.sent IS NULL AND notice.due > ? AND account.status = 'active'
        AND notice.due = account.last_active + CASE WHEN notice.kind = ? THEN ? ELSE ? END
    ORDER BY notice.due, notice.account_id, notice.kind LIMIT ?"""
_SENT: Final = """UPDATE notice SET sent = ?
    WHERE account_id = ? AND kind = ? AND expires_on = ? AND due = ? AND sent IS NULL"""
_LOW: Final = """SELECT recharge.id, account.id FROM recharge JOIN account ON account.id = recharge.account_id
    WHERE recharge.status = 'paid' AND recharge.credited > 0 AND recharge.paid > ?
        AND account.status = 'active' AND account.balance < ?
        AND NOT EXISTS (SELECT 1 FROM mail WHERE mail.id = 'low_balance:' || recharge.id)
        AND NOT EXISTS (SELECT 1 FROM recharge AS later WHERE later.account_id = recharge.account_id
            AND later.status = 'paid' AND later.credited > 0 AND later.paid > recharge.paid)
    ORDER BY recharge.id LIMIT ?"""


@dataclass(frozen=True, slots=True)
class UnsentNotice:
    """A warning that was recorded and not mailed; `due` is the instant of what it warns of."""

    account_id: str
    kind: str
    expires_on: str
    due: int


def find_unsent(connection: Connection, expiry_days: int, now: int, limit: int) -> list[UnsentNotice]:
    """Warnings that are still true: the account has not been active since, and what they warn of lies ahead."""
    spans = (INACTIVE_DAYS * DAY_MICROSECONDS, expiry_days * DAY_MICROSECONDS)
    rows = connection.execute(_UNSENT, (now, DEACTIVATION.kind, *spans, limit)).fetchall()
    return [UnsentNotice(*row) for row in rows]


def mail_notice(connection: Connection, notice: UnsentNotice, now: int) -> bool:
    """Put a warning into the outbox, once. Returns whether it was done now."""
    values = (now, notice.account_id, notice.kind, notice.expires_on, notice.due)
    if connection.execute(_SENT, values).rowcount == 0:
        return False
    account = find_account(connection, notice.account_id)
    assert account is not None, "accounts are never deleted"
    kind = DEACTIVATION.kind if notice.kind == DEACTIVATION.kind else EXPIRY
    facts = {"day": notice.expires_on, "balance": format_usd(account.balance)}
    # The instant belongs to the id: activity may move an expiry and the same day be warned of again.
    mail_id = f"notice:{notice.account_id}:{notice.kind}:{notice.due}"
    return put_mail(connection, mail_id, kind, account.email, facts, now)


def find_low(connection: Connection, below: Money, now: int, limit: int) -> list[tuple[str, str]]:
    """Accounts with less than an amount that were not told so since their last recharge: its id, and the account's."""
    rows = connection.execute(_LOW, (now - LOW_BALANCE_DAYS * DAY_MICROSECONDS, below, limit)).fetchall()
    return [(str(row[0]), str(row[1])) for row in rows]


def mail_low_balance(connection: Connection, recharge_id: str, account_id: str, below: Money, now: int) -> bool:
    """Put the news of a low balance into the outbox, once for a recharge, if it is still true."""
    account = find_account(connection, account_id)
    if account is None or account.balance >= below:
        return False
    facts = {"balance": format_usd(account.balance), "below": format_usd(below)}
    return put_mail(connection, f"{LOW_BALANCE}:{recharge_id}", LOW_BALANCE, account.email, facts, now)
