"""What operators see of the books: accounts, one account, the ledger, one call's receipt, sums, what needs attention.

What is found by an index is read as calls read; what may look through everything goes by `SlowReads`. Everything leaves as our
JSON does: decimal strings for money, ISO 8601 for instants, of a key its last four characters.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from billing.money import format_usd
from billing.receipt import make_receipt
from console.answers import End, Instant, Page, Query, nothing_here
from console.balance import credits_as_json
from console.keys import key_as_json
from console.report import DAYS_BY_DEFAULT, FIRST_DAY, report_as_json
from console.slow_reads import SlowReads
from middlewares.errors import Refusal, invalid
from providers.catalogue import Catalogue
from storage.accounts import Account, find_account, find_account_by_email, page_accounts
from storage.announcements import Announcement, page_announcements
from storage.attempt_sums import AttemptSums, sum_attempts
from storage.audit_runs import find_last_audit
from storage.calls import list_calls, shown_instant
from storage.connection import Connection
from storage.cursors import InvalidCursor, can_be_stored
from storage.database import Database
from storage.entries import KINDS, page_entries
from storage.identifiers import now_microseconds
from storage.keys import page_keys
from storage.open_holds import list_holds, sum_holds
from storage.receipts import find_billed_call
from storage.report import MICROSECONDS_PER_DAY, Report, make_report
from storage.tickets import Status, Ticket, count_tickets, find_ticket, page_tickets

LATEST: Final = 10
"""Calls, and open tickets, that a page shows beside other things."""
MOST_HOLDS: Final = 50
MOST_KEYS: Final = 100
ATTENTION_DAYS: Final = 7
"""The days whose sums stand on the first page."""


def _a_kind(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"expected one of {', '.join(KINDS)}")
    return kind


class AccountPage(Page):
    """A page of accounts; `q` is a part of an address, or an id."""

    q: str = Field(default="", max_length=254)


class EntryPage(Page):
    """A page of the ledger; `account` is an address or an id."""

    account: str | None = Field(default=None, max_length=254)
    kind: Annotated[str, AfterValidator(_a_kind)] | None = None
    from_: Instant | None = Field(default=None, alias="from")
    to: End | None = None


class ReportRange(Query):
    """The days of a report, both included, and what it is broken down by."""

    from_: date | None = Field(default=None, alias="from")
    to: date | None = None
    by: Literal["day", "provider", "model"] = "day"

    def days(self) -> tuple[int, int]:
        """The first day and the one after the last, since 1970. Raises a Refusal."""
        end = self.to or datetime.now(UTC).date()
        begin = self.from_ or max(FIRST_DAY, end - timedelta(days=DAYS_BY_DEFAULT - 1))
        if not FIRST_DAY <= begin <= end:
            raise invalid("from", "from: expected a day since 1970 that is not after the last one")
        return (begin - FIRST_DAY).days, (end - FIRST_DAY).days + 1


class OperatorBooks:
    """What can be seen."""

    def __init__(
        self,
        database: Database,
        slow: SlowReads,
        catalogue: Callable[[], Catalogue],
        key_prefix: str,
        expiry_and_refund_days: Callable[[], tuple[int, int]],
    ) -> None:
        self._database = database
        self._slow = slow
        self._catalogue = catalogue
        self._key_prefix = key_prefix
        self._days = expiry_and_refund_days

    async def attention(self) -> dict[str, Any]:
        """What may need somebody: tickets, holds, the last audit, and what the last days cost us, if that can be had in time."""
        found = await self._database.read(_attention)
        today = _today()
        try:
            made = await self._slow.read_kept(_report, today - ATTENTION_DAYS + 1, today + 1, "day")
        except Refusal:
            return {**found, "report": None, "days": ATTENTION_DAYS}
        return {**found, "report": report_as_json(made, ("day",)), "days": ATTENTION_DAYS}

    async def accounts(self, page: AccountPage) -> tuple[list[dict[str, Any]], str | None]:
        """A page of accounts, newest first. Raises a Refusal."""
        try:
            return await self._database.read(_accounts, page.q.strip(), page.limit, page.cursor)
        except InvalidCursor as error:
            raise invalid("cursor", str(error)) from None

    async def account(self, account_id: str) -> dict[str, Any]:
        """One account: balance, lots, holds, keys, the latest calls. Raises a Refusal."""
        found = await self._database.read(_account, account_id, self._key_prefix, *self._days())
        if found is None:
            raise nothing_here()
        return found

    async def entries(self, page: EntryPage) -> tuple[list[dict[str, Any]], str | None]:
        """A page of the ledger, newest first. Raises a Refusal."""
        arguments = (page.account, page.kind, page.from_, page.to, page.limit, page.cursor)
        try:
            found = await self._slow.read(_entries, *arguments)
        except InvalidCursor as error:
            raise invalid("cursor", str(error)) from None
        if found is None:
            raise invalid("account", "account: there is none of this address or id")
        return found

    async def receipt(self, request_id: str) -> dict[str, Any]:
        """The receipt of anybody's call, and whose it is. Raises a Refusal."""
        found = await self._database.read(_billed_call, request_id)
        if found is None:
            raise nothing_here()
        row, entries, email = found
        receipt = make_receipt(row.to_json(), [entry.to_json() for entry in entries], self._catalogue().price_book())
        return {**receipt, "email": email}

    async def announcements(self, page: Page) -> tuple[list[dict[str, Any]], str | None]:
        """A page of all announcements, the one that begins last first. Raises a Refusal."""
        try:
            return await self._database.read(_announcements, page.limit, page.cursor)
        except InvalidCursor as error:
            raise invalid("cursor", str(error)) from None

    async def tickets(self, status: Status, page: Page) -> tuple[list[dict[str, Any]], str | None]:
        """A page of the tickets in one state, newest first, with whose they are. Raises a Refusal."""
        try:
            return await self._database.read(_tickets, status, page.limit, page.cursor)
        except InvalidCursor as error:
            raise invalid("cursor", str(error)) from None

    async def ticket(self, ticket_id: str) -> dict[str, Any]:
        """One ticket, and whose it is. Raises a Refusal."""
        found = await self._database.read(_ticket, ticket_id)
        if found is None:
            raise nothing_here()
        return found

    async def report(self, chosen: ReportRange) -> dict[str, Any]:
        """The sums of `find-token report`. Raises a Refusal."""
        first, behind = chosen.days()
        made = await self._slow.read_kept(_report, first, behind, chosen.by)
        begin, end = (FIRST_DAY + timedelta(days=day) for day in (first, behind - 1))
        return {**report_as_json(made, (chosen.by,)), "from": begin.isoformat(), "to": end.isoformat()}

    async def attempts_today(self) -> dict[tuple[str, str], AttemptSums] | None:
        """What each upstream did for the calls of this UTC day; None if that cannot be had in time."""
        try:
            return await self._slow.read_kept(_attempts, _today())
        except Refusal:
            return None


