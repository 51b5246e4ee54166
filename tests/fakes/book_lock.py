"""Somebody else who has the books locked: while the lock is taken nothing can be held or settled, and all can be read."""

from __future__ import annotations

import sqlite3
from typing import Any

import psycopg2


class AnyBookLock:
    """A write lock on every account, of a SQLite file or of a PostgreSQL database."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._connection: Any = None

    def take(self) -> None:
        """Lock the books."""
        if self._url.startswith("sqlite:"):
            path = self._url.removeprefix("sqlite:///")
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._connection.execute("BEGIN IMMEDIATE")
        else:
            self._connection = psycopg2.connect(self._url)
            self._connection.cursor().execute("SELECT id FROM account FOR UPDATE")

    def release(self) -> None:
        """Give the lock back; nothing if it is not taken."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
