"""Migrations are applied once, in order, whole or not at all, however many processes begin at once."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from storage.accounts import create_account
from storage.audit import audit
from storage.database import Database, StorageUnavailable, open_database
from storage.lots import read_moves
from storage.migrating import (
    FOLDER,
    Loss,
    Moved,
    NoWayBack,
    RowsWouldBeLost,
    UnknownMigration,
    migrate,
    migrate_to,
    pending,
)
from storage.postings import post_credit

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


# --- and back ---


SQLITE = (
    "SELECT type, name, tbl_name FROM sqlite_master ORDER BY 1, 2",
    """SELECT master.name, column.name, column.type, column."notnull", column.pk, column.dflt_value
        FROM sqlite_master AS master, pragma_table_info(master.name) AS column WHERE master.type = 'table' ORDER BY 1, cid""",
    """SELECT master.name, "index".name, "index"."unique", "index".partial
        FROM sqlite_master AS master, pragma_index_list(master.name) AS "index" ORDER BY 1, 2""",
)
POSTGRESQL = (
    """SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
        WHERE table_schema = current_schema() ORDER BY 1, ordinal_position""",
    "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = current_schema() ORDER BY 1, 2",
    """SELECT tgrelid::regclass::text, tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
        WHERE NOT tgisinternal AND relnamespace = current_schema()::regnamespace ORDER BY 1, 2""",
    "SELECT proname FROM pg_proc WHERE pronamespace = current_schema()::regnamespace ORDER BY 1",
)


def schema(database: Database, url: str) -> list[object]:
    """Every table with its columns, indexes and triggers, as the database describes them."""
    with database.schema(exclusive=False) as connected:
        questions = SQLITE if url.startswith("sqlite:") else POSTGRESQL
        return [connected.execute_sql(question).fetchall() for question in questions]


def test_every_change_can_be_taken_back(database_url: str) -> None:
    """One by one, to exactly what was there before it; and made again, which changes nothing either."""
    database = open_database(database_url)
    met: dict[str, object] = {}
    for name in CHANGES:
        assert Moved([name], []) == migrate_to(database, name)
        met[name] = schema(database, database_url)

    for name, later in reversed(list(itertools.pairwise(CHANGES))):
        assert Moved([], [later]) == migrate_to(database, name)
        assert met[name] == schema(database, database_url)
    assert Moved([], []) == migrate_to(database, CHANGES[0])
    assert CHANGES[1:] == migrate(database)
    assert met[CHANGES[-1]] == schema(database, database_url)


def optional_columns(database: Database) -> dict[str, dict[str, bool]]:
    """Of every table: its columns, and whether a row may be written without a value for them."""
    with database.schema(exclusive=False) as connected:
        return {
            table: {column.name: column.null or column.default is not None for column in connected.get_columns(table)}
            for table in connected.get_tables()
        }


def test_the_release_before_writes_beside_a_newer_schema(database_url: str) -> None:
    """Nodes are replaced one after another, so no change takes a table or a column away, or wants a value of whoever does not
    know it."""
    database = open_database(database_url)
    migrate_to(database, CHANGES[0])
    before = optional_columns(database)
    assert {"account", "call", "entry", "hold"} <= before.keys()
    for name in CHANGES[1:]:
        migrate_to(database, name)
        now = optional_columns(database)
        assert before.keys() <= now.keys(), name
        for table, columns in before.items():
            added = now[table].keys() - columns.keys()
            assert columns.keys() <= now[table].keys(), (name, table)
            assert all(now[table][column] for column in added), (name, table, added)
        before = now


def test_rows_are_lost_only_where_that_was_said(database_url: str) -> None:
    """Whose, is told beforehand, and nothing has changed then. Entries and balances stay, and the books agree afterwards."""
    database = open_database(database_url)
    migrate(database)
    with database.session() as connection:
        account = create_account(connection, "ada@example.com")
        post_credit(connection, "gift:1", account.id, 500, "promotion", "test", 1)
        connection.execute("UPDATE account SET deactivated_by = 'operator' WHERE id = ?", (account.id,))
        for number in range(2):
            connection.execute(
                "INSERT INTO notice (account_id, kind, expires_on, due, recorded) VALUES (?, ?, ?, ?, ?)",
                (account.id, f"kind {number}", "2027-01-01", 1, 1),
            )

    with pytest.raises(RowsWouldBeLost) as refused:
        migrate_to(database, "0002_receipts")

    assert [Loss("0009_sign_in", "account", 1), Loss("0003_notices", "notice", 2)] == refused.value.losses
    assert [] == pending(database)
    assert Moved([], CHANGES[:1:-1]) == migrate_to(database, "0002_receipts", lose=True)
    assert CHANGES[2:] == migrate(database)
    with database.session() as connection:
        assert [] == audit(connection)
        assert [(500,)] == connection.execute("SELECT balance FROM account").fetchall()
        assert [("gift:1", 0)] == connection.execute("SELECT entry_id, balance FROM entry_balance").fetchall()


def test_what_cannot_be_taken_back(sqlite_database_url: str, tmp_path: Path) -> None:
    """Names that there are not, what another release made, and what has no way back: told, and nothing is changed."""
    database = open_database(sqlite_database_url)
    migrate(database)
    with pytest.raises(UnknownMigration, match="no migration '0008_recharge'"):
        migrate_to(database, "0008_recharge")
    folder = tmp_path / "older"
    shutil.copytree(FOLDER, folder)
    (folder / f"{CHANGES[-1]}.py").unlink()
    with pytest.raises(NoWayBack, match=f"{CHANGES[-1]} was made by another release"):
        migrate_to(database, CHANGES[0], folder, lose=True)
    (folder / f"{CHANGES[-1]}.py").write_text("def up(migrator, db):\n    pass\n")
    with pytest.raises(NoWayBack, match="does not define down"):
        migrate_to(database, CHANGES[0], folder, lose=True)

    assert [] == pending(database)
