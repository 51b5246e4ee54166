"""Tables as migrations declare them mean the same on both kinds of database."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from storage.database import Conflict, Database, StorageUnavailable
from storage.postings import post_credit

NewAccount = Callable[..., str]


@pytest.mark.parametrize("change", ["UPDATE entry SET amount = 1", "DELETE FROM entry"])
def test_an_entry_is_never_changed(database: Database, new_account: NewAccount, change: str) -> None:
    """The database itself refuses it, whoever asks."""
    account = new_account(0)
    with database.session() as connection:
        post_credit(connection, "gift", account, 5, "promotion", "test", 1)

    with pytest.raises((Conflict, StorageUnavailable)), database.session() as connection:
        connection.execute(change)

    with database.session(snapshot=True) as connection:
        assert [(5,)] == connection.execute("SELECT amount FROM entry WHERE id = 'gift'").fetchall()


def test_a_text_is_no_amount(database: Database, new_account: NewAccount) -> None:
    """SQLite, too, refuses a value of another type than its column's."""
    account = new_account(7)

    with (
        pytest.raises(Exception, match=r"cannot store TEXT value|invalid input syntax"),
        database.session() as connection,
    ):
        connection.execute("UPDATE account SET balance = 'much' WHERE id = ?", (account,))

    with database.session(snapshot=True) as connection:
        assert [(7,)] == connection.execute("SELECT balance FROM account WHERE id = ?", (account,)).fetchall()
