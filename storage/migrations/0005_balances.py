"""What an account had before each entry that is no call's, so that its lots are told without summing its calls.

The index over every entry of an account goes: it was written for each call, and only lots and the audit read it.
"""

from __future__ import annotations

from typing import Any

from peewee import BigIntegerField, Model, TextField

from storage.declarations import immutable_table, table_options


class EntryBalance(Model):
    entry_id = TextField(primary_key=True)
    balance = BigIntegerField()

    class Meta:
        table_name = "entry_balance"


# Entries of one instant in this order: what is no call's by id, then calls'.
FILL = """INSERT INTO entry_balance (entry_id, balance)
    SELECT move.id, COALESCE((SELECT SUM(amount) FROM entry WHERE credit = move.customer
            AND (created < move.created OR (created = move.created AND id < move.id))), 0)
        - COALESCE((SELECT SUM(amount) FROM entry WHERE debit = move.customer AND (created < move.created
            OR (created = move.created AND id < move.id AND substr(credit, 1, 8) <> 'revenue:'))), 0)
    FROM (SELECT id, created, credit AS customer FROM entry WHERE substr(credit, 1, 9) = 'customer:'
        UNION ALL SELECT id, created, debit FROM entry
        WHERE substr(debit, 1, 9) = 'customer:' AND substr(credit, 1, 8) <> 'revenue:') AS move"""


LOSES: dict[str, str] = {}
"""Balances are made of the entries, which stay."""


def up(_migrator: Any, db: Any) -> None:
    """Create the table, fill it from the entries, drop the index."""
    with db.bind_ctx([EntryBalance]):
        for option, value in table_options(db).items():
            setattr(EntryBalance._meta, option, value)
        EntryBalance.create_table()
    db.execute_sql(FILL)
    for statement in immutable_table(db, "entry_balance"):
        db.execute_sql(statement)
    db.execute_sql("DROP INDEX entry_debit_created")


def down(_migrator: Any, db: Any) -> None:
    """Drop the table, make the index again."""
    db.execute_sql("DROP TABLE entry_balance")
    if any(statement.startswith("CREATE FUNCTION") for statement in immutable_table(db, "entry_balance")):
        db.execute_sql("DROP FUNCTION entry_balance_is_immutable()")
    db.execute_sql("CREATE INDEX entry_debit_created ON entry (debit, created)")
