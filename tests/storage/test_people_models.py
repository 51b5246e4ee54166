"""The tables of people belong to the description of all tables, which test_models.py compares with the migrations."""

from __future__ import annotations

from storage.models import TABLES
from storage.people_models import PEOPLE_TABLES


def test_they_are_part_of_the_whole() -> None:
    """Each of them, once."""
    assert len(set(TABLES)) == len(TABLES)
    assert set(PEOPLE_TABLES) <= set(TABLES)
