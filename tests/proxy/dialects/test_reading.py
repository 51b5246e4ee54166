"""Each field has the kind that it must have, or is refused by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from middlewares.errors import Refusal
from proxy.dialects.reading import as_flag, as_list, as_object, as_text, shown, written


def nested(depth: int) -> list[Any]:
    """A list in a list in a list."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("reader", "given", "expected"),
    [
        (as_text, "", ""),
        (as_list, None, []),
        (as_list, [1], [1]),
        (as_object, None, {}),
        (as_object, {"a": 1}, {"a": 1}),
        (as_flag, None, False),
        (as_flag, True, True),
        (written, {"a": "ü"}, '{"a": "ü"}'),
    ],
)
def test_what_is_as_it_must_be(reader: Callable[[object, str], Any], given: object, expected: object) -> None:
    """It passes; null is absent where something may be."""
    assert expected == reader(given, "field")


@pytest.mark.parametrize(
    ("reader", "given"),
    [
        (as_text, None),
        (as_text, 1),
        (as_list, "a"),
        (as_list, {}),
        (as_object, []),
        (as_flag, 1),
        (written, nested(5000)),
    ],
)
def test_what_is_not(reader: Callable[[object, str], Any], given: object) -> None:
    """The refusal names the field."""
    with pytest.raises(Refusal) as refused:
        reader(given, "tools[1].name")

    assert ("invalid_value", "tools[1].name") == (refused.value.problem.code, refused.value.problem.param)


def test_a_callers_word_is_shown_in_short() -> None:
    """However long it is."""
    assert "'web_search'" == shown("web_search")
    assert 60 == len(shown("x" * 1000))
