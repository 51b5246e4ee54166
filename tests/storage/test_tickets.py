"""Tickets: bounded in number, with the facts of their call, answered in order, seen by nobody else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from middlewares.errors import CODES, problem_of
from providers import errors
from storage.accounts import UnknownAccount
from storage.calls import AttemptRow, CallRow, insert_call
from storage.database import Database
from storage.tickets import (
    CODES_BY_STATUS,
    LARGEST_A_DAY,
    LARGEST_ANSWERS,
    LARGEST_OPEN,
    NotAnswered,
    Ticket,
    TooManyTickets,
    UnknownTicket,
    answer_seen_ticket,
    answer_ticket,
    close_ticket,
    count_tickets,
    error_code_of,
    facts_of,
    find_ticket,
    open_ticket,
    page_tickets,
)
from tests.middlewares.test_errors import classes_below

AccountMaker = Callable[[Database], Callable[..., str]]
DAY = 86_400_000_000
NOW = 1_790_000_000_000_000


def a_call(account_id: str, *, outcome: str = "complete", code: str | None = None) -> CallRow:
    """A call of the account's, with one attempt."""
    return CallRow(
        request_id="req_1",
        created=NOW,
        account_id=account_id,
        key_id="key_1",
        path="/v1/chat/completions",
        requested_model="standard",
        model="standard",
        provider="alpha",
        mode="standard",
        payer="credits",
        streamed=True,
        status=200 if code is None else 503,
        billing_outcome=outcome,
        usage_source="provider",
        prompt_tokens=17,
        attempts=(
            AttemptRow(
                number=1,
                provider="alpha",
                model="standard",
                upstream_model="up",
                outcome="failed",
                status=500,
                code=code,
                latency_ms=5,
            ),
        ),
    )


def test_a_ticket_knows_its_call(database: Database, new_account: Callable[..., str]) -> None:
    """When, where, which model, how it ended; of another account's call, and of none, nothing."""
    account, other = new_account(100), new_account(100)
    with database.session() as connection:
        row = a_call(account, outcome="failed", code="provider_error")
        insert_call(connection, row, row.attempts, 0)
        mine = open_ticket(connection, account, "slow", "it was slow\nvery", "req_1", NOW)
        theirs = open_ticket(connection, other, "slow", "it was slow", "req_1", NOW + 1)
        plain = open_ticket(connection, account, "hello", "a question", None, NOW + 2)
        assert isinstance(mine, Ticket)
        assert isinstance(theirs, Ticket)
        assert isinstance(plain, Ticket)
        found = find_ticket(connection, mine.id, account)

    assert found == mine
    assert {
        "time": "2026-09-21T14:13:20.000000Z",
        "path": "/v1/chat/completions",
        "model": "standard",
        "served_by": "alpha",
        "status": 503,
        "error_code": "all_providers_unavailable",
        "streamed": True,
        "prompt_tokens": 17,
    } == mine.facts
    assert (None, None) == (theirs.facts, plain.facts)


def test_codes_are_those_of_the_api() -> None:
    """Each is one of the API's, at its status."""
    assert CODES_BY_STATUS == {CODES[code][0]: code for code in CODES_BY_STATUS.values()}


@pytest.mark.parametrize("status", [None, 413, 422])
def test_the_code_is_the_one_that_the_caller_was_told(status: int | None) -> None:
    """Whatever a provider did, before the first byte; behind it too, where no status told more."""
    kinds = [kind for kind in classes_below(errors.UpstreamError) if kind.__module__ == errors.__name__]
    assert 10 < len(kinds)
    for kind in kinds:
        error = kind("no", status=status)  # type: ignore[call-arg]
        problem = problem_of(error)
        row = a_call("acct_1", outcome="failed", code="x")
        row = replace(row, status=problem.status, attempts=(replace(row.attempts[0], outcome=error.outcome),))
        cut = replace(row, status=200, billing_outcome="cut_by_provider")

        assert problem.code == error_code_of(row), kind
        if status is None:
            assert problem.code == error_code_of(cut), kind


def test_a_call_that_went_well_has_no_error() -> None:
    """Whatever an attempt before the one that served met."""
    assert facts_of(a_call("acct_1", code="provider_error"))["error_code"] is None


