"""Accounts: who pays. Made by an e-mail address, found again by it, deactivated but never deleted.

Their money is the ledger's business (storage/ledger.py); this file never touches a balance.
"""

# ruff: noqa: S608 - statements are put together from our own column names, never from a value
from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from storage.cursors import can_be_stored, read_cursor, write_cursor
from storage.database import Connection
from storage.identifiers import new_id, now_microseconds
from storage.revision import bump_revision

Status = Literal["active", "deactivated"]
IDLE = "idle"
"""Who deactivated an account that nobody used."""

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
# What a mail server takes everywhere (RFC 5321's Mailbox with a dot-string); other writing systems in their ASCII form.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_MAILABLE = re.compile(rf"(?=.{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_LONGEST_EMAIL = 254  # RFC 5321, 4.5.3.1.3, less the angle brackets

_COLUMNS = "id, email, status, created, last_active, balance, held"
_INSERT = f"""INSERT INTO account ({_COLUMNS}) VALUES (?, ?, 'active', ?, ?, 0, 0)
    ON CONFLICT (email) DO NOTHING RETURNING id"""
_BY_ID = f"SELECT {_COLUMNS} FROM account WHERE id = ?"
_BY_EMAIL = f"SELECT {_COLUMNS} FROM account WHERE email = ?"
_ALL = f"SELECT {_COLUMNS} FROM account ORDER BY created, id"
_SOME = f"SELECT {_COLUMNS} FROM account WHERE 1 = 1"
_NAMED = " AND (email LIKE ? ESCAPE '!' OR id = ?)"
_BEHIND = " AND (created, id) < (?, ?)"
_SET_STATUS = f"UPDATE account SET status = ?, deactivated_by = ? WHERE id = ? RETURNING {_COLUMNS}"
_DEACTIVATED_BY = "SELECT deactivated_by FROM account WHERE id = ? AND status = 'deactivated'"


class InvalidEmail(ValueError):
    """A text that cannot be an e-mail address."""


class EmailTaken(Exception):
    """Another account has this e-mail address."""


class UnknownAccount(Exception):
    """No account has this id."""


class AccountInactive(Exception):
    """The account is deactivated: it can neither spend nor sign its calls."""


@dataclass(frozen=True, slots=True)
class Account:
    """One account; instants in microseconds, money in 10⁻⁸ USD, `balance` includes `held`."""

    id: str
    email: str
    status: Status
    created: int
    last_active: int
    balance: int
    held: int


def normalise_email(email: str) -> str:
    """The form an address is stored and looked up in: trimmed, lower case. Raises InvalidEmail."""
    normal = email.strip().lower()
    if len(normal) > _LONGEST_EMAIL or not normal.isprintable() or not _EMAIL.fullmatch(normal):
        raise InvalidEmail(f"an e-mail address looks like name@example.com, not {email!r}")
    return normal


def is_mailable(email: str) -> bool:
    """Whether a text is one plain address to which a mail can be sent, and nothing else."""
    return len(email) <= _LONGEST_EMAIL and _MAILABLE.fullmatch(email) is not None


def create_account(connection: Connection, email: str) -> Account:
    """Open an active account with nothing on it. Raises InvalidEmail and EmailTaken."""
    normal = normalise_email(email)
    account_id, now = new_id("acct_"), now_microseconds()
    if connection.execute(_INSERT, (account_id, normal, now, now)).fetchone() is None:
        raise EmailTaken(f"there is already an account for {normal}")
    return Account(account_id, normal, "active", now, now, 0, 0)


def find_account(connection: Connection, account_id: str) -> Account | None:
    """The account with this id, or None."""
    return _account(connection.execute(_BY_ID, (account_id,)).fetchone())


def find_account_by_email(connection: Connection, email: str) -> Account | None:
    """The account with this e-mail address in any spelling, or None."""
    try:
        normal = normalise_email(email)
    except InvalidEmail:
        return None
    return _account(connection.execute(_BY_EMAIL, (normal,)).fetchone())


def list_accounts(connection: Connection) -> list[Account]:
    """All accounts, oldest first."""
    return [Account(*row) for row in connection.execute(_ALL).fetchall()]


def page_accounts(
    connection: Connection, *, search: str = "", limit: int = 50, cursor: str | None = None
) -> tuple[list[Account], str | None]:
    """A page of accounts, newest first, and the cursor of the next, None after the last. Raises InvalidCursor.

    With ``search`` those whose address has it somewhere, in any spelling, or whose id it is.
    """
    if not can_be_stored(search):
        return [], None
    sql = _SOME
    parameters: tuple[object, ...] = ()
    if search:
        text = re.sub(r"([!%_])", r"!\1", search.lower())
        sql, parameters = sql + _NAMED, (f"%{text}%", search)
    if cursor is not None:
        sql, parameters = sql + _BEHIND, (*parameters, *read_cursor(cursor))
    rows = connection.execute(f"{sql} ORDER BY created DESC, id DESC LIMIT ?", (*parameters, limit + 1)).fetchall()
    page = [Account(*row) for row in rows[:limit]]
    return page, write_cursor(page[-1].created, page[-1].id) if len(rows) > limit else None


def set_status(connection: Connection, account_id: str, status: Status, by: str | None = None) -> Account:
    """Deactivate or reactivate an account; running gateways notice within a second. Raises UnknownAccount.

    What IDLE has deactivated its owner makes active again by signing in; what an operator has, only an operator.
    """
    account = _account(connection.execute(_SET_STATUS, (status, by, account_id)).fetchone())
    if account is None:
        raise UnknownAccount(f"there is no account {account_id}")
    bump_revision(connection)
    return account


def is_idle(connection: Connection, account_id: str) -> bool:
    """Whether the account is deactivated for nothing but having been idle."""
    return connection.execute(_DEACTIVATED_BY, (account_id,)).fetchone() == (IDLE,)


def open_account(connection: Connection, email: str) -> Account:
    """The account of an e-mail address, opened if there is none, whoever else opens it at the same moment.

    Raises InvalidEmail.
    """
    found = find_account_by_email(connection, email)
    if found is not None:
        return found
    normal, account_id, now = normalise_email(email), new_id("acct_"), now_microseconds()
    connection.execute(_INSERT, (account_id, normal, now, now)).fetchone()
    opened = find_account_by_email(connection, normal)
    assert opened is not None, "accounts are never deleted"
    return opened


def _account(row: tuple[Any, ...] | None) -> Account | None:
    return None if row is None else Account(*row)
