"""Promises of our values: they compare and hash by what they hold, keep to their fields, and cost no guard at run time."""

from __future__ import annotations

import dataclasses

import pytest

from billing.values import named_value, value


@value
class Point:
    """Two numbers."""

    x: int
    y: int = 0


@named_value
class Row:
    """Fields that must be named."""

    id: str
    labels: tuple[str, ...] = ()


def test_values_compare_and_hash_by_their_fields() -> None:
    """So they can be keys, members of sets, and what a test expects."""
    assert Point(1, 2) == Point(1, 2) != Point(2, 1)
    assert {Point(1): "a", Row(id="r"): "b"}[Point(1, 0)] == "a"
    assert hash(Row(id="r")) == hash(Row(id="r", labels=()))


def test_values_have_no_other_fields() -> None:
    """They are slotted: a misspelt field is an error and not a new attribute."""
    with pytest.raises(AttributeError):
        setattr(Point(1), "z", 3)  # noqa: B010 - the type checker would not let it through otherwise


def test_named_values_want_names() -> None:
    """A row of many fields is never filled by position."""
    with pytest.raises(TypeError):
        Row("r")  # type: ignore[misc]


def test_values_are_dataclasses() -> None:
    """`replace` makes a changed copy and leaves the original."""
    point = Point(1, 2)

    assert (Point(5, 2), Point(1, 2)) == (dataclasses.replace(point, x=5), point)
