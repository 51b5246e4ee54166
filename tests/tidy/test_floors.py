"""A file stands above all that it imports, as the contracts in setup.cfg say; only the configuration reads the environment."""

from __future__ import annotations

import ast
import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter with the setup.cfg in ``folder`` over the packages in ``folder``."""
    return subprocess.run(
        [sys.executable, "-c", LINT],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_import_goes_up(root: Path) -> None:
    """Every contract of setup.cfg is kept."""
    linted = lint(root)

    assert 0 == linted.returncode, linted.stdout


def test_no_package_escapes(packages: tuple[str, ...], settings_file: configparser.ConfigParser) -> None:
    """Every package is type-checked and measured, and has a floor or is the simulator, which stands apart."""
    floors = settings_file["importlinter:contract:floors"]["layers"].replace("|", " ").split()

    assert sorted(packages) == sorted([*floors, "simulator"])
    assert sorted(packages) == sorted(settings_file["importlinter"]["root_packages"].split())
    assert sorted(packages) == sorted(settings_file["mypy"]["packages"].replace(",", " ").split())
    assert sorted(packages) == sorted(settings_file["coverage:run"]["source"].split())


FORBIDDEN = [
    ("billing", "aiohttp"),
    ("billing", "storage"),
    ("console", "peewee"),
    ("console", "proxy"),
    ("console", "simulator"),
    ("middlewares", "console"),
    ("metrics", "middlewares"),
    ("middlewares", "peewee"),
    ("middlewares", "proxy"),
    ("providers", "aiohttp"),
    ("providers", "storage"),
    ("simulator", "providers"),
    ("storage", "aiohttp"),
    ("storage", "providers"),
    ("storage", "simulator"),
]


@pytest.fixture
def empty_tree(tmp_path: Path, root: Path, packages: tuple[str, ...]) -> Path:
    """A folder with our setup.cfg and our packages, all of them empty; nothing is wrong with it."""
    shutil.copy(root / "setup.cfg", tmp_path)
    for package in packages:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    return tmp_path


def test_an_import_that_goes_up_is_seen(empty_tree: Path) -> None:
    """An import that the floors forbid fails the check and is named; without one nothing fails."""
    before = lint(empty_tree)
    for importer, imported in FORBIDDEN:
        (empty_tree / importer / f"planted_{imported}.py").write_text(f"import {imported}\n")

    after = lint(empty_tree)

    assert (0, 1) == (before.returncode, after.returncode), before.stdout + after.stdout
    arrows = [f"{importer}.planted_{imported} -> {imported}" for importer, imported in FORBIDDEN]
    assert [] == [arrow for arrow in arrows if arrow not in after.stdout]


def test_a_circle_inside_a_package_is_seen(empty_tree: Path) -> None:
    """Two files of one package may not import each other."""
    (empty_tree / "storage" / "one.py").write_text("from storage import two\n")
    (empty_tree / "storage" / "two.py").write_text("from storage import one\n")

    linted = lint(empty_tree)

    assert 1 == linted.returncode, linted.stdout
    assert "No circles inside a package BROKEN" in linted.stdout


def reads_environment(tree: ast.AST) -> bool:
    """Whether the source names `os.environ` or `os.getenv`."""
    return any(
        isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv") for node in ast.walk(tree)
    )


def test_only_the_configuration_reads_the_environment(root: Path, sources: tuple[Path, ...]) -> None:
    """Whatever can be set is a setting: no other file looks at environment variables."""
    readers = [str(path) for path in sources if reads_environment(ast.parse((root / path).read_text()))]

    assert ["proxy/config.py"] == readers
