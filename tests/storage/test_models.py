"""The description of the tables and the tables that the migrations make are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playhouse.schema_diff import diff_models

from storage.database import open_database
from storage.migrating import migrate
from storage.models import TABLES


def columns(database: Any, table: str) -> list[tuple[str, str, bool, bool]]:
    return [(column.name, column.data_type, column.null, column.primary_key) for column in database.get_columns(table)]


def test_migrations_lead_to_the_models(database_url: str) -> None:
    """No table, column or index is missing on either side."""
    opened = open_database(database_url)
    migrate(opened)

    with opened.schema(exclusive=False) as connected:
        difference = diff_models(connected, list(TABLES))
        tables = set(connected.get_tables())

    assert not difference, str(difference)
    assert {table._meta.table_name for table in TABLES} | {"schema_migration"} == tables


def test_columns_are_of_the_described_kind(tmp_path: Path) -> None:
    """Kind, null and primary key of each column, as in tables made straight from the description."""
    migrated, described = (open_database(f"sqlite:///{tmp_path}/{name}.db") for name in ("migrated", "described"))
    migrate(migrated)
    names = [table._meta.table_name for table in TABLES]

    with migrated.schema(exclusive=False) as left, described.schema(exclusive=False) as right:
        right.bind(TABLES)
        right.create_tables(TABLES)
        assert {name: columns(right, name) for name in names} == {name: columns(left, name) for name in names}
