"""What a key may spend and how much it may ask, and when it was last used.

A key with a spending limit has a counter for each of its windows, and a hold made with it remembers which one it counts in.
The defaults let a release that does not know them go on working; its calls count for no limit.
"""

from __future__ import annotations

from typing import Any

from peewee import BigIntegerField, Check, CompositeKey, Model, TextField

from storage.declarations import column_kinds, table_options

COLUMNS = (
    ("api_key", "tokens_per_minute", "{integer}"),
    ("api_key", "concurrent_requests", "{integer}"),
    ("api_key", "last_used", "{integer}"),
    ("hold", "key_period", "TEXT"),
    ("process", "revision", "{integer} NOT NULL DEFAULT 0"),
)


class KeySpending(Model):
    key_id = TextField()
    period = TextField()
    spent = BigIntegerField(constraints=[Check("spent >= 0")])
    held = BigIntegerField(constraints=[Check("held >= 0")])

    class Meta:
        table_name = "key_spending"
        primary_key = CompositeKey("key_id", "period")


LOSES = {
    "api_key": "tokens_per_minute IS NOT NULL OR concurrent_requests IS NOT NULL OR last_used IS NOT NULL",
    "key_spending": "",
}
"""What taking this back would lose: tables, and which of their rows count."""


def up(_migrator: Any, db: Any) -> None:
    """Add the columns and the table of counters."""
    kinds = column_kinds(db)
    for table, name, kind in COLUMNS:
        db.execute_sql(f"ALTER TABLE {table} ADD COLUMN {name} {kind.format(**kinds)}")
    with db.bind_ctx([KeySpending]):
        for option, value in table_options(db).items():
            setattr(KeySpending._meta, option, value)
        KeySpending.create_table()


def down(_migrator: Any, db: Any) -> None:
    """Drop the table of counters and the columns."""
    db.execute_sql("DROP TABLE key_spending")
    for table, name, _ in reversed(COLUMNS):
        db.execute_sql(f"ALTER TABLE {table} DROP COLUMN {name}")
