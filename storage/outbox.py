"""Mails that wait to be sent: written in the transaction of what they tell, taken up by one process at a time.

A mail has the id of what it tells, so telling it again writes nothing. Who takes a mail up moves its next try into the
future in the same statement that claims it: nobody else sends it meanwhile, and a process that dies while sending leaves
it to be tried again. So a mail is sent at least once, and twice only where a process dies, or its answer is lost, between
sending and writing that down.

When a mail is done with, only its id, kind and times stay.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from storage.database import Connection

SECOND: Final = 1_000_000
WAITS_SECONDS: Final = (60, 300, 900, 3_600, 14_400, 43_200)
"""How long after each try, should it have failed, the next one is due; after the last there is none."""

State = Literal["sent", "failed", "dropped"]

_PUT: Final = """INSERT INTO mail (id, kind, recipient, facts, state, attempts, created, due, finished)
    VALUES (?, ?, ?, ?, 'waiting', 0, ?, ?, NULL) ON CONFLICT (id) DO NOTHING"""
_DUE: Final = """SELECT id, kind, recipient, facts, attempts, created FROM mail
    WHERE state = 'waiting' AND due <= ? ORDER BY due, id LIMIT ?"""
_CLAIM: Final = "UPDATE mail SET attempts = ?, due = ? WHERE id = ? AND attempts = ? AND state = 'waiting' AND due <= ?"
_FINISH: Final = """UPDATE mail SET state = ?, finished = ?, recipient = '', facts = ''
    WHERE id = ? AND state = 'waiting'"""
_FORGET: Final = "DELETE FROM mail WHERE created < ?"
_COUNT: Final = "SELECT state, COUNT(*) FROM mail GROUP BY state"


@dataclass(frozen=True, slots=True)
class WaitingMail:
    """A mail that somebody has to send. `attempts` were begun before."""

    id: str
    kind: str
    recipient: str
    facts: Mapping[str, Any]
    attempts: int
    created: int


def put_mail(
    connection: Connection, mail_id: str, kind: str, recipient: str, facts: Mapping[str, Any], now: int
) -> bool:
    """Have a mail sent, once for its id. Returns whether it is new."""
    values = (mail_id, kind, recipient, json.dumps(facts), now, now)
    return connection.execute(_PUT, values).rowcount == 1


def find_due_mails(connection: Connection, now: int, limit: int) -> list[WaitingMail]:
    """Mails that are to be tried now, those due longest first."""
    rows = connection.execute(_DUE, (now, limit)).fetchall()
    return [WaitingMail(name, kind, to, json.loads(facts), tries, made) for name, kind, to, facts, tries, made in rows]


def claim_mail(connection: Connection, mail: WaitingMail, now: int) -> bool:
    """Take a mail up: True for one process alone, until the time of the next try."""
    wait = WAITS_SECONDS[min(mail.attempts, len(WAITS_SECONDS) - 1)] * SECOND
    values = (mail.attempts + 1, now + wait, mail.id, mail.attempts, now)
    return connection.execute(_CLAIM, values).rowcount == 1


def is_last_try(mail: WaitingMail) -> bool:
    """Whether a mail that was taken up is not tried again should it fail."""
    return mail.attempts + 1 > len(WAITS_SECONDS)


def finish_mail(connection: Connection, mail_id: str, state: State, now: int) -> None:
    """A mail is done with: sent, given up, or not worth sending any more."""
    connection.execute(_FINISH, (state, now, mail_id))


def forget_mails(connection: Connection, created_before: int) -> int:
    """Delete mails written before an instant; returns how many. Their ids could be used again from then on."""
    return connection.execute(_FORGET, (created_before,)).rowcount


def count_mails(connection: Connection) -> dict[str, int]:
    """How many mails there are in each state."""
    return {str(state): int(count) for state, count in connection.execute(_COUNT).fetchall()}
