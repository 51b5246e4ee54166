"""The pages for operators are served beside the others, and work on PostgreSQL as they do on SQLite."""

from __future__ import annotations

import asyncio

from console.openapi import OPERATIONS
from proxy.operator_pages import ROUTES
from storage.audit import audit
from tests.console.pages.test_public import text_of
from tests.fakes.raw_upstream import RawUpstream
from tests.gateway import book
from tests.operating import hidden, running_office


def test_pages_are_no_part_of_the_api() -> None:
    """Each address is given once, and the API's description has none of them."""
    assert len(ROUTES) == len(set(ROUTES))
    assert not any("/operator" in str(operation) for operation in OPERATIONS)


async def test_a_day_on_postgresql(postgres_database_url: str, alpha: RawUpstream, beta: RawUpstream) -> None:
    """A call, a ticket answered, credit given once, an account ended and begun again, and the books agree."""
    async with running_office(book(alpha.url, beta.url), postgres_database_url) as office:
        await office.gateway.chat()
        (row,) = await office.gateway.settled(1)
        opened = await office.ada.send(
            "/my/tickets", {"subject": "Why?", "message": "So.", "request_id": row.request_id}
        )
        ticket = opened.headers["Location"].partition("?")[0].replace("/my/", "/operator/")
        account = f"/operator/accounts/{office.gateway.account_id}"

        looked = await office.grace.send(f"{account}/credit", {"amount": "1", "reason": "x", "expires": "2100-01-01"})
        form = hidden(looked, f"{account}/credit")
        sent = await asyncio.gather(*(office.grace.send(f"{account}/credit", form) for _ in range(3)))
        seen = {**hidden(await office.grace.get(ticket), f"{ticket}/answer"), "text": "Because."}
        sent += await asyncio.gather(*(office.grace.send(f"{ticket}/answer", seen) for _ in range(3)))
        path = "/operator/announcements"
        news = {**hidden(await office.grace.get(path), path), "title": "Soon", "severity": "info"}
        sent += await asyncio.gather(*(office.grace.send(path, news) for _ in range(3)))
        for verb in ("deactivate", "reactivate"):
            sent.append(await office.grace.send(f"{account}/{verb}", {"confirmed": "yes"}))
        shown = {
            page: text_of(await office.grace.get(page))
            for page in (
                *("/operator", "/operator/accounts?q=ADA", account, ticket, path, "/operator/tickets?status=answered"),
                *("/operator/ledger?account=ada@example.com&kind=promotion", f"/operator/calls/{row.request_id}"),
                *("/operator/report", "/operator/providers"),
            )
        }

        assert [303] * 11 == [reply.status for reply in sent]
        assert 11 * 10**8 - row.cost == office.gateway.balance().balance
        for page, told in zip(
            shown,
            ("Nobody waits", "ada@example.com active", "lapses 2100-01-01", "Because.", "Soon", "Why?", "x (by grace@"),
            strict=False,
        ):
            assert told in shown[page], page
        with office.gateway.database.session(snapshot=True) as connection:
            assert [] == audit(connection)
            assert (1,) == connection.execute("SELECT COUNT(*) FROM ticket_answer").fetchone()
