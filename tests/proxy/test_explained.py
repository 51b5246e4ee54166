"""The explanation as the last member of a provider's JSON, whatever that looks like."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.explained import with_explanation
from tests.fakes.raw_upstream import RawUpstream, completion, http
from tests.gateway import Gateway, chat_body, http_request


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b'{"a":1}', b'{"a":1,"findtoken":{}}'),
        (b"{}", b'{"findtoken":{}}'),
        (b" { \n } \r\n", b' { \n "findtoken":{}} \r\n'),
        (b'{"a":"}"}\n', b'{"a":"}","findtoken":{}}\n'),
        (b'{"a":{"b":"{"}}', b'{"a":{"b":"{"},"findtoken":{}}'),
    ],
)
def test_one_more_member(document: bytes, expected: bytes) -> None:
    """Every other byte stays."""
    assert expected == with_explanation(document, b"{}")


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.text(), st.lists)), st.none() | st.integers(0, 3))
def test_whatever_the_provider_sent(document: dict[str, object], indent: int | None) -> None:
    """It reads as it did, and with the explanation."""
    data = with_explanation(json.dumps(document, indent=indent).encode(), b'{"candidates":[]}')

    assert {**document, "findtoken": {"candidates": []}} == json.loads(data)


@pytest.mark.parametrize("head", ["", "Connection: close\r\n"])
async def test_the_length_counts_it(head: str, gateway: Gateway, alpha: RawUpstream) -> None:
    """On a connection that is kept, where we write, and on one that ends, where aiohttp does."""
    alpha.next([http(completion("Hi"))])
    body = json.dumps(chat_body()).encode()
    caller = await gateway.dial_raw(http_request(body, gateway.key, head=f"X-FindToken-Explain: 1\r\n{head}"))
    received = (await caller.read_until(b"\r\n\r\n")).lower()
    length = int(received.partition(b"content-length: ")[2].split(b"\r\n")[0])

    answer = json.loads(await caller.reader.readexactly(length))
    assert ("Hi", "served") == (
        answer["choices"][0]["message"]["content"],
        answer["findtoken"]["candidates"][0]["verdict"],
    )
