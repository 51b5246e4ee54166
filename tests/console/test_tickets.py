"""Support tickets over the API: what they are told of the call, what is refused, who sees them."""

from __future__ import annotations

from typing import Any

import pytest

from console.shapes import Listed
from console.support_shapes import TicketShape
from storage.tickets import LARGEST_OPEN, answer_ticket, close_ticket
from tests.fakes.raw_upstream import RST, STREAM_HEAD, Answer, RawUpstream, failure, http, piece, said
from tests.gateway import Gateway

PATH = "/v1/user/tickets"
TICKET = {"subject": "An answer that stopped", "message": "It ended in the middle.\nTwice."}


async def test_from_a_request_id_the_facts_are_filled_in(plane: Gateway, ask: Any) -> None:
    """And the operator's answer stands with it once there is one."""
    called = await plane.chat(stream=True)
    request_id = called.headers["X-FindToken-Request-Id"]
    await plane.settled(1)

    opened = await ask("POST", PATH, {**TICKET, "request_id": request_id})
    with plane.database.session() as connection:
        answer_ticket(connection, opened.json["id"], "We looked into it.", connection.now())
    listed = await ask("GET", PATH)
    shown = await ask("GET", f"{PATH}/{opened.json['id']}")

    assert 201 == opened.status, opened.body
    facts = opened.json["request"]
    assert ("/v1/chat/completions", "standard", "alpha", 200, None, True) == tuple(
        facts[name] for name in ("path", "model", "served_by", "status", "error_code", "streamed")
    )
    assert plane.row().prompt_tokens == facts["prompt_tokens"]
    TicketShape.model_validate(opened.json)
    Listed[TicketShape].model_validate(listed.json)
    assert [shown.json] == listed.json["data"]
    assert ("answered", "We looked into it.") == (shown.json["status"], shown.json["answers"][0]["text"])
    assert TICKET["message"] == shown.json["message"]


FAILURES: dict[str, Answer] = {
    "a stream that breaks": [STREAM_HEAD, piece(said("word")), RST],
    "an error of its own": failure(500),
    "a limit": failure(429),
    "a refusal": failure(400),
    "too long": failure(400, code="context_length_exceeded"),
    "a page": [http(b"<html>busy</html>", kind="text/html")],
    "a reset": [RST],
}


async def test_the_error_is_the_one_that_the_caller_was_told(
    start_gateway: Any, ask_of: Any, alpha: RawUpstream
) -> None:
    """In the answer, or in the last chunk of a stream: never a provider's own word for it, and never none."""
    gateway = await start_gateway(routing={"retries": 0})
    ask = ask_of(gateway)
    for number, (name, answer) in enumerate(FAILURES.items(), 1):
        alpha.otherwise = lambda _request, answer=answer: answer
        streamed = "stream" in name
        called = await gateway.chat(model="lonely", stream=streamed)
        await gateway.settled(number)
        opened = await ask("POST", PATH, {**TICKET, "request_id": called.header("Request-Id")})

        told = called.chunks[-1]["error"]["code"] if streamed else called.code[1]
        assert told == opened.json["request"]["error_code"], name


async def test_nobody_sees_anothers(plane: Gateway, ask: Any) -> None:
    """Neither the ticket nor, through a ticket, the facts of another's call."""
    called = await plane.chat()
    await plane.settled(1)
    _, key = plane.new_account("eve")
    mine = await ask("POST", PATH, TICKET)

    theirs = await ask("POST", PATH, {**TICKET, "request_id": called.headers["X-FindToken-Request-Id"]}, key=key)
    listed = await ask("GET", PATH, key=key)
    refused = await ask("GET", f"{PATH}/{mine.json['id']}", key=key)
    none = await ask("GET", f"{PATH}/ticket_none", key=key)

    assert theirs.json["request"] is None
    assert [theirs.json["id"]] == [one["id"] for one in listed.json["data"]]
    assert (404, "not_found") == refused.code == none.code
    assert refused.error["message"] == none.error["message"]


async def test_keys_are_refused(plane: Gateway, ask: Any) -> None:
    """Ours and others', in any field, without being repeated in the answer; nothing is kept."""
    for name, text in (
        ("subject", f"why is {plane.key} refused"),
        ("message", f"curl -H 'Authorization: Bearer {plane.key}'"),
        ("message", "my DeepSeek key is sk-0123456789abcdef0123456789abcdef"),
        ("request_id", plane.key),
    ):
        refused = await ask("POST", PATH, {**TICKET, name: text})

        assert (400, "invalid_value", name) == (*refused.code, refused.error["param"])
        assert plane.key.encode() not in refused.body
        assert b"sk-0123" not in refused.body
    assert [] == (await ask("GET", PATH)).json["data"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"message": "x"}, "subject"),
        ({"subject": "x"}, "message"),
        ({"subject": " ", "message": "x"}, "subject"),
        ({"subject": "two\nlines", "message": "x"}, "subject"),
        ({"subject": "x" * 201, "message": "x"}, "subject"),
        ({"subject": "x", "message": "x" * 5_001}, "message"),
        ({"subject": "x", "message": "\0"}, "message"),
        ({"subject": "x", "message": "x", "request_id": "not an id"}, "request_id"),
        ({"subject": "x", "message": "x", "account_id": "acct_1"}, "account_id"),
    ],
)
async def test_what_cannot_be_meant_is_refused(gateway: Gateway, ask_of: Any, body: dict[str, Any], param: str) -> None:
    """With the field's name."""
    refused = await ask_of(gateway)("POST", PATH, body)

    assert (400, "invalid_value", param) == (*refused.code, refused.error["param"])


async def test_so_many_may_wait(gateway: Gateway, ask_of: Any) -> None:
    """One more is told to wait; a closed one makes room. Pages show each once."""
    ask = ask_of(gateway)
    made = [(await ask("POST", PATH, TICKET)).json["id"] for _ in range(LARGEST_OPEN)]

    refused = await ask("POST", PATH, TICKET)
    with gateway.database.session() as connection:
        close_ticket(connection, made[0], connection.now())
    taken = await ask("POST", PATH, TICKET)
    first = (await ask("GET", f"{PATH}?limit=15&status=open")).json
    rest = (await ask("GET", f"{PATH}?limit=15&status=open&cursor={first['next_cursor']}")).json

    assert (400, "invalid_value") == refused.code
    assert str(LARGEST_OPEN) in refused.error["message"]
    assert 201 == taken.status
    assert [*made[1:], taken.json["id"]] == [one["id"] for one in (*first["data"], *rest["data"])][::-1]
    assert (400, "cursor") == ((bad := await ask("GET", f"{PATH}?cursor=x")).status, bad.error["param"])
