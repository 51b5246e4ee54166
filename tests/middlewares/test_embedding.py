"""What is asked of embeddings is checked, and whatever is wrong is named."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from middlewares.embedding import MOST_INPUTS, check_embedding
from middlewares.errors import Refusal
from providers.catalogue import Catalogue, build
from providers.selection import Wish
from tests.gateway import model, price


def catalogue(*embed: str) -> Catalogue:
    """A model that talks, and some of embeddings."""
    vectors = {
        "provider": "p",
        "context": 100,
        "capabilities": ["embeddings"],
        "prices": [{"from": datetime(2026, 1, 1, tzinfo=UTC), "input": Decimal("0.07")}],
    }
    return build(
        {
            "providers": {"p": {"dialect": "openai", "base_url": "http://127.0.0.1:9", "keyless": True}},
            "models": {"standard": model("p", price("1", "2")), **dict.fromkeys(embed, vectors)},
        }
    )


BOOK = catalogue("vectors", "others")
GOOD: dict[str, Any] = {"model": "vectors", "input": "Hello"}


def refusal(document: dict[str, Any], wish: Wish | None = None, book: Catalogue = BOOK) -> tuple[int, str | None, str]:
    """Status, field and message of the refusal of ``document``."""
    with pytest.raises(Refusal) as caught:
        check_embedding(document, wish or Wish(), book)
    problem = caught.value.problem
    return problem.status, problem.param, problem.message


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"input": ["a", "b"]},
        {"input": ["a"] * MOST_INPUTS},
        {"input": [0, 1, 2]},
        {"input": [[0], [1, 2]]},
        {"dimensions": 1, "encoding_format": "base64", "user": "me", "unknown": [1]},
        {"dimensions": None, "encoding_format": None, "user": None, "n": None, "messages": None, "stream": False},
    ],
)
def test_what_openai_takes_is_taken(fields: dict[str, Any]) -> None:
    """Texts and tokens, one and many; null means absent, and what we do not know is let through."""
    assert BOOK.models["vectors"] is check_embedding({**GOOD, **fields}, Wish(), BOOK)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 5}, "model"),
        ({"model": "standard"}, "model"),
        ({"input": None}, "input"),
        ({"input": 5}, "input"),
        ({"input": {"text": "x"}}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a"] * (MOST_INPUTS + 1)}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a", 1]}, "input"),
        ({"input": [1, "a"]}, "input"),
        ({"input": [True]}, "input"),
        ({"input": [-1]}, "input"),
        ({"input": [1.5]}, "input"),
        ({"input": [[1], []]}, "input[1]"),
        ({"input": [[1], ["a"]]}, "input[1]"),
        ({"input": [[[1]]]}, "input[0]"),
        ({"input": [None]}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": True}, "dimensions"),
        ({"dimensions": 10**6}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"encoding_format": 1}, "encoding_format"),
        ({"user": 1}, "user"),
        ({"messages": [{"role": "user"}]}, "messages"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"max_completion_tokens": 5}, "max_completion_tokens"),
        ({"n": "many"}, "n"),
        ({"stream": True}, "stream"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    """With status 400, before anything is held or sent."""
    assert (400, param) == refusal({**GOOD, **fields})[:2]


def test_models_say_what_to_do() -> None:
    """One that is missing, one that talks, one that is not there, and where there is none."""
    talks = {**GOOD, "model": "standard"}

    assert "model is missing: name one that makes embeddings; use vectors, others" == refusal({"input": "x"})[2]
    assert "standard makes no embeddings; use vectors, others" == refusal(talks)[2]
    none = "standard makes no embeddings; this gateway has no model that does"
    assert none == refusal(talks, book=catalogue())[2]
    assert 404 == refusal({**GOOD, "model": "vector"})[0]


def test_no_other_model_may_stand_in() -> None:
    """Not by the caller's own list; the model itself may be in it."""
    sentence = "nobody stands in for vectors: vectors of two models cannot be compared; leave models out"

    assert (400, "models[1]", sentence) == refusal(GOOD, Wish(models=("vectors", "others")))
    assert BOOK.models["vectors"] is check_embedding(GOOD, Wish(models=("vectors",)), BOOK)
