"""Support tickets: what an account holder asks, what the billing log knew of the call it is about, what the operator answered.

A ticket keeps the facts of its call as they were when it was opened, so that it can be read without the billing log. The
account's row is locked while its tickets are counted, so that no two at once are one too many.
"""

# ruff: noqa: S608 - statements are put together from our own column names, never from a value
from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from storage.accounts import UnknownAccount, find_account
from storage.calls import CallRow, find_call, shown_instant
from storage.connection import Connection
from storage.cursors import can_be_stored, read_cursor, write_cursor
from storage.identifiers import new_id
from storage.outbox import put_mail

Status = Literal["open", "answered", "closed"]

LARGEST_OPEN: Final = 20
"""How many tickets of an account may wait for an answer at once."""
LARGEST_A_DAY: Final = 50
LARGEST_ANSWERS: Final = 100
MAIL_KIND: Final = "ticket_answer"
_DAY: Final = 86_400_000_000

_FAILED: Final = ("cut_by_provider", "nothing_produced", "failed")
CODES_BY_STATUS: Final = {
    401: "invalid_provider_key",
    402: "insufficient_provider_balance",
    403: "provider_permission_denied",
    413: "request_too_large",
    422: "refused_value",
    429: "provider_rate_limited",
    502: "bad_upstream_response",
    503: "all_providers_unavailable",
    504: "deadline_exceeded",
}
"""What a call that reached a provider and failed was told, where its status says it."""
_CODES_BY_OUTCOME: Final = {
    "request_refused": "invalid_value",
    "context_too_long": "context_length_exceeded",
    "content_filtered": "content_filter",
    "rate_limited": "provider_rate_limited",
    "quota_exhausted": "provider_rate_limited",
    "timed_out": "deadline_exceeded",
    "unreadable": "bad_upstream_response",
    "stream_cut": "bad_upstream_response",
}
"""The same by how its last attempt ended, where the status does not."""

_COLUMNS = "id, account_id, subject, message, request_id, facts, status, created, changed"
_INSERT = f"INSERT INTO ticket ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, 'open', ?, ?)"
_COUNTS = """SELECT COUNT(CASE WHEN status = 'open' THEN 1 END), COUNT(CASE WHEN created > ? THEN 1 END)
    FROM ticket WHERE account_id = ?"""
_BY_ID = f"SELECT {_COLUMNS} FROM ticket WHERE id = ?"
_ALL = f"SELECT {_COLUMNS} FROM ticket WHERE 1 = 1"
_LOCK = "UPDATE ticket SET status = status WHERE id = ? RETURNING id"
_COUNT = "SELECT COUNT(*) FROM ticket WHERE status = ?"
_MARK = "UPDATE ticket SET status = ?, changed = ? WHERE id = ? RETURNING id"
_ANSWER = "INSERT INTO ticket_answer (ticket_id, number, text, created) VALUES (?, ?, ?, ?)"
_ANSWERS = "SELECT ticket_id, text, created FROM ticket_answer WHERE ticket_id IN (??) ORDER BY ticket_id, number"


class UnknownTicket(Exception):
    """No ticket has this id."""


class TooManyTickets(Exception):
    """The account has as many tickets as it may have for now; the sentence is for its holder."""


class NotAnswered(Exception):
    """The answer was not taken: another came first, or there are too many; the sentence is for its writer."""


@dataclass(frozen=True, slots=True)
class TicketAnswer:
    """An answer of the operator's."""

    text: str
    created: int


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket as it stands. `facts` is None where it names no call that reached a provider."""

    id: str
    account_id: str
    subject: str
    message: str
    request_id: str | None
    facts: dict[str, Any] | None
    status: Status
    created: int
    changed: int
    answers: tuple[TicketAnswer, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The ticket as the account plane shows it."""
        return {
            "id": self.id,
            "subject": self.subject,
            "message": self.message,
            "request_id": self.request_id,
            "request": self.facts,
            "status": self.status,
            "created": shown_instant(self.created),
            "changed": shown_instant(self.changed),
            "answers": [{"text": one.text, "created": shown_instant(one.created)} for one in self.answers],
        }


def open_ticket(
    connection: Connection, account_id: str, subject: str, message: str, request_id: str | None, now: int
) -> Ticket | TooManyTickets:
    """Write a ticket down, with what the billing log knows of the call. Raises UnknownAccount."""
    connection.lock_accounts([account_id])
    if find_account(connection, account_id) is None:
        raise UnknownAccount(f"there is no account {account_id}")
    waiting, lately = connection.execute(_COUNTS, (now - _DAY, account_id)).fetchone() or (0, 0)
    if waiting >= LARGEST_OPEN:
        return TooManyTickets(f"{waiting} of your tickets wait for an answer; an account has at most {LARGEST_OPEN}")
    if lately >= LARGEST_A_DAY:
        return TooManyTickets(f"an account opens at most {LARGEST_A_DAY} tickets a day")
    row = None if request_id is None else find_call(connection, account_id, request_id)
    facts = None if row is None else facts_of(row)
    ticket = Ticket(new_id("ticket_"), account_id, subject, message, request_id, facts, "open", now, now)
    kept = None if facts is None else json.dumps(facts, ensure_ascii=False)
    connection.execute(_INSERT, (ticket.id, account_id, subject, message, request_id, kept, now, now))
    return ticket


