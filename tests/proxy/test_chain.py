"""Where a further middleware stands, what is said of an order that cannot be, and which facts are decided where."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middlewares.call import WRITERS
from middlewares.extending import Extension
from proxy.chain import AFTERWARDS, CHAIN, MIDDLEWARES, arranged, check_order, misplaced


def with_one(name: str, place: int) -> tuple[str, ...]:
    """The order in which a further middleware stands before the ``place``-th of ours."""
    return (*MIDDLEWARES[:place], name, *MIDDLEWARES[place:])


def sentences(name: str, place: int, extension: Extension) -> list[str]:
    """What is said of a middleware at a place."""
    return list(misplaced(with_one(name, place), name, extension))


def test_a_further_middleware_stands_right_before_the_next_that_is_written() -> None:
    """Ours keep their order, those that operators do not write included."""
    assert CHAIN == arranged(MIDDLEWARES)
    order = ("a", "auth", "b", "rate_limit", "c", "d", "byok", "budget", "routing", "metering", "headers", "e")
    assert (
        *("errors", "correlate", "overload", "observe", "a", "auth", "b", "rate_limit", "body", "idempotency"),
        *("token_limit", "c", "d", "byok", "budget", "routing", "metering", "headers", "e"),
    ) == arranged(order)


@st.composite
def orders(draw: st.DrawFn) -> tuple[str, ...]:
    """Ours in their order, with others between them."""
    others = draw(st.lists(st.sampled_from("abcdefgh"), unique=True))
    order = list(MIDDLEWARES)
    for other in others:
        order.insert(draw(st.integers(0, len(order))), other)
    return tuple(order)


@given(orders())
def test_nothing_is_lost_and_nothing_changes_places(order: tuple[str, ...]) -> None:
    """Whatever an operator writes: the whole chain is there, once and in order, and what was written in its order."""
    whole = arranged(order)

    assert CHAIN == tuple(name for name in whole if name in CHAIN)
    assert order == tuple(name for name in whole if name in order)
    assert len(set(CHAIN) | set(order)) == len(whole)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (("auth", "budgt"), "found 'budgt', did you mean 'budget'? Installed packages add audit_sink, forbid."),
        ((*MIDDLEWARES, "forbit"), "found 'forbit', did you mean 'forbid'? Installed"),
        ((*MIDDLEWARES, "xyz"), "found 'xyz'. Installed"),
        ((*MIDDLEWARES, "forbid", "forbid"), "expected every middleware once"),
        (("forbid", *MIDDLEWARES[1:]), "but auth is missing"),
        (("forbid", *MIDDLEWARES[1::-1], *MIDDLEWARES[2:]), "expected 'auth' before 'rate_limit': the order is auth, "),
    ],
)
def test_what_is_said_of_an_order_that_cannot_be(order: tuple[str, ...], expected: str) -> None:
    """What was expected, what was found, and what there is."""
    with pytest.raises(ValueError, match=re.escape(expected)):
        check_order(order, ("audit_sink", "forbid"))


def test_where_nothing_is_installed_that_is_said() -> None:
    """And what packages add may be left out."""
    with pytest.raises(ValueError, match=r"found 'forbid'\. Installed packages add none\.$"):
        check_order((*MIDDLEWARES, "forbid"), ())
    check_order(MIDDLEWARES, ("forbid",))


def test_what_a_middleware_needs_must_be_decided_before_it() -> None:
    """The sentence names the place to go to, in the names that an operator writes."""
    body, offer = Extension(lambda: None, ("request",)), Extension(lambda: None, ("offer", "account_id"))  # type: ignore[arg-type, return-value]

    behind = "expected 'x' behind 'rate_limit': it needs request, which is not decided before"
    assert [[behind], [behind], []] == [sentences("x", place, body) for place in (0, 1, 2)]
    assert [
        "expected 'x' behind 'routing': it needs offer, which is not decided before",
        "expected 'x' behind 'auth': it needs account_id, which is not decided before",
    ] == sentences("x", 0, offer)
    assert [] == sentences("x", 5, offer)


def test_what_is_decided_on_the_way_back_is_read_outside() -> None:
    """Before the call nobody knows it, and further in it is too late."""
    eager, patient = Extension(lambda: None, ("cost",)), Extension(lambda: None, (), ("cost", "mode"))  # type: ignore[arg-type, return-value]

    assert ["expected 'x' to read cost afterwards: before the call is made nobody knows it"] == sentences("x", 7, eager)
    assert [] == sentences("x", 3, patient)
    assert ["expected 'x' before 'budget', which decides cost when 'x' is over"] == sentences("x", 4, patient)


def test_what_is_no_fact() -> None:
    """It is named, with what is near."""
    wrong = Extension(lambda: None, ("reqest",))  # type: ignore[arg-type, return-value]

    assert [
        "expected 'x' to need facts of a call (middlewares/call.py lists them), found 'reqest', did you mean 'request'?"
    ] == sentences("x", 7, wrong)


def places_of(fact: str) -> Iterator[int]:
    """The places at which a middleware may need a fact."""
    for place in range(len(MIDDLEWARES) + 1):
        if not sentences("x", place, Extension(lambda: None, (fact,))):  # type: ignore[arg-type, return-value]
            yield place


@pytest.mark.parametrize("fact", sorted(set(WRITERS) - set(AFTERWARDS)))
def test_a_fact_is_needed_behind_whoever_decides_it(fact: str) -> None:
    """From some place on and everywhere further in; all of its deciders stand before the first of those places."""
    places = list(places_of(fact))

    assert list(range(places[0], len(MIDDLEWARES) + 1)) == places
    before = arranged(with_one("x", places[0])).index("x")
    deciders = [CHAIN.index(writer) for writer in WRITERS[fact] if writer in CHAIN]
    assert all(decider < before for decider in deciders)
    if places[0]:
        earlier = arranged(with_one("x", places[0] - 1)).index("x")
        assert any(decider >= earlier for decider in deciders)


def test_what_is_known_afterwards_is_a_fact_and_its_decider_a_middleware() -> None:
    """The table does not age."""
    assert set() == set(AFTERWARDS) - set(WRITERS)
    assert {"", "routing", "metering", "budget"} == set(AFTERWARDS.values())
