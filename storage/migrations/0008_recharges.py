"""Recharges by Stripe: what was asked for, what Stripe has told about each payment, and which events it sent."""

from __future__ import annotations

from typing import Any

from peewee import BigIntegerField, BooleanField, Check, Model, TextField

from storage.declarations import table_options


class Recharge(Model):
    id = TextField(primary_key=True)
    account_id = TextField()
    amount = BigIntegerField(constraints=[Check("amount > 0")])
    asked_cents = BigIntegerField(constraints=[Check("asked_cents > 0")])
    status = TextField()
    session_id = TextField(null=True, unique=True)
    payment_intent = TextField(null=True, unique=True)
    paid_cents = BigIntegerField()
    credited = BigIntegerField()
    refunded = BigIntegerField()
    refund_entries = BigIntegerField()
    difference = TextField()
    created = BigIntegerField()
    paid = BigIntegerField(null=True)
    checked = BigIntegerField()

    class Meta:
        table_name = "recharge"
        indexes = ((("account_id", "created", "id"), False), (("status", "checked"), False))


class Payment(Model):
    payment_intent = TextField(primary_key=True)
    refunded_cents = BigIntegerField()

    class Meta:
        table_name = "payment"


class Refund(Model):
    id = TextField(primary_key=True)
    payment_intent = TextField(index=True)
    stripe_id = TextField(null=True, unique=True)
    cents = BigIntegerField(constraints=[Check("cents > 0")])
    status = TextField(index=True)
    asked_by = TextField()
    created = BigIntegerField()
    finished = BigIntegerField(null=True)

    class Meta:
        table_name = "refund"


class Dispute(Model):
    id = TextField(primary_key=True)
    payment_intent = TextField(index=True)
    cents = BigIntegerField()
    opened = BooleanField()
    returned = BooleanField()
    lost = BooleanField()
    taken = BigIntegerField(null=True)
    given_back = BigIntegerField(null=True)
    created = BigIntegerField()

    class Meta:
        table_name = "dispute"


class StripeEvent(Model):
    id = TextField(primary_key=True)
    type = TextField()
    subject = TextField()
    outcome = TextField(index=True)
    received = BigIntegerField()

    class Meta:
        table_name = "stripe_event"


LOSES = {"recharge": "", "payment": "", "refund": "", "dispute": "", "stripe_event": ""}
"""What taking this back would lose: tables, and which of their rows count."""


def up(_migrator: Any, db: Any) -> None:
    """Create the tables."""
    tables = (Recharge, Payment, Refund, Dispute, StripeEvent)
    with db.bind_ctx(tables):
        for table in tables:
            for option, value in table_options(db).items():
                setattr(table._meta, option, value)
            table.create_table()


def down(_migrator: Any, db: Any) -> None:
    """Drop the tables."""
    for table in reversed(list(LOSES)):
        db.execute_sql(f"DROP TABLE {table}")
