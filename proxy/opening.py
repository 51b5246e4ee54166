"""What commands open: the settings, the database with a schema that is up to date, an account by its e-mail address.

Whatever needs time to import is imported when it is opened, so that asking for help does not wait for a database driver.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from proxy.command_line import CommandFailed, Options

if TYPE_CHECKING:  # only for annotations: see the module's docstring
    from proxy.config import Loaded
    from storage.accounts import Account
    from storage.connection import Connection
    from storage.database import Database


def load(options: Options) -> Loaded:
    """Settings and catalogue. Raises ConfigurationFaults."""
    from proxy.config import load as load_files

    return load_files(options.config)


@contextmanager
def open_books(loaded: Loaded) -> Iterator[Database]:
    """The database with an up-to-date schema: SQLite and an empty database are migrated at once, others are refused."""
    from storage.database import open_database
    from storage.migrating import migrate, pending

    url = loaded.settings.storage.database
    database = open_database(url)
    if missing := pending(database):
        if not migrates_by_itself(url, missing):
            raise CommandFailed(f"the schema lacks {', '.join(missing)}: run find-token migrate")
        migrate(database)
    yield database


def migrates_by_itself(url: str, missing: Sequence[str]) -> bool:
    """Whether a schema that lacks ``missing`` is brought up to date without being asked: on SQLite, or where nothing is
    there yet. Elsewhere other processes may be serving, and the operator chooses the moment."""
    return url.startswith("sqlite:") or missing[0].startswith("0001")


@contextmanager
def session(options: Options, *, snapshot: bool = False) -> Iterator[Connection]:
    """One transaction on the database that the settings name; with ``snapshot`` it only reads."""
    with open_books(load(options)) as database, database.session(snapshot=snapshot) as connection:
        yield connection


def account_of(connection: Connection, email: str) -> Account:
    """The account of an e-mail address. Raises CommandFailed."""
    from storage.accounts import find_account_by_email

    found = find_account_by_email(connection, email)
    if found is None:
        raise CommandFailed(f"there is no account for {email}")
    return found
