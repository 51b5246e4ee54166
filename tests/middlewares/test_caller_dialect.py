"""A dialect stands at both edges of a call, and nothing between them knows of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from billing.usage import Usage
from middlewares.caller_dialect import CallerDialect, Facts
from tests.fakes.raw_upstream import RawUpstream
from tests.gateway import Gateway

StartGateway = Callable[..., Awaitable[Gateway]]


class Backwards:
    """A dialect of this test's own: what is said in it is said backwards."""

    def read_request(self, document: dict[str, Any]) -> dict[str, Any]:
        """Its texts are backwards."""
        said = {"role": "user", "content": document.pop("said")[::-1]}
        return {**document, "messages": [said]}

    def tell_error(self, status: int, body: dict[str, Any]) -> dict[str, Any]:
        """Only the code."""
        return {"wrong": [status, body["error"]["code"][::-1]]}

    def tell_answer(self, answer: Mapping[str, Any], usage: Usage, facts: Facts) -> dict[str, Any]:
        """The text, and how long it was."""
        text = answer["choices"][0]["message"]["content"]
        return {"said": text[::-1], "tokens": usage.completion_tokens, "model": facts.model(), "id": facts.request_id}

    def translation(self, facts: Facts) -> BackwardsStream:
        """A stream."""
        return BackwardsStream()


class BackwardsStream:
    """Counts bytes, whatever they are."""

    def __init__(self) -> None:
        self.count = 0

    def feed(self, data: bytes) -> bytes:
        """Nothing until the end."""
        self.count += len(data)
        return b""

    def end(self, usage: Usage, comments: bytes) -> bytes:
        """All of it."""
        return b"data: %d %d\n\n" % (self.count, usage.completion_tokens) + comments

    def fail(self, status: int, body: dict[str, Any]) -> bytes:
        """The status."""
        return b"data: %d\n\n" % status


async def test_any_dialect_makes_a_route(start_gateway: StartGateway, alpha: RawUpstream, monkeypatch: Any) -> None:
    """A call of it costs what a chat completion costs; requests, answers, streams and errors are in its words."""
    made: list[CallerDialect] = []

    def backwards() -> CallerDialect:
        made.append(Backwards())
        return made[-1]

    monkeypatch.setattr("proxy.app.DIALECTS", {"/backwards": backwards})
    gateway = await start_gateway()
    bodies = (
        b'{"model": "standard", "said": "olleH"}',
        b'{"model": "standard", "said": "olleH", "stream": true}',
        b'{"model": "standart", "said": "olleH"}',
    )
    plain, streamed, refused = [await gateway.send(body, path="/v1/backwards") for body in bodies]
    chat = await gateway.chat("Hello")

    assert alpha.requests[0].json == alpha.requests[2].json
    assert {"said": "ereht olleH", "tokens": 7, "model": "standard", "id": plain.header("Request-Id")} == {
        **plain.json,
        "tokens": plain.json["tokens"] - gateway.rows()[0].completion_tokens + 7,
    }
    assert [chat.money("Cost")] * 3 == [row.cost for row in gateway.rows()]
    count, tokens = streamed.events[0].split()
    assert (True, gateway.rows()[1].completion_tokens) == (int(count) > 100, int(tokens))
    assert "cost" in streamed.bill
    assert (404, {"wrong": [404, "dnuof_ton_ledom"]}) == (refused.status, refused.json)
    assert 3 == len(set(map(id, made))), "one object a call"
    gateway.prove()