def facts_of(row: CallRow) -> dict[str, Any]:
    """What support needs to know of a call: nothing of what was said in it."""
    return {
        "time": shown_instant(row.created),
        "path": row.path,
        "model": row.requested_model,
        "served_by": row.provider,
        "status": row.status,
        "error_code": error_code_of(row),
        "streamed": row.streamed,
        "prompt_tokens": row.prompt_tokens,
    }


def error_code_of(row: CallRow) -> str | None:
    """The error code that the caller was told: in the answer, or in the last chunk of a stream that had begun."""
    if row.billing_outcome not in _FAILED:
        return None
    last = row.attempts[-1].outcome if row.attempts else ""
    if row.status < 400:
        return _CODES_BY_OUTCOME.get(last, "all_providers_unavailable")
    if row.status == 400:
        return _CODES_BY_OUTCOME.get(last, "invalid_value")
    return CODES_BY_STATUS.get(row.status)


def page_tickets(
    connection: Connection,
    *,
    account_id: str | None = None,
    status: Status | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> tuple[list[Ticket], str | None]:
    """A page of tickets, newest first, and the cursor of the next, None after the last. Raises InvalidCursor."""
    clauses, parameters = "", []
    for clause, value in (("account_id = ?", account_id), ("status = ?", status)):
        if value is not None:
            clauses += f" AND {clause}"
            parameters.append(value)
    position: tuple[object, ...] = ()
    if cursor is not None:
        clauses += " AND (created, id) < (?, ?)"
        position = read_cursor(cursor)
    sql = f"{_ALL}{clauses} ORDER BY created DESC, id DESC LIMIT ?"
    rows = connection.execute(sql, (*parameters, *position, limit + 1)).fetchall()
    page = _with_answers(connection, [_ticket(row) for row in rows[:limit]])
    return page, write_cursor(page[-1].created, page[-1].id) if len(rows) > limit else None


def find_ticket(connection: Connection, ticket_id: str, account_id: str | None = None) -> Ticket | None:
    """The ticket with this id, or None; also for one of another account than `account_id`, where that is given."""
    row = connection.execute(_BY_ID, (ticket_id,)).fetchone() if can_be_stored(ticket_id) else None
    if row is None or account_id not in (None, row[1]):
        return None
    return _with_answers(connection, [_ticket(row)])[0]


def answer_ticket(connection: Connection, ticket_id: str, text: str, now: int) -> Ticket:
    """Add an answer, and have a mail tell that there is one. Raises UnknownTicket, and ValueError for one too many."""
    found = _mark(connection, ticket_id, "answered", now)
    if len(found.answers) >= LARGEST_ANSWERS:
        raise ValueError(f"a ticket has at most {LARGEST_ANSWERS} answers")
    number = len(found.answers) + 1
    connection.execute(_ANSWER, (ticket_id, number, text, now))
    account = find_account(connection, found.account_id)
    assert account is not None, "accounts are never deleted"
    put_mail(connection, f"{ticket_id}:{number}", MAIL_KIND, account.email, {"ticket": ticket_id}, now)
    return replace(found, answers=(*found.answers, TicketAnswer(text, now)))


def answer_seen_ticket(
    connection: Connection, ticket_id: str, text: str, seen: int, now: int
) -> Ticket | NotAnswered | None:
    """Answer a ticket of which somebody has seen so many answers; None where there is no such ticket.

    The same answer sent again changes nothing; one that crosses somebody else's is given back.
    """
    known = can_be_stored(ticket_id) and connection.execute(_LOCK, (ticket_id,)).fetchone() is not None
    found = find_ticket(connection, ticket_id) if known else None
    if found is None:
        return None
    if len(found.answers) != seen:
        sent_before = 0 <= seen < len(found.answers) and found.answers[seen].text == text
        return found if sent_before else NotAnswered("this ticket was answered meanwhile; look at that answer first")
    if seen >= LARGEST_ANSWERS:
        return NotAnswered(f"a ticket has at most {LARGEST_ANSWERS} answers")
    return answer_ticket(connection, ticket_id, text, now)


def count_tickets(connection: Connection, status: Status) -> int:
    """How many tickets of all accounts are in this state."""
    row = connection.execute(_COUNT, (status,)).fetchone()
    assert row is not None, "a count without rows is 0"
    return int(row[0])


def close_ticket(connection: Connection, ticket_id: str, now: int) -> Ticket:
    """Nothing more is to be done. Raises UnknownTicket."""
    return _mark(connection, ticket_id, "closed", now)


def _mark(connection: Connection, ticket_id: str, status: Status, now: int) -> Ticket:
    # The update comes first: it locks the row, so that answers are numbered one after another.
    if not can_be_stored(ticket_id) or connection.execute(_MARK, (status, now, ticket_id)).fetchone() is None:
        raise UnknownTicket(f"there is no ticket {ticket_id}")
    found = find_ticket(connection, ticket_id)
    assert found is not None, "tickets are never deleted"
    return found


def _ticket(row: tuple[Any, ...]) -> Ticket:
    values = list(row)
    values[5] = None if values[5] is None else json.loads(values[5])
    return Ticket(*values)


def _with_answers(connection: Connection, tickets: list[Ticket]) -> list[Ticket]:
    if not tickets:
        return []
    found: dict[str, list[TicketAnswer]] = {}
    ids = [ticket.id for ticket in tickets]
    for ticket_id, text, created in connection.execute(_ANSWERS, (connection.many(ids),)).fetchall():
        found.setdefault(ticket_id, []).append(TicketAnswer(text, created))
    return [replace(ticket, answers=tuple(found.get(ticket.id, ()))) for ticket in tickets]
