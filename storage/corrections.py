"""Entries that put something right: a gift or its return, credits that expired, and an expiry that is undone.

Like storage/postings.py these take a connection and return refusals that are to be expected. Each entry has an id that
says what it is about, so that doing it again changes nothing:

* `adjustment:<id>` between `promotion` and the account: an operator gives, or takes back what was given. No revenue is
  touched, because nothing was sold. One that takes back a credit that lapsed (storage/promotions.py) names it.
* `expiry:<account>:<day>` from the account to `expired`: all that was left, at most once for a day.
* `restore:<id of the expiry>` back, at most once.
"""

from __future__ import annotations

from storage.accounts import UnknownAccount
from storage.database import Connection
from storage.postings import Balance, InsufficientCredit, LedgerViolation, find_balance, remember_balance

_INSERT = """INSERT INTO entry (id, debit, credit, amount, kind, reference, reason, created)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"""
_FIND = "SELECT debit, credit, amount FROM entry WHERE id = ?"
_MOVE = "UPDATE account SET balance = balance + ? WHERE id = ? RETURNING balance, held"
_TAKE = "UPDATE account SET balance = balance - ? WHERE id = ? AND balance - held >= ? RETURNING balance, held"
_LAST_EXPIRY = """SELECT expiry.id, expiry.amount FROM entry AS expiry
    LEFT JOIN entry AS undone ON undone.id = 'restore:' || expiry.id
    WHERE expiry.debit = ? AND substr(expiry.credit, 1, 8) <> 'revenue:' AND expiry.kind = 'expiry' AND undone.id IS NULL
    ORDER BY expiry.created DESC, expiry.id DESC LIMIT 1"""
_ACTIVE_NOW = "UPDATE account SET last_active = ? WHERE id = ? AND last_active < ?"
_LOCK = "UPDATE account SET held = held WHERE id = ? RETURNING id"


def post_adjustment(
    connection: Connection, name: str, account_id: str, amount: int, reason: str, now: int
) -> Balance | InsufficientCredit:
    """Give an account an amount, or take it if it is below zero, at most what is available; once under `name`.

    Raises UnknownAccount, and LedgerViolation for nothing, or for a name that another adjustment has.
    """
    if amount == 0:
        raise LedgerViolation(f"adjustment {name}: an entry moves more than nothing")
    customer = f"customer:{account_id}"
    sides = ("promotion", customer) if amount > 0 else (customer, "promotion")
    entry_id = f"adjustment:{name}"
    _lock(connection, account_id)
    posted = connection.execute(_FIND, (entry_id,)).fetchone()
    if posted is not None:
        if posted != (*sides, abs(amount)):
            raise LedgerViolation(f"there is another entry with the id {entry_id}")
        return find_balance(connection, account_id)
    if amount < 0 and (available := find_balance(connection, account_id).available) < -amount:
        return InsufficientCredit(available, -amount)
    values = (entry_id, *sides, abs(amount), "adjustment", entry_id, reason, now)
    if connection.execute(_INSERT, values).rowcount == 0:
        raise LedgerViolation(f"there is another entry with the id {entry_id}")
    remember_balance(connection, entry_id, account_id)
    row = connection.execute(_MOVE, (amount, account_id)).fetchone()
    assert row is not None, "the account was locked above"
    return Balance(*row)


def take_back(
    connection: Connection, name: str, lot_id: str, account_id: str, amount: int, reason: str, now: int
) -> None:
    """Take what is left of one credit, once under `name`. The caller has locked the account and knows that it is available."""
    entry_id = f"adjustment:{name}"
    values = (entry_id, f"customer:{account_id}", "promotion", amount, "adjustment", lot_id, reason, now)
    if connection.execute(_INSERT, values).rowcount == 0:
        raise LedgerViolation(f"there is another entry with the id {entry_id}")
    remember_balance(connection, entry_id, account_id)
    if connection.execute(_TAKE, (amount, account_id, amount)).fetchone() is None:
        raise LedgerViolation(f"{entry_id}: the account has less than {amount}")


def post_expiry(connection: Connection, account_id: str, amount: int, expires_on: str, reason: str, now: int) -> bool:
    """Take an account's whole available balance for a day's expiry. Returns whether it was taken: not twice for a day.

    The caller has locked the account and knows that it may.
    """
    entry_id = f"expiry:{account_id}:{expires_on}"
    values = (entry_id, f"customer:{account_id}", "expired", amount, "expiry", entry_id, reason, now)
    if connection.execute(_INSERT, values).rowcount == 0:
        return False
    remember_balance(connection, entry_id, account_id)
    if connection.execute(_TAKE, (amount, account_id, amount)).fetchone() is None:
        raise LedgerViolation(f"{entry_id}: the account has less than {amount}")
    return True


def restore_expired(connection: Connection, account_id: str, reason: str, now: int) -> tuple[str, int] | None:
    """Undo the account's latest expiry that is not undone yet; returns its id and amount, None if there is none.

    It counts as activity, or the credits would expire again at once. Raises UnknownAccount.
    """
    _lock(connection, account_id)
    customer = f"customer:{account_id}"
    found = connection.execute(_LAST_EXPIRY, (customer,)).fetchone()
    if found is None:
        return None
    expiry_id, amount = found
    values = (f"restore:{expiry_id}", "expired", customer, amount, "restore", expiry_id, reason, now)
    connection.execute(_INSERT, values)
    remember_balance(connection, str(values[0]), account_id)
    connection.execute(_MOVE, (amount, account_id))
    count_as_activity(connection, account_id, now)
    return str(expiry_id), int(amount)


def count_as_activity(connection: Connection, account_id: str, now: int) -> None:
    """The account was active at that instant; what is known of a later one stays."""
    connection.execute(_ACTIVE_NOW, (now, account_id, now))


def _lock(connection: Connection, account_id: str) -> None:
    """Make everybody else who moves this account's money wait for this transaction. Raises UnknownAccount."""
    if connection.execute(_LOCK, (account_id,)).fetchone() is None:
        raise UnknownAccount(f"there is no account {account_id}")
