"""Bringing the schema up to date: each change of storage/migrations/ once, in order, by whoever comes first; or back.

A migration file defines `up(migrator, db)` and runs in a transaction of its own. A change must leave the code of the
release before it working, because several processes are never replaced at the same moment. All but the first define
`down(migrator, db)`, too, and in `LOSES` whose rows would be gone then: a table, and which of its rows count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playhouse.migrations import MigrationError, Runner

from storage.database import Database

FOLDER = Path(__file__).with_name("migrations")


class UnknownMigration(Exception):
    """There is no migration of this name. Carries those that there are."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"there is no migration {name!r}")
        self.known = known


class NoWayBack(Exception):
    """A migration on the way cannot be taken back: the first one, or one that another release has made."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Rows that taking a migration back would lose."""

    migration: str
    table: str
    rows: int


class RowsWouldBeLost(Exception):
    """Nothing was changed, because something would have been lost."""

    def __init__(self, losses: Sequence[Loss]) -> None:
        super().__init__(", ".join(f"{loss.rows} of {loss.table} ({loss.migration})" for loss in losses))
        self.losses = losses


@dataclass(frozen=True, slots=True)
class Moved:
    """What was done to the schema, in order."""

    applied: list[str]
    reverted: list[str]


def migrate(database: Database, folder: Path = FOLDER) -> list[str]:
    """Apply what is pending and return the names applied; other processes that migrate now are waited for.

    Raises StorageUnavailable when the database cannot be opened. A migration that fails is undone whole, and the error
    of the database passes as it is.
    """
    with database.schema(exclusive=True) as connected:
        return list(_runner(connected, folder).up())


def migrate_to(database: Database, name: str, folder: Path = FOLDER, *, lose: bool = False) -> Moved:
    """Apply what is pending up to the migration ``name``, or take back everything that came after it.

    Raises UnknownMigration and NoWayBack; and RowsWouldBeLost, unless they may be lost. Then nothing was done.
    """
    with database.schema(exclusive=True) as connected:
        runner = _runner(connected, folder)
        steps = runner.status()
        known = [step.name for step in steps if step.path is not None]
        if name not in known:
            raise UnknownMigration(name, known)
        later = [step for step in steps[[step.name for step in steps].index(name) + 1 :] if step.applied is not None]
        if not later:
            return Moved(list(runner.up(name)), [])
        for step in later:
            if step.path is None:
                raise NoWayBack(f"{step.name} was made by another release, which alone can take it back")
        if not lose and (losses := [loss for step in reversed(later) for loss in _losses(connected, step)]):
            raise RowsWouldBeLost(losses)
        try:
            return Moved([], list(runner.down(later[0].name)))
        except MigrationError as error:
            raise NoWayBack(str(error)) from None


def pending(database: Database, folder: Path = FOLDER) -> list[str]:
    """The names of the migrations not applied yet, in order. Raises StorageUnavailable."""
    with database.schema(exclusive=False) as connected:
        return [step.name for step in _runner(connected, folder).status() if step.applied is None]


def _losses(connected: Any, step: Any) -> list[Loss]:
    """What taking one migration back would lose now."""
    losses = []
    for table, which in getattr(step.load(), "LOSES", {}).items():
        condition = f" WHERE {which}" if which else ""
        rows = connected.execute_sql(f"SELECT COUNT(*) FROM {table}{condition}").fetchone()[0]  # noqa: S608 - our own names
        if rows:
            losses.append(Loss(step.name, table, rows))
    return losses


def _runner(connected: Any, folder: Path) -> Any:
    return Runner(connected, directory=str(folder))  # type: ignore[no-untyped-call]
