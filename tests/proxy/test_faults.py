"""Faults as sentences: sorted, named as an operator reads them, and without secrets."""

from __future__ import annotations

from datetime import date, time
from decimal import Decimal
from typing import Any, Literal

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.faults import ConfigurationFaults, Fault, did_you_mean, dotted, explain, shown
from proxy.toml_places import Place


class Inner(pydantic.BaseModel):
    """A table of the test's schema."""

    model_config = pydantic.ConfigDict(extra="forbid")
    count: int = 0
    since: int | bool = 0
    word: Literal["one", "two"] = "one"


class Outer(pydantic.BaseModel):
    """The test's schema: one table, a table of tables, a list of tables."""

    model_config = pydantic.ConfigDict(extra="forbid")
    inner: Inner = Inner()
    named: dict[str, Inner] = pydantic.Field(default={}, alias="from")
    listed: tuple[Inner, ...] = ()


def explained(raw: dict[str, Any], shown_instead: dict[Place, str] | None = None) -> dict[Place, str]:
    """The faults of ``raw`` under that schema."""
    with pytest.raises(pydantic.ValidationError) as caught:
        Outer.model_validate(raw)
    return explain(caught.value, Outer, raw, shown_instead or {})


def test_faults_sort_by_file_and_line() -> None:
    """Line 10 comes after line 9, and equal faults are said once."""
    faults = [Fault("b", 9, "k", "s"), Fault("b", 10, "k", "s"), Fault("a", 11, "k", "s"), Fault("b", 9, "k", "s")]
    assert [("a", 11), ("b", 9), ("b", 10)] == [(one.file, one.line) for one in ConfigurationFaults(faults).faults]


def test_a_fault_is_one_line() -> None:
    """`file:line: key: sentence`; without a line where the whole file is meant."""
    assert "f.toml:3: a.b: no" == str(Fault("f.toml", 3, "a.b", "no"))
    assert "f.toml: file: no" == str(Fault("f.toml", 0, "file", "no"))


@pytest.mark.parametrize(
    ("place", "expected"),
    [((), "file"), (("a",), "a"), (("a", "b c", 0, "d"), "a.b c[1].d"), (("a", 1, 2), "a[2][3]")],
)
def test_places_are_named_as_people_count(place: Place, expected: str) -> None:
    """The first of a list is 1."""
    assert expected == dotted(place)


def test_a_near_name_is_suggested_and_a_far_one_is_not() -> None:
    """A suggestion helps only when it is likely."""
    assert ", did you mean 'workers'?" == did_you_mean("workrs", ["listen", "workers"])
    assert "" == did_you_mean("zzz", ["listen", "workers"])


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (("inner",), {"inner": {"cuont": 1}}),
        (("from", "x"), {"from": {"x": {"cuont": 1}}}),
        (("listed", 0), {"listed": [{"cuont": 1}]}),
    ],
)
def test_suggestions_come_from_the_right_table(place: Place, expected: dict[str, Any]) -> None:
    """In a plain table, under a name of the operator's own, and in a list."""
    assert {(*place, "cuont"): "unknown setting, did you mean 'count'?"} == explained(expected)


def test_at_the_top_the_names_of_the_file_are_suggested() -> None:
    """Not the names that the program uses inside."""
    assert {("fron",): "unknown setting, did you mean 'from'?"} == explained({"fron": {}})


def test_a_union_is_said_once_at_its_value() -> None:
    """The checker reports each member of a union; an operator wants one sentence."""
    assert {("inner", "since"): "expected a whole number, found 'x'"} == explained({"inner": {"since": "x"}})


def test_a_value_from_a_variable_is_named() -> None:
    """The words that were given stand in its place."""
    raw = {"inner": {"count": "hunter2"}}
    assert {("inner", "count"): "expected a whole number, found the value of N"} == explained(
        raw, {("inner", "count"): "the value of N"}
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, "3"),
        (Decimal("1.50"), "1.50"),
        (True, "true"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(7, 30), "07:30:00"),
        ("text", "'text'"),
        ([1], "a list"),
        ({"a": 1}, "a table"),
        ("word " * 30, "'" + "word " * 11 + "word…"),
    ],
)
def test_values_are_shown_short(value: object, expected: str) -> None:
    """As they were written, as far as that is short."""
    assert expected == shown(value, ("a",))


@given(
    st.one_of(
        st.from_regex(r"(sk|pk|rk|whsec)[-_][a-zA-Z0-9]{8,80}", fullmatch=True),
        st.from_regex(r"[A-Za-z0-9+/]{32,88}", fullmatch=True),
        st.from_regex(r"postgresql://[a-z]{1,8}:[a-z]{4,12}@[a-z]{1,8}/[a-z]{1,8}", fullmatch=True),
    )
)
@settings(deadline=None, print_blob=True)
def test_what_looks_like_a_secret_is_not_shown(secret: str) -> None:
    """Wherever it was put by mistake."""
    assert f"a text of {len(secret)} characters" == shown(secret, ("server", "listen"))


@pytest.mark.parametrize("name", ["secret_key", "api_key", "keys", "webhook_secret", "database", "redis", "password"])
def test_what_stands_in_a_secret_place_is_not_shown(name: str) -> None:
    """Also inside a list there."""
    for place in (("a", name), ("a", name, 0)):
        assert "a value that is not shown here" == shown("abc", place)
