"""The commands as an operator runs them: what they answer, what they refuse, and with which exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from proxy.cli import main
from storage.audit_runs import find_last_audit
from storage.database import open_database
from tests.commands import answer, error, run

COMMAND = [sys.executable, "-W", "error", "-c", "from proxy.cli import main; main()"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own, where the default settings keep their SQLite file, and no secrets around."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.endswith(("_API_KEY", "SECRET_KEY", "WEBHOOK_SECRET"))]:
        monkeypatch.delenv(name)
    return tmp_path


# --- accounts and keys ---


def test_an_account_is_created_listed_shown_credited_and_deactivated(folder: Path) -> None:
    """The life of an account, from the shell; money is a decimal string."""
    created = answer("account", "create", "Ada@Example.com")
    assert ("ada@example.com", "active", "0") == (created["email"], created["status"], created["balance"])
    assert re.fullmatch(r"acct_[0-9a-f]{32}", created["account_id"])

    credited = answer("account", "credit", "ada@example.com", "12.50", "--reason", "welcome")
    assert ("12.5", "12.5", "12.5") == (credited["amount"], credited["balance"], credited["available"])
    assert "0.00000001" == answer("account", "credit", "ada@example.com", "0.00000001", "--reason", "tiny")["amount"]

    lapsing = answer("account", "credit", "ada@example.com", "1", "--reason", "may", "--expires", "2100-05-31")
    shown = answer("account", "show", "ada@example.com")
    assert [None, None, "2100-05-31T00:00:00.000000Z"] == [lot["lapses_at"] for lot in shown["lots"]]
    assert "2100-05-31T00:00:00.000000Z" == lapsing["lapses_at"]
    assert "-1" == answer("account", "adjust", "ada@example.com", "-1", "--reason", "back")["amount"]

    listed = answer("account", "list")["data"]
    assert [("ada@example.com", "12.50000001")] == [(one["email"], one["available"]) for one in listed]

    assert "deactivated" == answer("account", "deactivate", "ada@example.com")["status"]
    shown = answer("account", "show", "ada@example.com")
    assert ("deactivated", "12.50000001", "0") == (shown["status"], shown["balance"], shown["held"])
    assert ([], []) == (shown["keys"], shown["calls"])


def test_a_key_is_shown_once_listed_and_revoked() -> None:
    """Only the answer to `key create` holds the key; revoking is final."""
    answer("account", "create", "ada@example.com")
    created = answer("key", "create", "ada@example.com", "--name", "laptop")
    assert re.fullmatch(r"sk-ft_[0-9a-f]{64}", created["key"])
    assert ("laptop", "active") == (created["name"], created["status"])

    listed = answer("key", "list", "ada@example.com")["data"]
    assert [created["key_id"]] == [one["key_id"] for one in listed]
    assert created["key"][-4:] == listed[0]["last_four"]
    assert created["key"] not in json.dumps(listed)

    assert "revoked" == answer("key", "revoke", created["key_id"])["status"]
    assert "revoked" == answer("account", "show", "ada@example.com")["keys"][0]["status"]


def test_a_key_has_the_prefix_of_the_settings(folder: Path) -> None:
    """A white label reaches the keys."""
    (folder / "find-token.toml").write_text("[security]\nkey_prefix = 'acme-'\n")
    answer("account", "create", "ada@example.com")
    assert answer("key", "create", "ada@example.com", "--name", "x")["key"].startswith("acme-")


def test_people_get_text() -> None:
    """Without `--json` the answers are for reading, and `key create` prints nothing but the key."""
    assert "there are no accounts yet\n" == run("account", "list").stdout
    assert re.fullmatch(r"acct_\w+  ada@example\.com\n", run("account", "create", "ada@example.com").stdout)
    assert "credited 5 USD, balance 5 USD\n" == run("account", "credit", "ada@example.com", "5", "--reason", "x").stdout
    assert "this account has no keys\n" == run("key", "list", "ada@example.com").stdout
    assert re.fullmatch(r"sk-ft_[0-9a-f]{64}\n", run("key", "create", "ada@example.com", "--name", "x").stdout)
    shown = run("account", "show", "ada@example.com").stdout
    assert re.search(r"^available +5$", shown, re.MULTILINE)
    assert re.search(r"^key +key_\w+  …[0-9a-f]{4}  active  x$", shown, re.MULTILINE)


# --- refusals ---


def test_what_cannot_be_done_fails_with_one_sentence_and_exit_code_1() -> None:
    """Known refusals of the books are said in their own words."""
    answer("account", "create", "ada@example.com")
    assert (1, "there is already an account for ada@example.com") == error("account", "create", "ADA@example.com")
    assert (1, "an e-mail address looks like name@example.com, not 'ada'") == error("account", "create", "ada")
    for arguments in (
        ("account", "show", "bob@example.com"),
        ("account", "credit", "bob@example.com", "1", "--reason", "x"),
        ("account", "deactivate", "bob@example.com"),
        ("key", "create", "bob@example.com", "--name", "x"),
        ("key", "list", "bob@example.com"),
    ):
        assert (1, "there is no account for bob@example.com") == error(*arguments)
    assert (1, "there is no key key_x") == error("key", "revoke", "key_x")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("frobnicate",), "No such command 'frobnicate'."),
        (("account", "create"), "Missing argument 'EMAIL'."),
        (("account", "credit", "a@b.c", "1"), "Missing option '--reason'."),
        (("simulate", "--port", "65536"), "Invalid value for '--port': 65536 is not in the range 0<=x<=65535."),
        (("demo", "--admin-port", "-1"), "Invalid value for '--admin-port': -1 is not in the range 0<=x<=65535."),
        (("key", "create", "a@b.c", "--name", " "), "the name of a key has 1 to 100 printable characters"),
        (("key", "create", "a@b.c", "--name", "x" * 101), "the name of a key has 1 to 100 printable characters"),
        (
            ("account", "credit", "a@b.c", "1e-9", "--reason", "x"),
            "an amount has at most 8 decimals, '1e-9' has more",
        ),
        (("account", "credit", "a@b.c", "0", "--reason", "x"), "a credit is more than nothing, not 0"),
        (
            ("account", "credit", "a@b.c", "1", "--reason", "x", "--expires", "2020-01-01"),
            "a credit expires in the future, not 2020-01-01",
        ),
        (
            ("account", "credit", "a@b.c", "1", "--reason", "x", "--expires", "soon"),
            "an instant is written 2026-11-27T09:30Z, not soon",
        ),
        (("serve", "--workers", "0"), "Invalid value for '--workers': 0 is not in the range 1<=x<=64."),
        (("demo", "--config", "x.toml"), "demo reads no configuration; use serve with --config"),
        (("check", "--xyz"), "No such option '--xyz'."),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(arguments: tuple[str, ...], sentence: str) -> None:
    """In JSON and in plain text, on standard error."""
    assert (2, sentence) == error(*arguments)
    result = run(*arguments)
    assert (2, "", f"error: {sentence}\n") == (result.exit_code, result.stdout, result.stderr)


def test_a_configuration_with_faults_stops_every_command_with_exit_code_2(folder: Path) -> None:
    """Nothing is touched; each fault is a line of its own."""
    (folder / "find-token.toml").write_text("[server]\nworkers = 65\nlisten = 1\n")
    result = run("account", "list")
    lines = [
        "find-token.toml:2: server.workers: expected a number of at most 64, found 65",
        "find-token.toml:3: server.listen: expected a text in quotes, found 1",
        "error: the configuration has faults: 2",
    ]
    assert (2, "", lines) == (result.exit_code, result.stdout, result.stderr.splitlines())
    with_json = json.loads(run("--json", "account", "list").stderr)
    assert "the configuration has faults: 2" == with_json["error"]
    assert [2, 3] == [fault["line"] for fault in with_json["faults"]]
    assert [Path("find-token.toml")] == [path.relative_to(folder) for path in folder.iterdir()]


def test_global_options_stand_before_or_after_the_command(folder: Path) -> None:
    """All of them, at every level."""
    (folder / "other.toml").write_text("[storage]\ndatabase = 'sqlite:///other.db'\n")
    for arguments in (
        ("--config", "other.toml", "--json", "account", "list"),
        ("account", "--config", "other.toml", "list", "--json"),
        ("account", "list", "--json", "--config", "other.toml"),
    ):
        assert {"data": []} == json.loads(run(*arguments).stdout)
    assert (folder / "other.db").exists()
    assert not (folder / "find-token.db").exists()


def test_a_database_that_cannot_be_opened_is_a_sentence(folder: Path) -> None:
    """Not a stack trace."""
    (folder / "find-token.toml").write_text("[storage]\ndatabase = 'sqlite:////nowhere/at/all.db'\n")
    code, sentence = error("account", "list")
    assert 1 == code
    assert sentence.startswith("the database cannot be opened: ")


# --- check, migrate, audit ---


def test_check_says_what_is_good_and_what_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings do not make a configuration bad."""
    monkeypatch.setenv("KIMI_API_KEY", "sk-1")
    checked = answer("check")
    assert (True, ["kimi"]) == (checked["ok"], checked["usable_providers"])
    assert "DEEPSEEK_API_KEY is not set: provider deepseek is off" in checked["warnings"]
    lines = run("check").stdout.splitlines()
    assert "warning: DEEPSEEK_API_KEY is not set: provider deepseek is off" in lines
    assert re.fullmatch(r"the configuration is good: \d+ models, usable providers: kimi", lines[-1])


