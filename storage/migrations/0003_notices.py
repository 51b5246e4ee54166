"""What expiry needs: the warnings that accounts are given, and a quick way to what left an account other than by calls."""

from __future__ import annotations

from typing import Any

from peewee import BigIntegerField, CompositeKey, Model, TextField

from storage.declarations import table_options


class Notice(Model):
    account_id = TextField()
    kind = TextField()
    expires_on = TextField()
    due = BigIntegerField()
    recorded = BigIntegerField()
    sent = BigIntegerField(null=True)

    class Meta:
        table_name = "notice"
        primary_key = CompositeKey("account_id", "kind", "expires_on")


LOSES = {"notice": ""}
"""What taking this back would lose: tables, and which of their rows count."""


def up(_migrator: Any, db: Any) -> None:
    """Create the table and the index; a call's entries are not in it, so calls cost nothing more."""
    with db.bind_ctx([Notice]):
        for option, value in table_options(db).items():
            setattr(Notice._meta, option, value)
        Notice.create_table()
    db.execute_sql("CREATE INDEX entry_correction ON entry (debit, created) WHERE substr(credit, 1, 8) <> 'revenue:'")


def down(_migrator: Any, db: Any) -> None:
    """Drop both."""
    db.execute_sql("DROP INDEX entry_correction")
    db.execute_sql("DROP TABLE notice")
