"""What is installed is what was looked at: pinned with hashes, from no place that a lock names, few, and each with its reason.

A package that was stolen on its way (S-103) has another hash; one that was stolen at its source mostly adds a .pth file, which
Python runs at every start.
"""

from __future__ import annotations

import configparser
import importlib.metadata
import re
from pathlib import Path

import pytest

LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-image.lock")
MOST_DIRECT = 15
BUILDS_US = "setuptools"
"""Is in the lock for installing the project itself, and brings a .pth file; nothing of it is loaded by what runs."""
PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)", re.MULTILINE)


def entries(text: str) -> list[str]:
    """Each requirement of a lock with the lines that belong to it."""
    return [entry for entry in re.split(r"\n(?=[A-Za-z0-9])", text) if PINNED.match(entry)]


@pytest.mark.parametrize("name", LOCKS)
def test_everything_in_a_lock_has_its_hashes_and_no_place(root: Path, name: str) -> None:
    """One version, at least one hash, and no word of where it comes from: that is for whoever installs to say."""
    text = (root / name).read_text()

    assert len(entries(text)) > 10
    for entry in entries(text):
        assert "--hash=sha256:" in entry, entry.splitlines()[0]
    requirements = [line for line in text.splitlines() if line and not line.lstrip().startswith(("#", "--hash"))]
    assert [] == [line for line in requirements if not PINNED.match(line)]
    assert [] == re.findall(r"https?://\S+|--\S*index\S*|--find-links|--trusted-host| @ ", text)


def test_what_runs_is_little_and_each_has_its_reason(root: Path) -> None:
    """Named in docs/dependencies.md; what they bring themselves is in the lock."""
    setup = configparser.ConfigParser()
    setup.read(root / "setup.cfg")
    direct = [re.split(r"[<>=\[ ;]", line)[0] for line in setup["options"]["install_requires"].split("\n") if line]
    told = (root / "docs" / "dependencies.md").read_text()

    assert 0 < len(direct) <= MOST_DIRECT
    assert [] == [name for name in direct if f"| {name} |" not in told]


def test_nothing_that_runs_is_run_at_every_start_of_python(root: Path) -> None:
    """None of the packages of requirements.lock, as they are installed here, has a .pth file."""
    names = [name for name, _ in PINNED.findall((root / "requirements.lock").read_text()) if name != BUILDS_US]
    files = {name: importlib.metadata.files(name) or [] for name in names if _is_installed(name)}

    assert len(files) > 20
    assert [] == [f"{name}: {file}" for name, of_it in files.items() for file in of_it if file.suffix == ".pth"]


def _is_installed(name: str) -> bool:
    """Whether it is here; a lock also names what other systems need."""
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