def test_check_says_every_fault_at_once(folder: Path) -> None:
    """The faults are the answer of this command: they go to standard output, with exit code 2."""
    (folder / "bad.toml").write_text("[server]\nworkrs = 1\n[limits]\nrequests_per_minute = 'x'\n")
    lines = [
        "bad.toml:2: server.workrs: unknown setting, did you mean 'workers'?",
        "bad.toml:4: limits.requests_per_minute: expected a whole number, found 'x'",
    ]
    result = run("check", "--config", "bad.toml")
    assert (2, [*lines, "2 faults"]) == (result.exit_code, result.stdout.splitlines())
    checked = answer("check", "--config", "bad.toml", code=2)
    assert (False, "\n".join(lines)) == (checked["ok"], checked["error"])
    assert ["server.workrs", "limits.requests_per_minute"] == [fault["key"] for fault in checked["faults"]]


def test_migrate_applies_what_is_pending_once() -> None:
    """The second time there is nothing to do."""
    assert answer("migrate")["applied"][0].startswith("0001")
    assert {"applied": []} == answer("migrate")
    assert "the schema is up to date\n" == run("migrate").stdout


def test_audit_proves_the_books_and_names_what_disagrees(folder: Path) -> None:
    """Exit code 0 when they agree; 1 and the account's name when somebody changed a balance by hand. The last one is known."""
    account_id = answer("account", "create", "ada@example.com")["account_id"]
    answer("account", "credit", "ada@example.com", "5", "--reason", "x")
    audited = answer("audit")
    assert (True, []) == (audited["ok"], audited["disagreements"])
    assert "the books agree" in run("audit").stdout

    with open_database("sqlite:///find-token.db").session() as connection:
        connection.execute("UPDATE account SET balance = balance + 1 WHERE id = ?", (account_id,))
        clean = find_last_audit(connection)
    audited = answer("audit", code=1)
    with open_database("sqlite:///find-token.db").session(snapshot=True) as connection:
        last = find_last_audit(connection)
    assert clean is not None
    assert last is not None
    assert (0, len(audited["disagreements"])) == (clean.disagreements, last.disagreements)
    assert audited["disagreements"][0]["sentence"] == last.sentence
    assert not audited["ok"]
    assert account_id in json.dumps(audited["disagreements"])
    assert account_id in run("audit").stdout


