"""simulator/embedding_request.py: what is a request for embeddings, and how long it is."""

import json
from typing import Any

import pytest

from simulator.embedding_request import count_input_tokens, read_embedding_request
from simulator.request import UnreadableRequest


def test_inputs_are_texts_or_tokens() -> None:
    """One or many; an order may stand in the last text."""

    def read(value: Any) -> Any:
        return read_embedding_request(json.dumps({"model": "m", "input": value}).encode())

    assert (("a",), "a", False) == (read("a").inputs, read("a").last_text, read("a").has_tokens)
    assert (("a", "b"), "b") == (read(["a", "b"]).inputs, read(["a", "b"]).last_text)
    assert (([1, 2],), "", True) == (read([1, 2]).inputs, read([1, 2]).last_text, read([1, 2]).has_tokens)
    assert (2, 1) == read([[1, 2], [3]]).tokens
    assert 1 == count_input_tokens("abcd")
    assert 2 == count_input_tokens("abcde")
    assert 2 == count_input_tokens("你好")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"input": "a"}',
        b'{"model": "m"}',
        b'{"model": "m", "input": []}',
        b'{"model": "m", "input": ""}',
        b'{"model": "m", "input": [[]]}',
        b'{"model": "m", "input": ["a", 1]}',
        b'{"model": "m", "input": [1, "a"]}',
        b'{"model": "m", "input": "a", "dimensions": 0}',
        b'{"model": "m", "input": "a", "dimensions": true}',
    ],
)
def test_what_nobody_could_make_sense_of(body: bytes) -> None:
    """Is refused with a sentence."""
    with pytest.raises(UnreadableRequest):
        read_embedding_request(body)
