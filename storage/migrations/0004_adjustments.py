"""Finding the adjustments of a call: a receipt shows them, and a correction must know those before it.

Few entries are adjustments, so their index is small and costs a settlement nothing.
"""

from __future__ import annotations

from typing import Any

LOSES: dict[str, str] = {}
"""An index holds nothing of its own."""


def up(_migrator: Any, db: Any) -> None:
    """Add the index."""
    db.execute_sql("CREATE INDEX entry_adjustment ON entry (reference) WHERE kind = 'adjustment'")


def down(_migrator: Any, db: Any) -> None:
    """Drop the index."""
    db.execute_sql("DROP INDEX entry_adjustment")
