"""What a receipt needs to be computed again, and what a hold must remember so that a dead process's call has its row.

Rows written before get what can be said of them: of their hold and of the rule behind their price nothing is known.
"""

from __future__ import annotations

from typing import Any

from storage.declarations import column_kinds

COLUMNS = (
    ("call", "cache_write_tokens", "{integer} NOT NULL DEFAULT 0"),
    ("call", "held", "{integer} NOT NULL DEFAULT 0"),
    ("call", "price_rule", "TEXT"),
    ("call", "fee_percent", "TEXT"),
    ("hold", "key_id", "TEXT NOT NULL DEFAULT ''"),
    ("hold", "path", "TEXT NOT NULL DEFAULT ''"),
    ("hold", "requested_model", "TEXT NOT NULL DEFAULT ''"),
    ("hold", "payer", "TEXT NOT NULL DEFAULT 'credits'"),
    ("hold", "streamed", "{boolean} NOT NULL DEFAULT FALSE"),
)


LOSES = {"call": ""}
"""What taking this back would lose: tables, and which of their rows count. Their receipts could not be computed again."""


def up(_migrator: Any, db: Any) -> None:
    """Add the columns, with defaults, so that a release that does not know them goes on working."""
    kinds = column_kinds(db)
    for table, name, kind in COLUMNS:
        db.execute_sql(f"ALTER TABLE {table} ADD COLUMN {name} {kind.format(**kinds)}")


def down(_migrator: Any, db: Any) -> None:
    """Drop the columns."""
    for table, name, _ in reversed(COLUMNS):
        db.execute_sql(f"ALTER TABLE {table} DROP COLUMN {name}")
