"""Every value of a TOML text is found on its line."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.toml_places import Place, places


def every_place(value: Any, at: Place = ()) -> set[Place]:
    """All places of a parsed document, the whole included."""
    if isinstance(value, dict):
        return {at}.union(*(every_place(inner, (*at, name)) for name, inner in value.items()))
    if isinstance(value, list):
        return {at}.union(*(every_place(inner, (*at, index)) for index, inner in enumerate(value)))
    return {at}


EXAMPLE = '''# a comment with [brackets] and key = value
title = "a # that is no comment"   # and one that is
"quoted key" = 1
a.b."c.d" = [1, 2,
    3,   # in a list, over lines
    { x = 1, y = [true, 1979-05-27 07:32:00Z] },
]
text = """
[not.a.table]
not_a_key = "1" \\"""
"""
literal = \'\'\'
[[neither]]\'\'\'

[server]
listen = \'127.0.0.1:8080\'

[[models."qwen-max".prices]]
from = 2026-01-01
[models.qwen-max.prices.cost]
input = 1
[[models.qwen-max.prices]]
input = 0.14
[models.qwen-max.prices.cost]
input = 2
'''


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("title",), 2),
        (("quoted key",), 3),
        (("a", "b", "c.d"), 4),
        (("a", "b", "c.d", 1), 4),
        (("a", "b", "c.d", 2), 5),
        (("a", "b", "c.d", 3, "x"), 6),
        (("a", "b", "c.d", 3, "y", 1), 6),
        (("text",), 8),
        (("literal",), 12),
        (("server",), 15),
        (("server", "listen"), 16),
        (("models",), 18),
        (("models", "qwen-max", "prices"), 18),
        (("models", "qwen-max", "prices", 0), 18),
        (("models", "qwen-max", "prices", 0, "from"), 19),
        (("models", "qwen-max", "prices", 0, "cost", "input"), 21),
        (("models", "qwen-max", "prices", 1), 22),
        (("models", "qwen-max", "prices", 1, "input"), 23),
        (("models", "qwen-max", "prices", 1, "cost", "input"), 25),
    ],
)
def test_a_place_has_the_line_on_which_it_is_written(place: Place, line: int) -> None:
    """Tables, lists of tables, dotted and quoted keys, inline tables and long strings are all followed."""
    assert line == places(EXAMPLE)[place]


def test_exactly_the_values_of_the_document_have_places() -> None:
    """Nothing inside a string or a comment is taken for a value, and no value is missed."""
    assert every_place(tomllib.loads(EXAMPLE)) == set(places(EXAMPLE))


def test_windows_line_ends_count_once() -> None:
    """A file written on Windows has the same lines."""
    assert 2 == places("a = 1\r\nb = 2\r\n")[("b",)]


def test_an_empty_file_is_one_empty_table() -> None:
    """There is a line to name even when nothing is written."""
    assert {(): 1} == places("")


SCALARS = st.one_of(
    st.integers(-9, 9).map(str),
    st.sampled_from(["true", "1.5", "2026-01-01", "07:32:00", '"x"', "'#]'", '"\\"["', '"""a\n"]"\n"""', "'''\n'''"]),
)
SPACES = st.sampled_from(["", " ", "\n", " # ] } = [\n", "\n\n"])
VALUES: st.SearchStrategy[str] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(st.tuples(SPACES, inner, SPACES), max_size=3).map(
            lambda items: "[" + ",".join(before + item + after for before, item, after in items) + "]"
        ),
        st.lists(inner, max_size=3).map(
            lambda items: "{" + ", ".join(f"k{index}.'é' = {item}" for index, item in enumerate(items)) + "}"
        ),
    ),
    max_leaves=6,
)
LINES = st.lists(
    st.one_of(
        st.sampled_from(["[[t]]", "[[t.u]]", "[ s . 'x y' ]", "[s.z]"]),
        VALUES.map(lambda value: f"= {value}"),
        st.just("# comment"),
    ),
    max_size=8,
)


@given(LINES)
@settings(deadline=None, print_blob=True, max_examples=150)
def test_any_document_is_followed_to_its_end(lines: list[str]) -> None:
    """For any valid document exactly its values have places, and a key stands in the line that is named."""
    text = "\n".join(f"key{index} {line}" if line.startswith("=") else line for index, line in enumerate(lines))
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    found = places(text)
    assert every_place(document) == set(found)
    for place, line in found.items():
        if place and isinstance(place[-1], str):
            assert place[-1] in text.splitlines()[line - 1]
