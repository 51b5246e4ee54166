"""Tickets from a page: opened once, with the facts of a call, its answer shown as text."""

from __future__ import annotations

from console.pages.showing import DONE
from storage.tickets import answer_ticket
from tests.console.pages.parts import faults_of
from tests.console.pages.test_public import text_of
from tests.gateway import Gateway
from tests.visiting import sign_in


async def test_from_the_question_to_the_answer(pages: Gateway) -> None:
    """Nobody else sees it."""
    ada, eve = sign_in(pages, "ada", "eve")
    await pages.chat()
    (row,) = await pages.settled(1)

    opened = await ada.send(
        "/my/tickets", {"subject": "Why <so>?", "message": "one\r\ntwo", "request_id": row.request_id}
    )
    page = await ada.follow(opened)
    ticket_path = opened.headers["Location"].partition("?")[0]
    with pages.database.session() as connection:
        answer_ticket(connection, ticket_path.rpartition("/")[2], "Because <b>.", connection.now())
    answered = await ada.get(ticket_path)

    assert [] == faults_of(answered.body.decode())
    assert DONE["opened"] in text_of(page)
    assert "Model standard Provider alpha Status 200" in text_of(page)
    assert "Because <b>." in text_of(answered)
    assert "Why <so>? answered" in text_of(await ada.get("/my/tickets"))
    assert 404 == (await eve.get(ticket_path)).status


async def test_keys_are_refused_and_what_was_written_stays(pages: Gateway) -> None:
    """So that nobody writes it twice."""
    (ada,) = sign_in(pages, "ada")

    refused = await ada.send("/my/tickets", {"subject": "help", "message": f"my key is {pages.key}"})
    empty = await ada.send("/my/tickets", {"subject": "help", "message": ""})

    assert [400, 400] == [refused.status, empty.status]
    assert "holds an API key" in text_of(refused)
    assert b'value="help"' in refused.body
    assert [] == (await pages.send(b"", method="GET", path="/v1/user/tickets")).json["data"]
