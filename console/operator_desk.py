"""What operators do from their pages, each thing by the function that the command uses, and each once, however often it is sent.

A form that gives or publishes carries an id that was made with it: what is written under it is written once. An answer to a
ticket says how many answers its writer had seen. Every act is one line of the log: who did what to whom, by ids; never a text
that somebody wrote. Jobs tell beside their result whether anything was done now.
"""

from __future__ import annotations

import logging
from typing import Annotated, Final

from pydantic import Field

from billing.money import format_usd
from console.answers import Body, Dollars, Instant, nothing_here
from console.operators import SignedIn
from console.tickets import Line, Lines
from middlewares.errors import Refusal, invalid
from storage.accounts import Account, find_account, set_status
from storage.announcements import (
    Announcement,
    Severity,
    UnknownAnnouncement,
    publish_announcement,
    withdraw_announcement,
)
from storage.connection import Connection
from storage.cursors import can_be_stored
from storage.database import Database
from storage.entries import find_entry
from storage.expiry import reactivate
from storage.postings import Balance, find_balance
from storage.promotions import find_lapses, give_promotion
from storage.tickets import NotAnswered, Ticket, answer_seen_ticket, close_ticket, find_ticket

logger = logging.getLogger("find-token.operators")

PROMOTION: Final = "promotion_"
ANNOUNCEMENT: Final = "announcement_"
_ID: Final = "[0-9a-f]{32}"
_OTHERWISE: Final = "this form was sent before, and said something else; open the page anew"


class NewCredit(Body):
    """A promotional credit; without an id it is only looked at."""

    amount: Dollars
    reason: Line
    expires: Instant | None = None
    id: Annotated[str, Field(pattern=f"^{PROMOTION}{_ID}$")] | None = None


class NewAnnouncement(Body):
    """An announcement."""

    title: Line
    text: Lines | None = None
    severity: Severity = "info"
    from_: Instant | None = Field(default=None, alias="from")
    until: Instant | None = None
    id: Annotated[str, Field(pattern=f"^{ANNOUNCEMENT}{_ID}$")]


class NewAnswer(Body):
    """An answer to a ticket, by somebody who has seen so many answers to it."""

    text: Lines
    seen: int = Field(ge=0, le=1_000)


class OperatorDesk:
    """What can be done."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def check_credit(self, wish: NewCredit) -> None:
        """Raise a Refusal for a credit that cannot be given."""
        if wish.amount <= 0:
            raise invalid("amount", "amount: a credit is more than nothing")
        if wish.expires is not None and wish.expires <= await self._database.read(_clock):
            raise invalid("expires", "expires: expected a day that is to come")

    async def credit(self, operator: SignedIn, account_id: str, wish: NewCredit) -> Balance:
        """Give a promotional credit, once under its id, with the operator named in the entry's reason."""
        await self.check_credit(wish)
        assert wish.id is not None, "a credit that is given has an id"
        reason = f"{wish.reason} (by {operator.email})"
        done = await self._database.run(_give, wish, account_id, reason, key=account_id)
        if done is None:
            raise nothing_here()
        if isinstance(done, str):
            raise Refusal("idempotency_conflict", done)
        balance, now = done
        if now:
            _told(operator, "credited", account_id, f"{format_usd(wish.amount)} USD as {wish.id}")
        return balance

    async def set_active(self, operator: SignedIn, account_id: str, *, active: bool) -> Account:
        """Deactivate an account or make it active again; one that is so already stays as it is."""
        if account_id == operator.account_id:
            raise invalid(None, "this is the account that you are signed in with")
        job = _reactivate if active else _deactivate
        done = await self._database.run(job, account_id, operator.email, key=account_id)
        if done is None:
            raise nothing_here()
        account, now = done
        if now:
            _told(operator, "reactivated" if active else "deactivated", account_id)
        return account

    async def publish(self, operator: SignedIn, wish: NewAnnouncement) -> Announcement:
        """Publish an announcement, once under its id."""
        done = await self._database.run(_publish, wish)
        if isinstance(done, str):
            raise invalid("until", done)
        made, now = done
        if (made.severity, made.title, made.text) != (wish.severity, wish.title, wish.text or ""):
            raise Refusal("idempotency_conflict", _OTHERWISE)
        if now:
            _told(operator, "published", made.id)
        return made

    async def withdraw(self, operator: SignedIn, announcement_id: str) -> None:
        """Show an announcement no longer."""
        now = await self._database.run(_withdraw, announcement_id)
        if now is None:
            raise nothing_here()
        if now:
            _told(operator, "withdrew", announcement_id)

    async def answer(self, operator: SignedIn, ticket_id: str, wish: NewAnswer) -> None:
        """Answer a ticket; a mail tells its owner."""
        done = await self._database.run(_answer, ticket_id, wish.text, wish.seen)
        if done is None:
            raise nothing_here()
        if isinstance(done, NotAnswered):
            raise Refusal("idempotency_conflict", str(done))
        if done[1]:
            _told(operator, "answered", ticket_id)

    async def close(self, operator: SignedIn, ticket_id: str) -> None:
        """Nothing more is to be done about a ticket."""
        now = await self._database.run(_close, ticket_id)
        if now is None:
            raise nothing_here()
        if now:
            _told(operator, "closed", ticket_id)


