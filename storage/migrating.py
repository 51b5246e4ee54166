"""Bringing the schema up to date: each change of storage/migrations/ once, in order, by whoever comes first.

A migration file defines `up(migrator, db)` and runs in a transaction of its own. A change must leave the code of the
release before it working, because several processes are never replaced at the same moment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playhouse.migrations import Runner

from storage.database import Database

FOLDER = Path(__file__).with_name("migrations")


def migrate(database: Database, folder: Path = FOLDER) -> list[str]:
    """Apply what is pending and return the names applied; other processes that migrate now are waited for.

    Raises StorageUnavailable when the database cannot be opened. A migration that fails is undone whole, and the error
    of the database passes as it is.
    """
    with database.schema(exclusive=True) as connected:
        return list(_runner(connected, folder).up())


def pending(database: Database, folder: Path = FOLDER) -> list[str]:
    """The names of the migrations not applied yet, in order. Raises StorageUnavailable."""
    with database.schema(exclusive=False) as connected:
        return [step.name for step in _runner(connected, folder).status() if step.applied is None]


def _runner(connected: Any, folder: Path) -> Any:
    return Runner(connected, directory=str(folder))  # type: ignore[no-untyped-call]
