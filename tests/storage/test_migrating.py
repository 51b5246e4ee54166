"""Migrations are applied once, in order, whole or not at all, however many processes begin at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from storage.database import StorageUnavailable, open_database
from storage.lots import read_moves
from storage.migrating import FOLDER, migrate, pending

CHANGES = sorted(path.stem for path in FOLDER.glob("[0-9]*.py"))
SLOW = """
import time

def up(migrator, db):
    time.sleep(0.3)
    db.execute_sql("CREATE TABLE once (number INTEGER)")
"""
COUNT = """
def up(migrator, db):
    db.execute_sql("INSERT INTO once (number) VALUES (1)")
"""
BROKEN = """
def up(migrator, db):
    db.execute_sql("INSERT INTO once (number) VALUES (2)")
    db.execute_sql("INSERT INTO no_such_table (number) VALUES (2)")
"""
PROCESS = """
import sys
from pathlib import Path
from storage.database import open_database
from storage.migrating import migrate
print(*migrate(open_database(sys.argv[1]), Path(sys.argv[2])))
"""


def test_the_schema_is_made_once(database_url: str) -> None:
    """What is pending is told beforehand, applied in order, and then nothing is pending."""
    database = open_database(database_url)

    assert "0001_initial" == CHANGES[0]
    assert CHANGES == pending(database)
    assert CHANGES == migrate(database)
    assert ([], []) == (pending(database), migrate(database))


def test_processes_that_begin_at_once_wait_for_each_other(database_url: str, tmp_path: Path) -> None:
    """Three at once: all succeed, and every change was made once."""
    folder = tmp_path / "changes"
    folder.mkdir()
    (folder / "0001_slow.py").write_text(SLOW)
    (folder / "0002_count.py").write_text(COUNT)

    started = [
        subprocess.Popen([sys.executable, "-c", PROCESS, database_url, folder], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    printed = sorted(process.communicate()[0].strip() for process in started)

    assert [0, 0, 0] == [process.returncode for process in started]
    assert ["", "", "0001_slow 0002_count"] == printed
    with open_database(database_url).session() as connection:
        assert [(1,)] == connection.execute("SELECT number FROM once").fetchall()


def test_a_migration_that_fails_is_undone_whole(database_url: str, tmp_path: Path) -> None:
    """Those before it stay, its own part is gone, and it is still pending."""
    (tmp_path / "0001_slow.py").write_text(SLOW.replace("0.3", "0"))
    (tmp_path / "0002_broken.py").write_text(BROKEN)
    database = open_database(database_url)

    with pytest.raises(Exception, match="no_such_table"):
        migrate(database, tmp_path)

    assert ["0002_broken"] == pending(database, tmp_path)
    with database.session() as connection:
        assert [] == connection.execute("SELECT number FROM once").fetchall()


def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    """As everywhere else."""
    with pytest.raises(StorageUnavailable):
        migrate(open_database(f"sqlite:///{tmp_path}/missing/file.db"))


def test_lots_of_before_are_told_as_they_were(database_url: str, tmp_path: Path) -> None:
    """What was spent before a promotion is known from entries that were written before balances were kept beside them."""
    for name in CHANGES[: CHANGES.index("0005_balances")]:
        shutil.copy(FOLDER / f"{name}.py", tmp_path)
    database = open_database(database_url)
    migrate(database, tmp_path)
    entries = (
        ("gift:1", "promotion", "customer:acct_1", 100, "promotion", 1),
        ("req_1:usage", "customer:acct_1", "revenue:usage", 30, "usage", 2),
        ("gift:2", "promotion", "customer:acct_1", 50, "promotion", 2),
        ("req_2:fee", "customer:acct_1", "revenue:fee", 5, "fee", 3),
        ("expiry:1", "customer:acct_1", "expired", 60, "expiry", 3),
        ("gift:3", "promotion", "customer:acct_2", 7, "promotion", 3),
    )
    with database.session() as connection:
        for *entry, created in entries:
            connection.execute(
                """INSERT INTO entry (id, debit, credit, amount, kind, reference, reason, created)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
                (*entry, entry[0], "", created),
            )

    assert CHANGES[CHANGES.index("0005_balances") :] == migrate(database)

    with database.session() as connection:
        kept = connection.execute("SELECT entry_id, balance FROM entry_balance ORDER BY entry_id").fetchall()
        moves = read_moves(connection, "acct_1", 55)
    assert [("expiry:1", 120), ("gift:1", 0), ("gift:2", 100), ("gift:3", 0)] == kept
    assert [100, 50, -30, -60, -5] == [move.amount for move in moves]
