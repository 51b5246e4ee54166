"""Databases, as many as a test wants."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest

_numbers = itertools.count(1)


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes empty databases of one kind and gives their URLs; the test runs once on each kind."""

    def sqlite() -> str:
        return f"sqlite:///{tmp_path / f'books-{next(_numbers)}.db'}"

    if request.param == "sqlite":
        return sqlite
    postgres_url = str(request.getfixturevalue("postgres_url"))

    def postgresql() -> str:
        name = f"fault_{next(_numbers)}"
        connection = psycopg2.connect(postgres_url)
        connection.autocommit = True
        connection.cursor().execute(f"CREATE SCHEMA {name}")
        connection.close()
        return f"{postgres_url}?options=-csearch_path%3D{name}"

    return postgresql