def _told(operator: SignedIn, did: str, what: str, more: str = "") -> None:
    logger.info("operator %s %s %s%s", operator.account_id, did, what, f": {more}" if more else "")


def _give(connection: Connection, wish: NewCredit, account_id: str, reason: str) -> tuple[Balance, bool] | str | None:
    """The balance after it; a sentence where the id was used for something else, None where there is no such account."""
    connection.lock_accounts([account_id])
    if not can_be_stored(account_id) or find_account(connection, account_id) is None:
        return None
    entry_id = str(wish.id)
    posted = find_entry(connection, entry_id)
    if posted is not None:
        lapses = find_lapses(connection, account_id).get(entry_id)
        before = (posted.credit, posted.amount, posted.reason, lapses)
        same = before == (f"customer:{account_id}", wish.amount, reason, wish.expires)
        return (find_balance(connection, account_id), False) if same else _OTHERWISE
    now = connection.now()
    return give_promotion(connection, entry_id, account_id, wish.amount, reason, now, wish.expires), True


def _deactivate(connection: Connection, account_id: str, by: str) -> tuple[Account, bool] | None:
    found = find_account(connection, account_id) if can_be_stored(account_id) else None
    if found is None or found.status == "deactivated":
        return None if found is None else (found, False)
    return set_status(connection, account_id, "deactivated", by), True


def _reactivate(connection: Connection, account_id: str, _by: str) -> tuple[Account, bool] | None:
    found = find_account(connection, account_id) if can_be_stored(account_id) else None
    if found is None or found.status == "active":
        return None if found is None else (found, False)
    reactivate(connection, account_id, connection.now())
    found = find_account(connection, account_id)
    assert found is not None, "accounts are never deleted"
    return found, True


def _publish(connection: Connection, wish: NewAnnouncement) -> tuple[Announcement, bool] | str:
    now = connection.now()
    starts = now if wish.from_ is None else wish.from_
    if wish.until is not None and wish.until <= max(starts, now):
        return "until: expected an instant that is to come, after the beginning"
    text = wish.text or ""
    made = publish_announcement(connection, wish.severity, wish.title, text, starts, wish.until, now, wish.id)
    return made, made.created == now


def _withdraw(connection: Connection, announcement_id: str) -> bool | None:
    now = connection.now()
    try:
        return withdraw_announcement(connection, announcement_id, now).withdrawn == now
    except UnknownAnnouncement:
        return None


def _answer(connection: Connection, ticket_id: str, text: str, seen: int) -> tuple[Ticket, bool] | NotAnswered | None:
    now = connection.now()
    done = answer_seen_ticket(connection, ticket_id, text, seen, now)
    return (done, done.changed == now) if isinstance(done, Ticket) else done


def _close(connection: Connection, ticket_id: str) -> bool | None:
    found = find_ticket(connection, ticket_id)
    if found is None or found.status == "closed":
        return None if found is None else False
    close_ticket(connection, ticket_id, connection.now())
    return True


def _clock(connection: Connection) -> int:
    return connection.now()
