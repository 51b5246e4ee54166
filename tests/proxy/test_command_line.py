"""Every error of a command is one sentence and an exit code, and the global options stand anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import proxy.command_line
from proxy.command_line import CommandFailed, CommandGroup, Options, answer_with, foreign_packages, read_instant
from proxy.faults import ConfigurationFaults, Fault
from storage.accounts import UnknownAccount

ERRORS: dict[str, BaseException] = {
    "failed": CommandFailed("it did not work"),
    "usage": click.UsageError("not like this"),
    "ours": UnknownAccount("there is no account a"),
    "system": FileNotFoundError(2, "No such file or directory", "x.db"),
    "port": OSError(98, "address in use"),
    "bare": OSError("no port is free"),
    "foreign": KeyError("surprise"),
    "interrupted": KeyboardInterrupt(),
}


@click.group(cls=CommandGroup)
def program() -> None:
    """A program of two commands."""


@program.group()
def deep() -> None:
    """A group inside."""


@deep.command()
@click.pass_obj
def tell(options: Options) -> None:
    """Tell the global options."""
    answer_with(options, {"config": str(options.config)}, f"config {options.config}")


@program.command()
@click.argument("name")
def fail(name: str) -> None:
    """Raise one of the errors."""
    raise ERRORS[name]


@program.command("faults")
def raise_faults() -> None:
    """Raise faults of a configuration."""
    raise ConfigurationFaults([Fault("b", 2, "k", "two"), Fault("a", 1, "k", "one")])


@program.command("leave")
@click.pass_context
def leave(context: click.Context) -> None:
    """End with a code of its own."""
    context.exit(1)


def run(*arguments: str) -> Result:
    """One run of the program."""
    return CliRunner().invoke(program, arguments)


@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [
        ("failed", 1, "it did not work"),
        ("usage", 2, "not like this"),
        ("ours", 1, "there is no account a"),
        ("system", 1, "No such file or directory: x.db"),
        ("port", 1, "address in use"),
        ("bare", 1, "no port is free"),
        ("foreign", 1, "unexpected KeyError: 'surprise'"),
        ("interrupted", 1, "interrupted"),
    ],
)
def test_an_error_is_one_sentence_on_standard_error(name: str, code: int, sentence: str) -> None:
    """As text or as JSON; never a stack trace."""
    plain = run("fail", name)
    assert (code, "", f"error: {sentence}\n") == (plain.exit_code, plain.stdout, plain.stderr.lstrip("\n"))
    as_json = run("fail", name, "--json")
    assert (code, "") == (as_json.exit_code, as_json.stdout)
    assert {"error": sentence} == json.loads(as_json.stderr)


def test_faults_are_told_one_by_one() -> None:
    """As lines for people, as a list for programs."""
    assert "a:1: k: one\nb:2: k: two\nerror: the configuration has faults: 2\n" == run("faults").stderr
    told = json.loads(run("faults", "--json").stderr)
    assert {"file": "a", "line": 1, "key": "k", "sentence": "one"} == told["faults"][0]
    assert 2 == run("faults").exit_code


def test_a_command_can_end_with_its_own_code() -> None:
    """An answer may be bad news."""
    assert (1, "") == (run("leave").exit_code, run("leave").stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--config", "x", "--json", "deep", "tell"),
        ("deep", "--config", "x", "--json", "tell"),
        ("deep", "tell", "--json", "--config", "x"),
        ("--config", "w", "deep", "tell", "--json", "--config", "x"),
    ],
)
def test_global_options_stand_anywhere_and_the_last_counts(arguments: tuple[str, ...]) -> None:
    """Before the command, after it, or in between."""
    assert {"config": "x"} == json.loads(run(*arguments).stdout)


def test_without_global_options_there_are_none() -> None:
    """One run does not remember the one before."""
    assert "config None\n" == run("deep", "tell").stdout


def test_a_package_of_another_program_in_the_place_of_ours_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our folders have plain names; another program in the same environment may bring one of them."""
    assert [] == foreign_packages()
    monkeypatch.setattr(proxy.command_line, "__file__", str(tmp_path / "proxy" / "command_line.py"))
    assert list(proxy.command_line.OUR_PACKAGES) == foreign_packages()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("1970-01-02", 86_400_000_000),
        ("1970-01-01T01:00+01:00", 0),
        ("1970-01-01T00:00:00.000001Z", 1),
    ],
)
def test_an_instant_is_read(text: str | None, expected: int | None) -> None:
    """UTC unless it says otherwise; a day is its beginning."""
    assert expected == read_instant(text)


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-13-01", "0001-01-01T00:00+14:00"])
def test_what_is_no_instant_is_refused(text: str) -> None:
    """With how one is written."""
    with pytest.raises(click.UsageError, match="2026-11-27T09:30Z"):
        read_instant(text)
