"""Promises of the provider protocol: every dialect keeps it, and what a dialect is asked cannot be changed by it."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from providers.catalogue import DIALECTS
from providers.provider import Ask, Provider

METHODS = [name for name, member in inspect.getmembers(Provider, inspect.isfunction) if not name.startswith("_")]


def test_what_an_ask_holds_by_default() -> None:
    """Nothing forced, no thinking; two asks share nothing that one could change for the other."""
    first, second = (Ask({}, "m", streamed=False, max_tokens=1) for _ in range(2))

    assert ({}, False) == (first.force, first.reasoning)
    assert first.force is not second.force
    assert first == second


def test_an_ask_cannot_be_changed() -> None:
    """A dialect is shared by all calls and gets nothing that it could write to."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Ask({}, "m", streamed=False, max_tokens=1).max_tokens = 2  # type: ignore[misc]


def test_what_a_provider_must_be_able_to_do() -> None:
    """Five things; a sixth is asked of seven dialects at once."""
    assert ["headers", "read_error", "read_hidden_error", "read_wallet", "shape"] == METHODS


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_every_dialect_keeps_the_protocol(name: str) -> None:
    """Under its own name, with the protocol's signatures, without state of its own."""
    dialect: Provider = DIALECTS[name]

    assert name == dialect.dialect
    assert {} == vars(dialect)
    for method in METHODS:
        assert inspect.signature(getattr(Provider, method)) == inspect.signature(getattr(type(dialect), method))
        assert getattr(type(dialect), method).__doc__
