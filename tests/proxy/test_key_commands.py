"""The commands about keys: a key is judged without a database, and provider keys change their seal without being lost."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.cli import main
from storage.accounts import create_account, find_account_by_email
from storage.database import open_database
from storage.keys import KeyTerms, create_key, find_key, new_key
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


def ada() -> None:
    assert 0 == run("account", "create", "ada@example.com").exit_code


LIMITED = (
    *("key", "create", "ada@example.com", "--name", "shop", "--expires", "2100-01-01", "--spend-limit", "12.5"),
    *("--requests-per-minute", "60", "--tokens-per-minute", "90000", "--concurrent-requests", "4"),
    *("--model", "qwen/qwen-max", "--model", "deepseek-chat", "--model", "qwen-max", "--json"),
)


def test_a_key_is_made_with_its_limits(folder: Path) -> None:
    """All that the API can set; models under their public names, once; the limit never begins anew unless that is said."""
    ada()
    made = json.loads(run(*LIMITED).stdout)
    weekly = json.loads(run(*LIMITED, "--reset", "weekly").stdout)
    free = json.loads(run("key", "create", "ada@example.com", "--name", "free", "--json").stdout)
    listed = json.loads(run("key", "list", "ada@example.com", "--json").stdout)["data"]

    expected = {
        "expires": "2100-01-01T00:00:00.000000Z",
        "spend_limit": "12.5",
        "spend_limit_reset": "none",
        "requests_per_minute": 60,
        "tokens_per_minute": 90_000,
        "concurrent_requests": 4,
        "allowed_models": ["qwen-max", "deepseek-chat"],
    }
    assert expected == {name: made[name] for name in expected}
    assert "weekly" == weekly["spend_limit_reset"]
    assert {None} == {free[name] for name in expected}
    assert [expected, {**expected, "spend_limit_reset": "weekly"}] == [
        {name: one[name] for name in expected} for one in listed if one["name"] == "shop"
    ]
    with open_database(f"sqlite:///{folder}/find-token.db").session() as connection:
        record = find_key(connection, made["key_id"])
    assert record is not None
    assert KeyTerms(1_250_000_000, "none", 60, 90_000, 4, ("qwen-max", "deepseek-chat")) == record.terms


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--reset", "daily"), "--reset says when a --spend-limit begins anew: name one"),
        (("--spend-limit", "much"), "an amount is a decimal number such as 12.50, not 'much'"),
        (("--spend-limit", "-1"), "a spending limit is at least 0, not -1"),
        (("--expires", "2020-01-01"), "a key expires in the future, not 2020-01-01"),
        (("--expires", "soon"), "an instant is written 2026-11-27T09:30Z, not soon"),
        (("--model", "qwen-mex"), "there is no model 'qwen-mex'; did you mean qwen-max"),
        (("--requests-per-minute", "0"), "Invalid value for '--requests-per-minute': 0 is not in the range"),
    ],
)
def test_limits_that_cannot_be(arguments: tuple[str, str], sentence: str) -> None:
    """A sentence that says what would do, and no key is made."""
    ada()
    refused = run("key", "create", "ada@example.com", "--name", "shop", *arguments)

    assert 2 == refused.exit_code
    assert sentence in refused.stderr
    assert "this account has no keys\n" == run("key", "list", "ada@example.com").stdout


def test_a_key_past_its_end_is_expired(folder: Path) -> None:
    """As the API says it."""
    ada()
    with open_database(f"sqlite:///{folder}/find-token.db").session() as connection:
        account = find_account_by_email(connection, "ada@example.com")
        assert account is not None
        create_key(connection, account.id, "old", "sk-ft_", expires=1)

    [listed] = json.loads(run("key", "list", "ada@example.com", "--json").stdout)["data"]

    assert ("expired", "1970-01-01T00:00:00.000001Z") == (listed["status"], listed["expires"])


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
