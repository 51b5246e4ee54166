"""A plain answer in other words: translated once, when its bill is known, and delivered in every way."""

from __future__ import annotations

import json

from tests.fakes.raw_upstream import RawUpstream, completion, http
from tests.gateway import ALPHA_KEY, Gateway

BODY = {"model": "standard", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}


async def test_it_is_the_same_to_every_connection(gateway: Gateway) -> None:
    """Kept or closed, HTTP/1.1 or 1.0, explained or not: one JSON document of the length that is told."""
    body = json.dumps(BODY).encode()
    told = []
    for version, more in (
        ("1.1", ""),
        ("1.1", "Connection: close\r\n"),
        ("1.0", ""),
        ("1.1", "X-FindToken-Explain: 1\r\n"),
    ):
        caller = await gateway.dial_raw(
            f"POST /v1/messages HTTP/{version}\r\nHost: gateway\r\nx-api-key: {gateway.key}\r\n{more}"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await caller.read_until(b"\r\n\r\n")).decode()
        length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
        document = json.loads(await caller.reader.readexactly(length))
        assert ("findtoken" in document) == ("Explain" in more)
        assert "\r\nX-FindToken-Cost: " in head
        told.append((document["content"], document["usage"]))

    assert 1 == len({json.dumps(one) for one in told})
    gateway.prove()


async def test_a_key_that_is_echoed_and_text_that_is_no_text(gateway: Gateway, alpha: RawUpstream) -> None:
    """A provider key is redacted as on the chat route; half a surrogate pair arrives as it was written."""
    echo = json.dumps(completion(f"key {ALPHA_KEY} \ud83d")).encode()
    alpha.next([http(echo)])
    reply = await gateway.send(json.dumps(BODY).encode(), path="/v1/messages")

    assert "key [redacted] \ud83d" == reply.json["content"][0]["text"]
