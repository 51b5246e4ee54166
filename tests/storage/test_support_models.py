"""The tables of tickets and announcements are among all tables, which a test compares with what migrations make."""

from __future__ import annotations

from storage.models import TABLES
from storage.support_models import SUPPORT_TABLES


def test_they_are_among_all_tables() -> None:
    """Each once."""
    names = [table._meta.table_name for table in TABLES]

    assert {"ticket", "ticket_answer", "announcement", "promotion_lapse", "last_audit"} == {
        table._meta.table_name for table in SUPPORT_TABLES
    }
    assert len(names) == len(set(names))
    assert set(SUPPORT_TABLES) <= set(TABLES)
