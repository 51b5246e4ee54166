"""An operator is whom the settings name at this moment, and only for hours after signing in."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from console.operators import SESSION_HOURS, Operators
from storage.identifiers import now_microseconds


@dataclass(frozen=True)
class Somebody:
    """Somebody who is signed in."""

    email: str
    created: int = 0
    account_id: str = "acct_1"


def test_whom_the_settings_name() -> None:
    """In any spelling, from one moment to the next; nobody by a part of an address."""
    named = ["Grace@Example.com"]
    operators = Operators(lambda: tuple(named))

    found = [operators.include(Somebody(email)) for email in ("grace@example.com", "race@example.com", "")]
    named.clear()

    assert [True, False, False] == found
    assert not operators.exist
    assert not operators.include(Somebody("grace@example.com"))


@pytest.mark.parametrize(("minutes", "young"), [(0, True), (SESSION_HOURS * 60 - 1, True), (SESSION_HOURS * 60, False)])
def test_lately(minutes: int, young: bool) -> None:
    """Less than twelve hours ago."""
    created = now_microseconds() - minutes * 60_000_000

    assert young == Operators(lambda: ()).signed_in_lately(Somebody("grace@example.com", created))
