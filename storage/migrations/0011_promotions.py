"""Promotional credits that lapse: when, and how often a part of one was taken back."""

from __future__ import annotations

from typing import Any

from peewee import BigIntegerField, IntegerField, Model, TextField

from storage.declarations import table_options


class PromotionLapse(Model):
    entry_id = TextField(primary_key=True)
    account_id = TextField(index=True)
    due = BigIntegerField()
    parts = IntegerField()
    done = BigIntegerField(null=True)

    class Meta:
        table_name = "promotion_lapse"


LOSES = {"promotion_lapse": ""}
"""What taking this back would lose: tables, and which of their rows count."""


def up(_migrator: Any, db: Any) -> None:
    """Create the table."""
    with db.bind_ctx([PromotionLapse]):
        for option, value in table_options(db).items():
            setattr(PromotionLapse._meta, option, value)
        PromotionLapse.create_table()


def down(_migrator: Any, db: Any) -> None:
    """Drop the table."""
    db.execute_sql("DROP TABLE promotion_lapse")
