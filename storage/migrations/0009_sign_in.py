"""Signing in by a link that was mailed, sessions, and the mails that wait to be sent."""

from __future__ import annotations

from typing import Any

from peewee import BigIntegerField, IntegerField, Model, TextField

from storage.declarations import table_options


class SignInLink(Model):
    hash = TextField(primary_key=True)
    email = TextField(index=True)
    created = BigIntegerField()
    expires = BigIntegerField(index=True)
    used = BigIntegerField(null=True)

    class Meta:
        table_name = "sign_in_link"


class SignInAddress(Model):
    email = TextField(primary_key=True)
    since = BigIntegerField(index=True)
    asked = IntegerField()

    class Meta:
        table_name = "sign_in_address"


class Session(Model):
    id = TextField(primary_key=True)
    hash = TextField(unique=True)
    account_id = TextField(index=True)
    way = TextField()
    created = BigIntegerField()
    expires = BigIntegerField(index=True)
    ended = BigIntegerField(null=True)

    class Meta:
        table_name = "session"


class Mail(Model):
    id = TextField(primary_key=True)
    kind = TextField()
    recipient = TextField()
    facts = TextField()
    state = TextField()
    attempts = IntegerField()
    created = BigIntegerField()
    due = BigIntegerField()
    finished = BigIntegerField(null=True)

    class Meta:
        table_name = "mail"
        indexes = ((("state", "due"), False), (("created",), False))


LOSES = {"sign_in_link": "", "sign_in_address": "", "session": "", "mail": "", "account": "deactivated_by IS NOT NULL"}
"""What taking this back would lose: tables, and which of their rows count."""


def up(_migrator: Any, db: Any) -> None:
    """Create the tables, and the column that tells whose deactivation a sign-in may undo."""
    tables = (SignInLink, SignInAddress, Session, Mail)
    with db.bind_ctx(tables):
        for table in tables:
            for option, value in table_options(db).items():
                setattr(table._meta, option, value)
            table.create_table()
    db.execute_sql("ALTER TABLE account ADD COLUMN deactivated_by TEXT")
    db.execute_sql("CREATE INDEX notice_unsent ON notice (due) WHERE sent IS NULL")


def down(_migrator: Any, db: Any) -> None:
    """Drop the index, the column and the tables."""
    db.execute_sql("DROP INDEX notice_unsent")
    db.execute_sql("ALTER TABLE account DROP COLUMN deactivated_by")
    for table in ("mail", "session", "sign_in_address", "sign_in_link"):
        db.execute_sql(f"DROP TABLE {table}")
