"""The commands about keys: a key is judged without a database, and provider keys change their seal without being lost."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.cli import main
from storage.accounts import create_account
from storage.database import open_database
from storage.keys import new_key
from storage.migrating import migrate
from storage.provider_keys import find_sealed, register_provider_key, remove_provider_key
from storage.sealing import SealBroken, Sealer

OLD, NEW, LOST = (base64.b64encode(letter * 32).decode() for letter in (b"o", b"n", b"l"))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own, without settings."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(main, arguments, **options)


def test_a_key_is_judged_by_its_checksum(folder: Path) -> None:
    """As an argument or from standard input, without a database; its own prefix counts; the key is not repeated."""
    key = new_key("sk-ft_")
    wrong = key[:-1] + ("0" if key[-1] != "0" else "1")

    for text, code in ((key, 0), (wrong, 1), (key[:-1], 1), (new_key("sk-or_"), 1), ("", 1)):
        argument = run("key", "check", text, "--json")
        piped = run("key", "check", "--json", input=f"{text}\n")
        assert (code, code) == (argument.exit_code, piped.exit_code), text
        assert {"ok": code == 0} == json.loads(argument.stdout) == json.loads(piped.stdout)
        assert not text or text not in argument.output
    assert [] == list(folder.iterdir())
    (folder / "find-token.toml").write_text('[security]\nkey_prefix = "sk-or_"\n')
    assert 0 == run("key", "check", new_key("sk-or_")).exit_code


def test_provider_keys_are_sealed_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the first key; afterwards the old one is not needed; again there is nothing to do; what is erased stays erased."""
    database = open_database(f"sqlite:///{folder}/find-token.db")
    migrate(database)
    with database.session() as connection:
        account = create_account(connection, "ada@example.com").id
        for number in range(1_200):
            register_provider_key(connection, Sealer(OLD), account, f"p{number}", "x", f"secret-{number}")
        gone = register_provider_key(connection, Sealer(OLD), account, "gone", "x", "secret-gone")
        remove_provider_key(connection, account, gone.provider_key_id)
    monkeypatch.setenv("FIND_TOKEN_SECRET_KEY", f"{NEW},{OLD}")

    first, again = run("rotate-seal", "--json"), run("rotate-seal", "--json")

    assert (0, {"ok": True, "sealed": 1_200, "unreadable": 0}) == (first.exit_code, json.loads(first.stdout))
    assert {"ok": True, "sealed": 0, "unreadable": 0} == json.loads(again.stdout)
    with database.session() as connection:
        for number in (0, 600, 1_199):
            found = find_sealed(connection, (account, f"p{number}"))
            assert found is not None
            row_id = found.record.provider_key_id
            assert f"secret-{number}" == Sealer(NEW).open(found.sealed, account_id=account, row_id=row_id)
            with pytest.raises(SealBroken):
                Sealer(OLD).open(found.sealed, account_id=account, row_id=row_id)
        assert [(b"",)] == connection.execute("SELECT sealed FROM provider_key WHERE provider = 'gone'").fetchall()


def test_what_does_not_open_is_left_and_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the command fails; without a secret key it says what to set."""
    database = open_database(f"sqlite:///{folder}/find-token.db")
    migrate(database)
    with database.session() as connection:
        account = create_account(connection, "ada@example.com").id
        register_provider_key(connection, Sealer(LOST), account, "deepseek", "x", "secret-1")
        register_provider_key(connection, Sealer(OLD), account, "kimi", "x", "secret-2")
        before = find_sealed(connection, (account, "deepseek"))

    assert 1 == run("rotate-seal").exit_code
    monkeypatch.setenv("FIND_TOKEN_SECRET_KEY", f"{NEW},{OLD}")
    rotated = run("rotate-seal", "--json")

    assert (1, 1, 1) == (
        rotated.exit_code,
        json.loads(rotated.stdout)["sealed"],
        json.loads(rotated.stdout)["unreadable"],
    )
    with database.session() as connection:
        assert before == find_sealed(connection, (account, "deepseek"))
