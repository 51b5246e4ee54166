"""What commands open, and what they refuse to open."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.command_line import CommandFailed, Options
from proxy.opening import account_of, migrates_by_itself, session
from storage.accounts import create_account


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own, where the default settings keep their SQLite file."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_schema_is_brought_up_to_date_unasked_only_where_nobody_else_can_be_serving() -> None:
    """SQLite and an empty database; another one is left to the operator."""
    assert migrates_by_itself("sqlite:///x.db", ["0002_more"])
    assert migrates_by_itself("postgresql://host/name", ["0001_initial", "0002_more"])
    assert not migrates_by_itself("postgresql://host/name", ["0002_more"])


def test_a_session_commits_and_an_account_is_found_in_any_spelling() -> None:
    """What one session wrote another finds."""
    with session(Options()) as connection:
        created = create_account(connection, "ada@example.com")

    with session(Options(), snapshot=True) as connection:
        assert created == account_of(connection, " Ada@Example.com ")


def test_an_unknown_address_is_one_sentence() -> None:
    """And not an error of ours."""
    with session(Options()) as connection, pytest.raises(CommandFailed, match="no account for eve"):
        account_of(connection, "eve@example.com")
