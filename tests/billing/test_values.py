"""Promises of values: equal by what they hold, without room for more, and never assigned to once the type checker has looked."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from dataclasses import field
from pathlib import Path
from typing import Any

import pytest

from billing.values import blank, named_value, record, value

ROOT = Path(__file__).parents[2]


@value
class Point:
    """By place or by name."""

    x: int
    y: int = 0
    tags: list[str] = field(default_factory=list, compare=False)


@named_value
class Tariff:
    """By name alone."""

    name: str
    price: int = 0


@record
class Reading:
    """By name, or field by field."""

    place: str
    degrees: int = 0


def test_a_value_is_made_by_place_or_by_name() -> None:
    """Defaults as in any dataclass; those that are made anew are not shared."""
    point = Point(1)

    assert (1, 0, []) == (point.x, point.y, point.tags)
    assert Point(1, 0) == Point(y=0, x=1) == point
    assert Point(1).tags is not point.tags
    assert "Point(x=1, y=0, tags=[])" == repr(point)


def test_a_named_value_is_made_by_name_alone() -> None:
    """Two numbers of the same type cannot be mixed up."""
    make: Any = Tariff

    assert ("a", 2) == (make(price=2, name="a").name, make(name="a", price=2).price)
    with pytest.raises(TypeError, match="positional"):
        make("a", 2)
    with pytest.raises(TypeError, match="missing"):
        make(price=2)


def test_a_record_is_made_by_name_or_filled_in_one_by_one() -> None:
    """Equal either way; what its maker forgot cannot be read, a default least of all."""
    filled = blank(Reading)
    filled.place = "sea"
    with pytest.raises(AttributeError):
        _ = filled.degrees
    filled.degrees = 4

    assert Reading(degrees=4, place="sea") == filled
    assert hash(Reading(degrees=4, place="sea")) == hash(filled)
    with pytest.raises(AttributeError):
        filled.depth = 1  # type: ignore[attr-defined]


def test_values_compare_and_hash_by_what_they_hold() -> None:
    """So they can be found in sets and be keys, except for fields left out of it, and are nothing of another class."""
    assert Point(1, 2) == Point(1, 2, ["other"])
    assert Point(1, 2) != Point(2, 1)
    assert {Point(1, 2)} == {Point(1, 2), Point(1, 2)}
    assert 5 == {Tariff(name="a"): 5}[Tariff(name="a", price=0)]
    assert Tariff(name="a") != Tariff(name="b")
    assert Point(1, 2) != (1, 2)


@pytest.mark.parametrize("made", [Point(1), Tariff(name="a")])
def test_values_have_no_room_for_more(made: Any) -> None:
    """A misspelt name is an error and no new field; no dictionary is carried along."""
    with pytest.raises(AttributeError):
        made.prcie = 1
    assert not hasattr(made, "__dict__")


def test_a_changed_value_is_another_one() -> None:
    """Made with dataclasses.replace."""
    point = Point(1, 2)

    assert (Point(1, 3), Point(1, 2)) == (dataclasses.replace(point, y=3), point)


_FAULTS = """
from billing.values import named_value, value

@value
class Point:
    x: int
    y: int = 0

@named_value
class Tariff:
    name: str
    price: int = 0

point = Point(1)
tariff = Tariff(name="a", price=1)
point.x = 2             # fault
tariff.price += 1       # fault
point.z = 2             # fault
Point("a")              # fault
Point()                 # fault
Tariff("a")             # fault
Tariff(price=1)         # fault
print(point.x + tariff.price, Point(x=1, y=2), Point(1, 2))
"""


def test_the_type_checker_finds_what_is_not_checked_at_run_time(tmp_path: Path) -> None:
    """An assignment to a field above all: nothing else stops it."""
    source = tmp_path / "faults.py"
    source.write_text(_FAULTS)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=", "--strict", f"--cache-dir={tmp_path / 'cache'}", str(source)],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    expected = {number for number, line in enumerate(_FAULTS.splitlines(), 1) if line.endswith("# fault")}

    assert expected == {int(number) for number in re.findall(r"faults\.py:(\d+): error", checked.stdout)}, (
        checked.stdout
    )
