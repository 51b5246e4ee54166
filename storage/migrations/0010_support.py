"""What people need of an operator: support tickets with their answers, and announcements."""

from __future__ import annotations

from typing import Any

from peewee import BigIntegerField, CompositeKey, IntegerField, Model, TextField

from storage.declarations import table_options


class Ticket(Model):
    id = TextField(primary_key=True)
    account_id = TextField()
    subject = TextField()
    message = TextField()
    request_id = TextField(null=True)
    facts = TextField(null=True)
    status = TextField()
    created = BigIntegerField()
    changed = BigIntegerField()

    class Meta:
        table_name = "ticket"
        indexes = ((("account_id", "created", "id"), False), (("status", "created", "id"), False))


class TicketAnswer(Model):
    ticket_id = TextField()
    number = IntegerField()
    text = TextField()
    created = BigIntegerField()

    class Meta:
        table_name = "ticket_answer"
        primary_key = CompositeKey("ticket_id", "number")


class Announcement(Model):
    id = TextField(primary_key=True)
    severity = TextField()
    title = TextField()
    text = TextField()
    starts = BigIntegerField()
    ends = BigIntegerField(null=True)
    created = BigIntegerField()
    withdrawn = BigIntegerField(null=True)

    class Meta:
        table_name = "announcement"
        indexes = ((("starts", "id"), False),)


LOSES = {"ticket": "", "ticket_answer": "", "announcement": ""}
"""What taking this back would lose: tables, and which of their rows count."""


def up(_migrator: Any, db: Any) -> None:
    """Create the tables."""
    tables = (Ticket, TicketAnswer, Announcement)
    with db.bind_ctx(tables):
        for table in tables:
            for option, value in table_options(db).items():
                setattr(table._meta, option, value)
            table.create_table()


def down(_migrator: Any, db: Any) -> None:
    """Drop the tables."""
    for table in reversed(list(LOSES)):
        db.execute_sql(f"DROP TABLE {table}")