def account_as_json(account: Account) -> dict[str, Any]:
    """An account as a line of a list."""
    return {
        "id": account.id,
        "email": account.email,
        "status": account.status,
        "created": shown_instant(account.created),
        "last_active": shown_instant(account.last_active),
        "balance": format_usd(account.balance),
        "held": format_usd(account.held),
    }


def _today() -> int:
    return now_microseconds() // MICROSECONDS_PER_DAY


def _attention(connection: Connection) -> dict[str, Any]:
    now = connection.now()
    holds, audit = sum_holds(connection, now), find_last_audit(connection)
    tickets, _ = page_tickets(connection, status="open", limit=LATEST)
    return {
        "open_tickets": count_tickets(connection, "open"),
        "tickets": [ticket.to_json() for ticket in tickets],
        "holds": {
            "count": holds.count,
            "amount": format_usd(holds.amount),
            "oldest": None if holds.oldest is None else shown_instant(holds.oldest),
            "overdue": holds.overdue,
        },
        "audit": None
        if audit is None
        else {
            "finished": shown_instant(audit.finished),
            "days": (now - audit.finished) // MICROSECONDS_PER_DAY,
            "disagreements": audit.disagreements,
            "sentence": audit.sentence,
        },
    }


def _accounts(
    connection: Connection, search: str, limit: int, cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    found, following = page_accounts(connection, search=search, limit=limit, cursor=cursor)
    return [account_as_json(account) for account in found], following


def _account(
    connection: Connection, account_id: str, key_prefix: str, expiry_days: int, refund_days: int
) -> dict[str, Any] | None:
    found = find_account(connection, account_id) if can_be_stored(account_id) else None
    if found is None:
        return None
    now = connection.now()
    keys, more_keys = page_keys(connection, account_id, MOST_KEYS)
    calls, _ = list_calls(connection, account_id, limit=LATEST)
    holds = list_holds(connection, account_id, MOST_HOLDS)
    return {
        "account": account_as_json(found),
        "credits": credits_as_json(connection, found, expiry_days, refund_days, now),
        "holds": [
            {
                "request_id": hold.request_id,
                "amount": format_usd(hold.amount),
                "created": shown_instant(hold.created),
                "deadline": shown_instant(hold.deadline),
                "overdue": hold.deadline < now,
                "model": hold.requested_model,
            }
            for hold in holds
        ],
        "keys": [key_as_json(connection, key, key_prefix, now) for key in keys],
        "more_keys": more_keys is not None,
        "calls": [call.to_json() for call in calls],
    }


def _entries(
    connection: Connection,
    account: str | None,
    kind: str | None,
    since: int | None,
    until: int | None,
    limit: int,
    cursor: str | None,
) -> tuple[list[dict[str, Any]], str | None] | None:
    account_id = None
    if account is not None:
        found = find_account_by_email(connection, account) if "@" in account else None
        if found is None and can_be_stored(account):
            found = find_account(connection, account)
        if found is None:
            return None
        account_id = found.id
    rows, following = page_entries(
        connection, account_id=account_id, kind=kind, since=since, until=until, limit=limit, cursor=cursor
    )
    return [row.to_json() for row in rows], following


def _billed_call(connection: Connection, request_id: str) -> tuple[Any, Any, str] | None:
    found = find_billed_call(connection, request_id)
    if found is None:
        return None
    owner = find_account(connection, found[0].account_id)
    return (*found, "" if owner is None else owner.email)


def _announcements(connection: Connection, limit: int, cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
    found, following = page_announcements(connection, limit=limit, cursor=cursor)
    now = connection.now()
    return [{**one.to_json(), "state": _state(one, now)} for one in found], following


def _state(announcement: Announcement, now: int) -> str:
    if announcement.withdrawn is not None:
        return "withdrawn"
    if announcement.starts > now:
        return "to come"
    return "over" if announcement.ends is not None and announcement.ends <= now else "shown"


def _tickets(
    connection: Connection, status: Status, limit: int, cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    found, following = page_tickets(connection, status=status, limit=limit, cursor=cursor)
    return [_with_owner(connection, ticket) for ticket in found], following


def _ticket(connection: Connection, ticket_id: str) -> dict[str, Any] | None:
    found = find_ticket(connection, ticket_id)
    return None if found is None else _with_owner(connection, found)


def _with_owner(connection: Connection, ticket: Ticket) -> dict[str, Any]:
    owner = find_account(connection, ticket.account_id)
    assert owner is not None, "accounts are never deleted"
    return {**ticket.to_json(), "account_id": owner.id, "email": owner.email}


def _report(connection: Connection, first: int, behind: int, by: str) -> Report:
    return make_report(connection, first * MICROSECONDS_PER_DAY, behind * MICROSECONDS_PER_DAY, (by,))


def _attempts(connection: Connection, day: int) -> dict[tuple[str, str], AttemptSums]:
    return sum_attempts(connection, day * MICROSECONDS_PER_DAY, (day + 1) * MICROSECONDS_PER_DAY)
