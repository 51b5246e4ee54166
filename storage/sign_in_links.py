"""Links that sign somebody in: asked for by an address, mailed, used once. Only their hashes are kept.

Asking says nothing about whether there is an account: none is looked for. The account is opened, or found, when a link is
used, because only then somebody has proved to have the mailbox.

A link's secret is made when its mail is sent (`make_link`), so that it is never in the database, not even in the mail that
waits; a mail that is tried again has another one, and using any of them makes all others of the address void.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from storage.accounts import Account, find_account, is_idle, open_account
from storage.corrections import count_as_activity
from storage.database import Connection
from storage.expiry import HOUR_MICROSECONDS, reactivate
from storage.identifiers import new_id
from storage.outbox import put_mail
from storage.sessions import begin_session, end_presented
from storage.tokens import hash_token, new_token

MAIL_KIND: Final = "sign_in"

_ASK: Final = """INSERT INTO sign_in_address (email, since, asked) VALUES (?, ?, 1)
    ON CONFLICT (email) DO UPDATE SET
        asked = CASE WHEN sign_in_address.since <= ? THEN 1 ELSE sign_in_address.asked + 1 END,
        since = CASE WHEN sign_in_address.since <= ? THEN excluded.since ELSE sign_in_address.since END
    RETURNING asked"""
_INSERT: Final = "INSERT INTO sign_in_link (hash, email, created, expires, used) VALUES (?, ?, ?, ?, NULL)"
_FIND: Final = "SELECT email FROM sign_in_link WHERE hash = ? AND used IS NULL AND expires > ?"
_USE: Final = "UPDATE sign_in_link SET used = ? WHERE hash = ? AND used IS NULL AND expires > ? RETURNING email"
_VOID: Final = "UPDATE sign_in_link SET used = ? WHERE email = ? AND used IS NULL"
_FORGET_LINKS: Final = "DELETE FROM sign_in_link WHERE expires < ?"
_FORGET_ADDRESSES: Final = "DELETE FROM sign_in_address WHERE since < ?"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Somebody signed in: what their browser presents from now on, and whose account it is."""

    token: str
    account: Account
    expires: int


@dataclass(frozen=True, slots=True)
class SignInTerms:
    """How somebody is signed in: by which way, for how long, and which session of the same browser ends with it."""

    way: Literal["email", "google"]
    session_seconds: int
    presented_hash: str = ""


def ask_for_link(connection: Connection, email: str, most_in_an_hour: int, link_seconds: int, now: int) -> bool:
    """Have a link mailed to a (normalised) address. Returns whether it was: not beyond so many in an hour.

    The count is one row changed by one statement, so it is exact over any number of processes.
    """
    before = now - HOUR_MICROSECONDS
    row = connection.execute(_ASK, (email, now, before, before)).fetchone()
    assert row is not None, "the row was written"
    if row[0] > most_in_an_hour:
        return False
    put_mail(connection, new_id("mail_"), MAIL_KIND, email, {"until": now + link_seconds * 1_000_000}, now)
    return True


def make_link(connection: Connection, email: str, expires: int, now: int) -> str:
    """A new secret for a mail that is about to be sent."""
    token = new_token()
    connection.execute(_INSERT, (hash_token(token), email, now, expires))
    return token


def find_link(connection: Connection, token_hash: str, now: int) -> str | None:
    """The address that a link signs in, if it can still be used. Changes nothing."""
    row = connection.execute(_FIND, (token_hash, now)).fetchone()
    return None if row is None else str(row[0])


def use_link(connection: Connection, token_hash: str, terms: SignInTerms, now: int) -> SignedIn | Account | None:
    """Sign in by a link, which is void afterwards, as all others of its address are.

    None for a link that is unknown, used or too old; the account where an operator has deactivated it.
    """
    row = connection.execute(_USE, (now, token_hash, now)).fetchone()
    if row is None:
        return None
    connection.execute(_VOID, (now, row[0]))
    return sign_in(connection, row[0], terms, now)


def sign_in(connection: Connection, email: str, terms: SignInTerms, now: int) -> SignedIn | Account:
    """Sign in whoever has proved to have this address; opens the account if there is none. It counts as activity.

    An account that was deactivated for being idle becomes active again; one that an operator deactivated is returned as
    it is, and nobody is signed in.
    """
    account = open_account(connection, email)
    if account.status != "active":
        if not is_idle(connection, account.id):
            return account
        reactivate(connection, account.id, now)
    count_as_activity(connection, account.id, now)
    if terms.presented_hash:
        end_presented(connection, terms.presented_hash, now)
    expires = now + terms.session_seconds * 1_000_000
    token = begin_session(connection, account.id, terms.way, now, expires)
    found = find_account(connection, account.id)
    assert found is not None, "accounts are never deleted"
    return SignedIn(token, found, expires)


def forget_links(connection: Connection, before: int) -> int:
    """Delete links that expired, and addresses that asked, before an instant; returns how many rows."""
    links = connection.execute(_FORGET_LINKS, (before,)).rowcount
    return links + connection.execute(_FORGET_ADDRESSES, (before,)).rowcount
