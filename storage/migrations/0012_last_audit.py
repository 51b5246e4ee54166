"""The last audit of the books: when it was, and what it found."""

from __future__ import annotations

from typing import Any

from peewee import BigIntegerField, IntegerField, Model, TextField

from storage.declarations import table_options


class LastAudit(Model):
    id = IntegerField(primary_key=True)
    finished = BigIntegerField()
    disagreements = IntegerField()
    sentence = TextField()

    class Meta:
        table_name = "last_audit"


LOSES: dict[str, str] = {}
"""The next audit writes it again."""


def up(_migrator: Any, db: Any) -> None:
    """Create the table."""
    with db.bind_ctx([LastAudit]):
        for option, value in table_options(db).items():
            setattr(LastAudit._meta, option, value)
        LastAudit.create_table()


def down(_migrator: Any, db: Any) -> None:
    """Drop the table."""
    db.execute_sql("DROP TABLE last_audit")
