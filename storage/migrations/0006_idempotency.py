"""What Idempotency-Key needs: which call a key stands for, and its answer, sealed."""

from __future__ import annotations

from typing import Any

from peewee import BigIntegerField, BlobField, CompositeKey, Model, TextField

from storage.declarations import table_options


class Idempotency(Model):
    account_id = TextField()
    key_hash = TextField()
    fingerprint = TextField()
    request_id = TextField()
    owner = TextField()
    state = TextField()
    created = BigIntegerField()
    size = BigIntegerField()
    sealed = BlobField(null=True)

    class Meta:
        table_name = "idempotency"
        primary_key = CompositeKey("account_id", "key_hash")
        indexes = ((("created",), False),)


LOSES = {"idempotency": ""}
"""What taking this back would lose: tables, and which of their rows count."""


def up(_migrator: Any, db: Any) -> None:
    """Create the table; calls without the header never touch it."""
    with db.bind_ctx([Idempotency]):
        for option, value in table_options(db).items():
            setattr(Idempotency._meta, option, value)
        Idempotency.create_table()


def down(_migrator: Any, db: Any) -> None:
    """Drop the table."""
    db.execute_sql("DROP TABLE idempotency")