def test_their_number_is_bounded(database: Database, new_account: Callable[..., str]) -> None:
    """So many may wait at once, and so many a day are opened; tomorrow there are new ones."""
    account = new_account(100)
    with database.session() as connection:
        for number in range(LARGEST_OPEN):
            opened = open_ticket(connection, account, "a", "b", None, NOW + number)
            assert isinstance(opened, Ticket)
        refused = open_ticket(connection, account, "a", "b", None, NOW + 100)
        assert isinstance(refused, TooManyTickets)
        for ticket in page_tickets(connection, account_id=account)[0]:
            close_ticket(connection, ticket.id, NOW + 200)
        for number in range(LARGEST_A_DAY - LARGEST_OPEN):
            opened = open_ticket(connection, account, "a", "b", None, NOW + 300 + number)
            assert isinstance(opened, Ticket)
            close_ticket(connection, opened.id, NOW + 400)
        assert isinstance(open_ticket(connection, account, "a", "b", None, NOW + 500), TooManyTickets)
        assert isinstance(open_ticket(connection, account, "a", "b", None, NOW + DAY + 500), Ticket)
        with pytest.raises(UnknownAccount):
            open_ticket(connection, "acct_none", "a", "b", None, NOW)


def test_answers_stand_in_order(database: Database, new_account: Callable[..., str]) -> None:
    """An answer marks the ticket, also one that was closed; there are so many at most."""
    account = new_account(100)
    with database.session() as connection:
        ticket = open_ticket(connection, account, "a", "b", None, NOW)
        assert isinstance(ticket, Ticket)
        first = answer_ticket(connection, ticket.id, "first", NOW + 1)
        closed = close_ticket(connection, ticket.id, NOW + 2)
        answer_ticket(connection, ticket.id, "second", NOW + 3)
        found = find_ticket(connection, ticket.id)
        for number in range(2, LARGEST_ANSWERS):
            answer_ticket(connection, ticket.id, "more", NOW + number)
        with pytest.raises(ValueError, match="at most"):
            answer_ticket(connection, ticket.id, "one too many", NOW + 1_000)
        for nobody in ("ticket_none", "\0"):
            with pytest.raises(UnknownTicket):
                close_ticket(connection, nobody, NOW)

        told = connection.execute("SELECT id, kind, facts FROM mail").fetchall()

    facts = f'{{"ticket": "{ticket.id}"}}'
    assert {(f"{ticket.id}:{number + 1}", "ticket_answer", facts) for number in range(LARGEST_ANSWERS)} == set(told)
    assert ("answered", "closed", ["first"]) == (first.status, closed.status, [one.text for one in closed.answers])
    assert found is not None
    assert ("answered", NOW + 3, ["first", "second"]) == (
        found.status,
        found.changed,
        [one.text for one in found.answers],
    )


def test_pages(database: Database, new_account: Callable[..., str]) -> None:
    """Newest first, each once; one's own, or those of a status."""
    account, other = new_account(100), new_account(100)
    with database.session() as connection:
        for number in range(5):
            open_ticket(connection, account, f"subject {number}", "b", None, NOW + number)
        theirs = open_ticket(connection, other, "theirs", "b", None, NOW + 9)
        assert isinstance(theirs, Ticket)
        close_ticket(connection, theirs.id, NOW + 10)
        seen, cursor = page_tickets(connection, account_id=account, limit=3)
        rest, end = page_tickets(connection, account_id=account, limit=3, cursor=cursor)
        closed, _ = page_tickets(connection, status="closed")
        everybody, _ = page_tickets(connection)
        assert find_ticket(connection, theirs.id, account) is None

    assert [f"subject {number}" for number in (4, 3, 2, 1, 0)] == [ticket.subject for ticket in (*seen, *rest)]
    assert end is None
    assert ["theirs"] == [ticket.subject for ticket in closed]
    assert 6 == len(everybody)


async def test_an_answer_is_taken_once(sqlite_database: Database, account_maker_for: AccountMaker) -> None:
    """The same sent again changes nothing; one that crosses another, or is one too many, is given back."""
    account = account_maker_for(sqlite_database)()
    with sqlite_database.session() as connection:
        ticket = open_ticket(connection, account, "help", "please", None, NOW)
        assert isinstance(ticket, Ticket)
        first, again = (answer_seen_ticket(connection, ticket.id, "so", 0, NOW + late) for late in (1, 2))
        crossed = answer_seen_ticket(connection, ticket.id, "not so", 0, NOW + 3)
        unseen = answer_seen_ticket(connection, ticket.id, "so", 2, NOW + 3)
        nobodys = [answer_seen_ticket(connection, name, "so", 0, NOW) for name in ("ticket_none", "\0")]
        waiting = count_tickets(connection, "open"), count_tickets(connection, "answered")
        for number in range(1, LARGEST_ANSWERS):
            answer_ticket(connection, ticket.id, str(number), NOW)
        close_ticket(connection, ticket.id, NOW)
        too_many = answer_seen_ticket(connection, ticket.id, "more", LARGEST_ANSWERS, NOW)

        assert "closed" == page_tickets(connection)[0][0].status
    assert isinstance(first, Ticket)
    assert isinstance(again, Ticket)
    assert first.answers == again.answers
    assert [True] * 3 == [isinstance(refused, NotAnswered) for refused in (crossed, unseen, too_many)]
    assert [None, None] == nobodys
    assert (0, 1) == waiting