# --- help ---


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with its words."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def test_every_command_has_help_and_the_global_options() -> None:
    """Help says what a command does; `--config` and `--json` are there."""
    for words, command in commands(main):
        result = run(*words, "--help")
        assert 0 == result.exit_code
        assert {"--config", "--json"} <= set(re.findall(r"--\w+", result.stdout)), words
        assert command.help


def test_the_page_on_commands_names_every_command() -> None:
    """`docs/commands.md` has a heading or row for each."""
    page = (Path(__file__).parents[2] / "docs" / "commands.md").read_text("utf-8")
    assert [] == [words for words, _ in commands(main) if f"`{' '.join(words)}" not in page]


def test_without_a_command_there_is_help_and_exit_code_2() -> None:
    """Typing nothing is wrong usage, kindly."""
    result = run()
    assert 2 == result.exit_code
    assert "Usage: find-token" in result.stderr


def test_help_loads_neither_database_nor_server() -> None:
    """Asking for help is quick because nothing heavy is imported."""
    program = "import sys, proxy.cli; print([n for n in ('peewee', 'aiohttp', 'pydantic') if n in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "[]\n" == result.stdout


# --- what runs until it is told to stop ---


def test_serve_prints_its_addresses_and_ends_cleanly(folder: Path) -> None:
    """On ports the system chose; both listeners answer, accounts can be made meanwhile, a signal ends it with code 0."""
    (folder / "find-token.toml").write_text("[server]\nlisten = '127.0.0.1:0'\nadmin_listen = '127.0.0.1:0'\n")
    with subprocess.Popen([*COMMAND, "serve", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            addresses = json.loads(process.stdout.readline())
            with urllib.request.urlopen(f"{addresses['admin_url']}/healthz") as response:
                assert 200 == response.status
            with urllib.request.urlopen(f"{addresses['url']}/v1/models") as response:
                assert "deepseek-chat" in {model["id"] for model in json.load(response)["data"]}
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(f"{addresses['url']}/healthz")
            answer("account", "create", "ada@example.com")
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=20)
    assert 0 == process.returncode, errors.decode()
    assert "warning: DEEPSEEK_API_KEY is not set: provider deepseek is off" in errors.decode()
    assert "Traceback" not in errors.decode()


def test_serve_on_a_taken_port_fails_with_a_sentence(folder: Path) -> None:
    """The most common mistake is said plainly."""
    (folder / "find-token.toml").write_text("[server]\nlisten = '127.0.0.1:0'\nadmin_listen = '127.0.0.1:0'\n")
    with subprocess.Popen([*COMMAND, "simulate", "--port", "0", "--json"], stdout=subprocess.PIPE) as simulator:
        try:
            assert simulator.stdout is not None
            url = json.loads(simulator.stdout.readline())["url"]
            port = url.rpartition(":")[2]
            (folder / "find-token.toml").write_text(f"[server]\nlisten = '127.0.0.1:{port}'\n")
            result = subprocess.run([*COMMAND, "serve"], capture_output=True, text=True, check=False, timeout=20)
        finally:
            simulator.terminate()
            simulator.communicate(timeout=20)
    assert 1 == result.returncode
    assert re.search(rf"^error: .*{port}.*in use", result.stderr, re.MULTILINE), result.stderr
    assert "Traceback" not in result.stderr
    assert 0 == simulator.returncode
