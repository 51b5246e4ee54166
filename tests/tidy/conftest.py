"""What the tidy tests look at: the project's folder, its packages as setup.cfg lists them, and their source files."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the project."""
    return ROOT


@pytest.fixture(scope="session")
def settings_file() -> configparser.ConfigParser:
    """setup.cfg, read."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


@pytest.fixture(scope="session")
def packages(settings_file: configparser.ConfigParser) -> tuple[str, ...]:
    """The top-level packages, in the order of setup.cfg."""
    return tuple(name for name in settings_file["options"]["packages"].split() if "." not in name)


@pytest.fixture(scope="session")
def sources(packages: tuple[str, ...]) -> tuple[Path, ...]:
    """Every source file of the packages, as a path below the project's folder."""
    return tuple(path.relative_to(ROOT) for package in packages for path in sorted((ROOT / package).rglob("*.py")))
