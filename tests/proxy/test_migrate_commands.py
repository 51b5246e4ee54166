"""`find-token migrate`, up and back, as an operator runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import answer, error, run


@pytest.fixture(autouse=True)
def books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory of its own, with an announcement in its books."""
    monkeypatch.chdir(tmp_path)
    answer("announce", "publish", "Hello", "--text", "World")


def test_back_and_forth() -> None:
    """Rows are lost only with --yes; what was done is told; without --to everything is up to date again."""
    assert (
        1,
        "rows would be lost: 1 of announcement (0010_support); make a copy, and say --yes to lose them",
    ) == error("migrate", "--to", "0009_sign_in")
    back = answer("migrate", "--to", "0010_support")
    assert ([], "0011_promotions") == (back["applied"], back["reverted"][-1])
    assert "took back 0010_support\n" == run("migrate", "--to", "0009_sign_in", "--yes").stdout
    assert "the schema is at 0009_sign_in already\n" == run("migrate", "--to", "0009_sign_in").stdout
    assert {"applied": ["0010_support"], "reverted": []} == answer("migrate", "--to", "0010_support")
    assert {"applied": back["reverted"][::-1]} == answer("migrate")


def test_names_and_options_that_cannot_be() -> None:
    """Told in a sentence that says what there is."""
    assert (1, "there is no migration '0009_signin', did you mean '0009_sign_in'?") == error(
        "migrate", "--to", "0009_signin"
    )
    code, sentence = error("migrate", "--to", "x")
    assert (1, True) == (code, sentence.startswith("there is no migration 'x': there are 0001_initial, "))
    assert (2, "--yes belongs to --to") == error("migrate", "--yes")
