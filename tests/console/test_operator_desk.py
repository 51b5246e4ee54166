"""What operators do is done once, by whoever may, and the log says who did it without a word that anybody wrote."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from billing.money import UNITS_PER_USD
from console.operator_desk import NewAnnouncement, NewAnswer, NewCredit, OperatorDesk
from middlewares.errors import Refusal
from storage.accounts import Account, create_account, find_account
from storage.announcements import page_announcements
from storage.audit import audit
from storage.database import Database, open_database
from storage.entries import page_entries
from storage.identifiers import now_microseconds
from storage.postings import find_balance
from storage.promotions import find_lapses
from storage.tickets import Ticket, find_ticket, open_ticket
from tests.gateway import place_empty_books

ID = f"promotion_{'a' * 32}"
NEWS = f"announcement_{'b' * 32}"


@dataclass(frozen=True)
class Grace:
    """An operator."""

    account_id: str = "acct_grace"
    email: str = "grace@example.com"
    created: int = 0


@pytest.fixture
async def books(sqlite_database_url: str) -> AsyncIterator[Database]:
    """A database that runs."""
    place_empty_books(sqlite_database_url)
    database = open_database(sqlite_database_url)
    await database.start()
    yield database
    await database.close()


@pytest.fixture
def ada(books: Database) -> Account:
    """An account with nothing on it."""
    with books.session() as connection:
        return create_account(connection, "ada@example.com")


def refused(done: object) -> str:
    """The code of a refusal."""
    assert isinstance(done, Refusal), done
    return str(done.problem.code)


async def test_a_credit_is_given_once(books: Database, ada: Account, caplog: pytest.LogCaptureFixture) -> None:
    """However often and fast it is sent; with other words under its id it is refused; the operator stands in the reason."""
    caplog.set_level(logging.INFO, "find-token.operators")
    desk, lapses = OperatorDesk(books), now_microseconds() + 10**12
    wish = NewCredit.model_validate({"amount": "2.5", "reason": "sorry <b>", "id": ID})
    wish = wish.model_copy(update={"expires": lapses})

    balances = await asyncio.gather(*(desk.credit(Grace(), ada.id, wish) for _ in range(5)))
    others = [
        wish.model_copy(update=changed)
        for changed in ({"amount": 1}, {"reason": "more"}, {"expires": None}, {"expires": lapses + 1})
    ]
    told = await asyncio.gather(*(desk.credit(Grace(), ada.id, other) for other in others), return_exceptions=True)
    told += await asyncio.gather(
        desk.credit(Grace("acct_x", "x@example.com"), ada.id, wish),
        desk.credit(Grace(), "acct_none", wish),
        desk.credit(Grace(), "\0", wish),
        desk.credit(Grace(), ada.id, wish.model_copy(update={"amount": 0, "id": f"promotion_{'c' * 32}"})),
        desk.credit(Grace(), ada.id, wish.model_copy(update={"expires": 1, "id": f"promotion_{'d' * 32}"})),
        return_exceptions=True,
    )

    with books.session(snapshot=True) as connection:
        (entry,), _ = page_entries(connection)
        assert [] == audit(connection)
        assert {ID: lapses} == find_lapses(connection, ada.id)
    assert [5 * UNITS_PER_USD // 2] * 5 == [balance.balance for balance in balances]
    assert (ID, "promotion", "sorry <b> (by grace@example.com)") == (entry.id, entry.debit, entry.reason)
    assert ["idempotency_conflict"] * 5 + ["not_found"] * 2 + ["invalid_value"] * 2 == [refused(one) for one in told]
    assert [f"operator acct_grace credited {ada.id}: 2.5 USD as {ID}"] == caplog.messages
    assert "sorry" not in caplog.text


async def test_accounts_end_and_begin_again(books: Database, ada: Account, caplog: pytest.LogCaptureFixture) -> None:
    """Again changes nothing; nobody does it to themselves."""
    caplog.set_level(logging.INFO, "find-token.operators")
    desk = OperatorDesk(books)
    ended = [await desk.set_active(Grace(), ada.id, active=False) for _ in range(2)]
    begun = [await desk.set_active(Grace(), ada.id, active=True) for _ in range(2)]
    told = await asyncio.gather(
        desk.set_active(Grace(ada.id), ada.id, active=False),
        desk.set_active(Grace(), "acct_none", active=False),
        desk.set_active(Grace(), "acct_none", active=True),
        return_exceptions=True,
    )

    with books.session(snapshot=True) as connection:
        now = find_account(connection, ada.id)
    assert ["deactivated", "deactivated", "active", "active"] == [one.status for one in (*ended, *begun)]
    assert now == begun[1]
    assert ada.last_active < begun[0].last_active == begun[1].last_active
    assert ["invalid_value", "not_found", "not_found"] == [refused(one) for one in told]
    assert [f"operator acct_grace {did} {ada.id}" for did in ("deactivated", "reactivated")] == caplog.messages


async def test_an_announcement_is_published_once(books: Database, caplog: pytest.LogCaptureFixture) -> None:
    """Under its id; with other words it is refused; one that would never be shown as well."""
    caplog.set_level(logging.INFO, "find-token.operators")
    desk = OperatorDesk(books)
    wish = NewAnnouncement.model_validate({"title": "Down", "text": "for a\nwhile", "severity": "incident", "id": NEWS})
    made = [await desk.publish(Grace(), wish) for _ in range(2)]
    told = await asyncio.gather(
        desk.publish(Grace(), wish.model_copy(update={"title": "Up"})),
        desk.publish(Grace(), wish.model_copy(update={"id": NEWS[:-1] + "c", "until": 1})),
        desk.withdraw(Grace(), "announcement_none"),
        return_exceptions=True,
    )
    await desk.withdraw(Grace(), NEWS)
    await desk.withdraw(Grace(), NEWS)

    with books.session(snapshot=True) as connection:
        (found,), _ = page_announcements(connection)
    assert made[0] == made[1]
    assert [f"operator acct_grace {did} {NEWS}" for did in ("published", "withdrew")] == caplog.messages
    assert found.withdrawn is not None
    assert ["idempotency_conflict", "invalid_value", "not_found"] == [refused(one) for one in told]


async def test_a_ticket_is_answered_once(books: Database, ada: Account, caplog: pytest.LogCaptureFixture) -> None:
    """And closed; what crosses another answer is refused."""
    caplog.set_level(logging.INFO, "find-token.operators")
    with books.session() as connection:
        ticket = open_ticket(connection, ada.id, "help", "please", None, 1)
    assert isinstance(ticket, Ticket)
    desk = OperatorDesk(books)
    for _ in range(2):
        await desk.answer(Grace(), ticket.id, NewAnswer(text="so", seen=0))
    told = await asyncio.gather(
        desk.answer(Grace(), ticket.id, NewAnswer(text="not so", seen=0)),
        desk.answer(Grace(), "ticket_none", NewAnswer(text="so", seen=0)),
        desk.close(Grace(), "ticket_none"),
        return_exceptions=True,
    )
    for _ in range(2):
        await desk.close(Grace(), ticket.id)

    with books.session(snapshot=True) as connection:
        found = find_ticket(connection, ticket.id)
        mails = connection.execute("SELECT COUNT(*) FROM mail WHERE kind = 'ticket_answer'").fetchone()
        nothing = find_balance(connection, ada.id)
    assert found is not None
    assert ("closed", ["so"]) == (found.status, [one.text for one in found.answers])
    assert ["idempotency_conflict", "not_found", "not_found"] == [refused(one) for one in told]
    assert (1,) == mails
    assert [f"operator acct_grace {did} {ticket.id}" for did in ("answered", "closed")] == caplog.messages
    assert 0 == nothing.balance
