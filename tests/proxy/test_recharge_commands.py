"""`find-token recharges`: what an account bought, and what matches nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli import main
from storage.accounts import create_account
from storage.database import open_database
from storage.migrating import migrate
from storage.payments import Event, hear_session
from storage.recharges import find_recharge
from tests.storage.test_payments import opened, paid


@pytest.fixture
def config(tmp_path: Path) -> str:
    """Settings of a database with one paid recharge, and one payment that matches none."""
    database = open_database(f"sqlite:///{tmp_path / 'books.db'}")
    migrate(database)
    with database.session() as connection:
        opened(connection, create_account(connection, "ada@example.com").id)
        hear_session(connection, find_recharge(connection, "recharge_1"), paid(), None, 5)
        hear_session(connection, None, paid("recharge_none", "pi_2"), Event("evt_9", "checkout.session.completed"), 6)
    path = tmp_path / "find-token.toml"
    path.write_text('[storage]\ndatabase = "sqlite:///books.db"\n')
    return str(path)


def run(config: str, *arguments: str) -> tuple[str, list[dict[str, str]]]:
    """What a command prints for people, and the rows it gives programs."""
    text, data = (
        CliRunner().invoke(main, ["--config", config, *more, "recharges", *arguments], catch_exceptions=False)
        for more in ([], ["--json"])
    )
    assert (0, 0) == (text.exit_code, data.exit_code), text.output
    return text.output, json.loads(data.output)["data"]


def test_list(config: str) -> None:
    """With status and credit."""
    text, rows = run(config, "list", "ada@example.com")

    assert "recharge_1" in text
    assert [("recharge_1", "paid", "10")] == [(row["recharge_id"], row["status"], row["credited"]) for row in rows]


def test_unmatched(config: str) -> None:
    """With the session that Stripe told of."""
    text, rows = run(config, "unmatched")

    assert "evt_9" in text
    assert ["cs_1"] == [row["subject"] for row in rows]
