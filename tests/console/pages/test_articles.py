"""Articles are found by the words that people type, the fitting one first."""

from __future__ import annotations

import pytest

from console.pages.articles import ARTICLES, Library, by_area, plain
from console.pages.rendering import HERE


@pytest.fixture(scope="module")
def library() -> Library:
    """All articles."""
    return Library({one.slug: (HERE / "templates" / one.template).read_text() for one in ARTICLES})


def test_every_article_has_its_text_and_every_text_its_article() -> None:
    """By name."""
    assert {path.stem for path in (HERE / "templates" / "help").glob("*.html")} == {one.slug for one in ARTICLES}
    assert len(ARTICLES) == sum(map(len, by_area(ARTICLES).values()))


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        ("error 429", "error-429"),
        ("Too many requests", "error-429"),
        ("402", "insufficient-credits"),
        ("refund", "recharge-and-refund"),
        ("byok", "own-provider-keys"),
        ("web page", "keys-in-browsers"),
        ("openrouter", "from-openrouter"),
        ("STREAM", "streaming"),
        ("revoke", "leaked-key"),
        ("choose model", "choose-a-model"),
    ],
)
def test_what_people_look_for(library: Library, asked: str, first: str) -> None:
    """The article about it comes first, or is among the first where several speak of it."""
    assert first in [one.slug for one in library.search(asked)][:2]


def test_every_word_counts(library: Library) -> None:
    """Nothing for what no article says; everything for no words."""
    assert [] == library.search("refund zeppelin")
    assert list(ARTICLES) == library.search("  ?! ")


def test_markup_is_not_searched() -> None:
    """Neither tags nor what templates put in."""
    assert "a b" == " ".join(plain('<p class="x">a {{ offers.fee }}{% if x %}b{% endif %}</p>').split())
