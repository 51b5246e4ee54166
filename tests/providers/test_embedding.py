"""Promises of the wire of embeddings: what reaches which vendor, and that the caller's request stays as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.catalogue import DIALECTS
from providers.embedding import shape_embedding, with_model
from providers.json_bytes import replace_text

REQUEST: dict[str, Any] = {
    "model": "public-name",
    "input": ["a", "b"],
    "dimensions": 64,
    "encoding_format": "base64",
    "user": "someone",
    "unknown": {"a": 1},
}


def shaped(dialect: str, **force: Any) -> dict[str, Any]:
    """What a vendor is sent."""
    terms = DIALECTS[dialect].embeddings
    assert terms is not None
    before = dict(REQUEST)
    body = shape_embedding(REQUEST, "upstream-name", force, terms)
    assert before == REQUEST
    return body


def test_an_openai_server_gets_everything() -> None:
    """Under its own name of the model."""
    assert {**REQUEST, "model": "upstream-name"} == shaped("openai")


@pytest.mark.parametrize("dialect", ["qwen", "zhipu"])
def test_the_vendors_get_what_they_know(dialect: str) -> None:
    """No format, because they write numbers only, and nobody's name; what nobody knows goes through."""
    expected = {"model": "upstream-name", "input": ["a", "b"], "dimensions": 64, "unknown": {"a": 1}}

    assert expected == shaped(dialect)


def test_forced_fields_win() -> None:
    """Object into object."""
    assert (128, {"a": 1, "b": 2}) == tuple(
        shaped("openai", dimensions=128, unknown={"b": 2})[name] for name in ("dimensions", "unknown")
    )


def test_who_offers_embeddings() -> None:
    """Three of the dialects; the others have none in OpenAI's shape."""
    assert ["openai", "qwen", "zhipu"] == sorted(name for name, one in DIALECTS.items() if one.embeddings is not None)


JSON_VALUES = st.recursive(
    st.none() | st.integers(-9, 9) | st.sampled_from(["model", "]", '"model"', "\\", ', "model": "x"}', "]}"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["model", "data", 'a"', "]"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["model", "data", "usage", "]", "x"]), JSON_VALUES), st.booleans())
def test_the_model_is_named_as_anywhere(document: dict[str, Any], spaced: bool) -> None:
    """Wherever it stands: what a look from behind finds is what a walk through everything finds."""
    data = json.dumps(document, separators=None if spaced else (",", ":")).encode()

    assert replace_text(data, b"model", b'"ours"') == with_model(data, b'"ours"')


def test_a_name_behind_vectors_is_found() -> None:
    """And one before them; nothing else is touched."""
    for said in (b'{"data": [{"embedding":[1,2]}] , "model":"m" }', b'{"model":"m","data":[[1]]}', b'{"data":[[1]]}'):
        assert said.replace(b'"m"', b'"ours"') == with_model(said, b'"ours"')
