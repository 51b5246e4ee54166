"""Sessions: somebody is signed in until the session expires or is ended. Only the hash of what a browser presents is kept.

Nothing is kept in memory: a session that is ended is refused by every gateway from the commit on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from storage.database import Connection
from storage.identifiers import new_id
from storage.tokens import hash_token, new_token

LONGEST_LIST: Final = 100
"""Sessions of one account that are listed, and that it can have: a further sign-in ends the oldest."""

_COLUMNS: Final = "session.id, session.account_id, account.email, account.status, way, session.created, expires"
_INSERT: Final = """INSERT INTO session (id, hash, account_id, way, created, expires, ended)
    VALUES (?, ?, ?, ?, ?, ?, NULL)"""
_BY_HASH: Final = f"""SELECT {_COLUMNS} FROM session JOIN account ON account.id = session.account_id
    WHERE session.hash = ? AND ended IS NULL AND expires > ?"""  # noqa: S608 - our own column names
_OF_ACCOUNT: Final = f"""SELECT {_COLUMNS} FROM session JOIN account ON account.id = session.account_id
    WHERE session.account_id = ? AND ended IS NULL AND expires > ?
    ORDER BY session.created DESC, session.id DESC LIMIT ?"""  # noqa: S608 - our own column names
_END: Final = "UPDATE session SET ended = ? WHERE id = ? AND account_id = ? AND ended IS NULL AND expires > ?"
_END_PRESENTED: Final = "UPDATE session SET ended = ? WHERE hash = ? AND ended IS NULL"
_END_ALL: Final = "UPDATE session SET ended = ? WHERE account_id = ? AND ended IS NULL"
_END_OLDEST: Final = """UPDATE session SET ended = ? WHERE account_id = ? AND ended IS NULL AND id NOT IN (
    SELECT id FROM session WHERE account_id = ? AND ended IS NULL ORDER BY created DESC, id DESC LIMIT ?)"""
_FORGET: Final = "DELETE FROM session WHERE expires < ?"


@dataclass(frozen=True, slots=True)
class Session:
    """Who is signed in, how and until when; instants in microseconds."""

    id: str
    account_id: str
    email: str
    account_status: str
    way: str
    created: int
    expires: int


def begin_session(connection: Connection, account_id: str, way: str, now: int, expires: int) -> str:
    """Sign somebody in. Returns what their browser presents from now on, which nobody can show again."""
    token = new_token()
    connection.execute(_INSERT, (new_id("session_"), hash_token(token), account_id, way, now, expires))
    connection.execute(_END_OLDEST, (now, account_id, account_id, LONGEST_LIST))
    return token


def find_session(connection: Connection, token_hash: str, now: int) -> Session | None:
    """The session of a presented token's hash, if it is not over."""
    row = connection.execute(_BY_HASH, (token_hash, now)).fetchone()
    return None if row is None else Session(*row)


def list_sessions(connection: Connection, account_id: str, now: int) -> list[Session]:
    """The account's sessions that are not over, newest first."""
    return [Session(*row) for row in connection.execute(_OF_ACCOUNT, (account_id, now, LONGEST_LIST)).fetchall()]


def end_session(connection: Connection, account_id: str, session_id: str, now: int) -> bool:
    """End one session of an account; False if it has none of this id that is not over."""
    return connection.execute(_END, (now, session_id, account_id, now)).rowcount == 1


def end_presented(connection: Connection, token_hash: str, now: int) -> None:
    """End the session of a presented token, if there is one."""
    connection.execute(_END_PRESENTED, (now, token_hash))


def end_all_sessions(connection: Connection, account_id: str, now: int) -> int:
    """End all sessions of an account; returns how many there were."""
    return connection.execute(_END_ALL, (now, account_id)).rowcount


def forget_sessions(connection: Connection, expired_before: int) -> int:
    """Delete sessions that expired before an instant; returns how many."""
    return connection.execute(_FORGET, (expired_before,)).rowcount
