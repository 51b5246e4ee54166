"""`find-token tickets`: what waits, one of them, an answer, its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.cli import main
from storage.accounts import create_account
from storage.database import open_database
from storage.migrating import migrate
from storage.tickets import Ticket, open_ticket

NOW = 1_790_000_000_000_000


@pytest.fixture
def config(tmp_path: Path, database_url: str) -> str:
    """Settings of a database with two tickets, on each kind."""
    database = open_database(database_url)
    migrate(database)
    with database.session() as connection:
        for number, name in enumerate(("ada", "bob")):
            account = create_account(connection, f"{name}@example.com").id
            opened = open_ticket(connection, account, f"{name} asks", "what happened?", "req_1", NOW + number)
            assert isinstance(opened, Ticket)
    path = tmp_path / "find-token.toml"
    path.write_text(f'[storage]\ndatabase = "{database_url}"\n')
    return str(path)


def run(config: str, *arguments: str, **more: Any) -> Result:
    """What a command did."""
    return CliRunner().invoke(main, ["--config", config, "tickets", *arguments], **more)


def asked(config: str, *arguments: str) -> Any:
    """What a command tells programs."""
    result = run(config, *arguments, "--json")
    assert 0 == result.exit_code, result.output
    return json.loads(result.output)


def test_from_the_list_to_the_end(config: str) -> None:
    """A ticket is found, shown with its owner, answered from standard input, and closed."""
    first = asked(config, "list", "--limit", "1")
    second = asked(config, "list", "--limit", "1", "--cursor", first["next_cursor"])
    ticket_id = second["data"][0]["id"]

    shown = asked(config, "show", ticket_id)
    answered = run(config, "answer", ticket_id, "-", input="It was\nus.\n")
    as_text = run(config, "show", ticket_id).output
    closed = asked(config, "close", ticket_id)

    assert ["bob asks", "ada asks"] == [page["data"][0]["subject"] for page in (first, second)]
    assert ("ada@example.com", "open") == (shown["email"], shown["status"])
    assert 0 == answered.exit_code, answered.output
    assert all(part in as_text for part in ("ada@example.com", "what happened?", "It was\nus."))
    assert ("closed", ["It was\nus."]) == (closed["status"], [one["text"] for one in closed["answers"]])
    assert [ticket_id] == [one["id"] for one in asked(config, "list", "--status", "closed")["data"]]
    assert ["bob asks"] == [one["subject"] for one in asked(config, "list", "--account", "bob@example.com")["data"]]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("show", "ticket_none"), 1),
        (("close", "ticket_none"), 1),
        (("answer", "ticket_none", "hello"), 1),
        (("list", "--cursor", "x"), 1),
        (("list", "--account", "nobody@example.com"), 1),
        (("answer", "ticket_none", " "), 2),
    ],
)
def test_what_cannot_be_done_is_said(config: str, arguments: tuple[str, ...], code: int) -> None:
    """In one sentence."""
    result = run(config, *arguments)

    assert code == result.exit_code
    assert "Traceback" not in result.output
