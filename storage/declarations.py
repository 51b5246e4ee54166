"""What a migration says differently to SQLite and to PostgreSQL when it declares a table."""

from __future__ import annotations

from typing import Any

import peewee


def immutable_table(database: Any, table: str) -> tuple[str, ...]:
    """Statements that make a table accept rows and never change or delete them, for the kind of a peewee database."""
    if isinstance(database, peewee.SqliteDatabase):
        return tuple(
            f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is never changed'); END"
            for verb in ("UPDATE", "DELETE")
        )
    return (
        f"""CREATE FUNCTION {table}_is_immutable() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION '{table} is never changed'; END $$""",
        f"""CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION {table}_is_immutable()""",
        f"""CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION {table}_is_immutable()""",
    )


def column_kinds(database: Any) -> dict[str, str]:
    """What whole numbers and truth values are called in a column's declaration, for the kind of a peewee database."""
    if isinstance(database, peewee.SqliteDatabase):
        return {"integer": "INTEGER", "boolean": "INTEGER"}  # All that a strict table of SQLite knows.
    return {"integer": "BIGINT", "boolean": "BOOLEAN"}


def table_options(database: Any) -> dict[str, bool]:
    """How tables are declared, as peewee's options, for the kind of a peewee database.

    SQLite is told to refuse a value of another type, as PostgreSQL always does, and to keep rows inside the index of
    their primary key: one tree to write instead of two.
    """
    return {"strict_tables": True, "without_rowid": True} if isinstance(database, peewee.SqliteDatabase) else {}
