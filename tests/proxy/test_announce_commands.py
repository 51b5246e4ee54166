"""`find-token announce`: publish, list, withdraw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.cli import main


@pytest.fixture
def config(tmp_path: Path) -> str:
    """Settings of a database that is not there yet."""
    path = tmp_path / "find-token.toml"
    path.write_text('[storage]\ndatabase = "sqlite:///books.db"\n')
    return str(path)


def run(config: str, *arguments: str) -> Result:
    """What a command did."""
    return CliRunner().invoke(main, ["--config", config, "announce", *arguments])


def asked(config: str, *arguments: str) -> Any:
    """What a command tells programs."""
    result = run(config, *arguments, "--json")
    assert 0 == result.exit_code, result.output
    return json.loads(result.output)


def test_from_publishing_to_withdrawing(config: str) -> None:
    """With its instants in UTC, wherever they were meant; the list has everything."""
    now = asked(config, "publish", "Now", "--text", "at once")
    later = asked(
        config,
        *("publish", "Later", "--severity", "maintenance"),
        *("--from", "2100-01-01T02:00+02:00", "--until", "2100-01-02"),
    )
    gone = asked(config, "withdraw", now["id"])
    first = asked(config, "list", "--limit", "1")
    second = asked(config, "list", "--limit", "1", "--cursor", first["next_cursor"])

    assert ("info", "at once", None, None) == tuple(now[name] for name in ("severity", "text", "until", "withdrawn"))
    assert ("2100-01-01T00:00:00.000000Z", "2100-01-02T00:00:00.000000Z") == (later["from"], later["until"])
    assert gone["withdrawn"] is not None
    assert [later, gone] == [first["data"][0], second["data"][0]]
    assert "withdrawn  Now" in run(config, "list").output


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("publish", " "), 2),
        (("publish", "x" * 201), 2),
        (("publish", "two\nlines"), 2),
        (("publish", "x", "--text", "x" * 5_001), 2),
        (("publish", "x", "--severity", "red"), 2),
        (("publish", "x", "--from", "tomorrow"), 2),
        (("publish", "x", "--until", "2020-01-01"), 2),
        (("publish", "x", "--from", "2100-01-02", "--until", "2100-01-01"), 2),
        (("withdraw", "announcement_none"), 1),
    ],
)
def test_what_cannot_be_meant_is_refused(config: str, arguments: tuple[str, ...], code: int) -> None:
    """And nothing is announced."""
    assert code == run(config, *arguments).exit_code
    assert [] == asked(config, "list")["data"]
