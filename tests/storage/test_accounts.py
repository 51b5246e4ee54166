"""Accounts are found by their e-mail address in any spelling, and never exist twice."""

from __future__ import annotations

import pytest

from storage.accounts import (
    EmailTaken,
    InvalidEmail,
    UnknownAccount,
    create_account,
    find_account,
    find_account_by_email,
    list_accounts,
    page_accounts,
    set_status,
)
from storage.database import Database, open_database
from storage.migrating import migrate
from storage.revision import find_revision


@pytest.fixture
def quiet(database_url: str) -> Database:
    """A database with the schema, without threads."""
    opened = open_database(database_url)
    migrate(opened)
    return opened


def test_an_account_begins_active_with_nothing(quiet: Database) -> None:
    """And is found again by id and by address."""
    with quiet.session() as connection:
        account = create_account(connection, "  Ann@Example.com ")

        assert ("ann@example.com", "active", 0, 0) == (account.email, account.status, account.balance, account.held)
        assert account == find_account(connection, account.id)
        assert account == find_account_by_email(connection, "ANN@example.COM")
        assert [account] == list_accounts(connection)


def test_an_address_has_one_account(quiet: Database) -> None:
    """Whatever its spelling."""
    with quiet.session() as connection:
        create_account(connection, "ann@example.com")
        with pytest.raises(EmailTaken):
            create_account(connection, "Ann@Example.com")


@pytest.mark.parametrize(
    "text", ["", "ann", "@", "ann@", "@b", "a b@c", "a@b@c", "a@b\x00", "a@\ud800", "a" * 250 + "@b.io"]
)
def test_what_cannot_be_an_address_is_refused_and_not_found(quiet: Database, text: str) -> None:
    """With a sentence; looking for it finds nobody and breaks nothing."""
    with quiet.session() as connection:
        with pytest.raises(InvalidEmail):
            create_account(connection, text)
        assert find_account_by_email(connection, text) is None


def test_deactivating_and_reactivating_is_noticed(quiet: Database) -> None:
    """Each change moves the revision; an unknown account has no status."""
    with quiet.session() as connection:
        account = create_account(connection, "ann@example.com")
        before = find_revision(connection)
    with quiet.session() as connection:
        deactivated = set_status(connection, account.id, "deactivated")
    with quiet.session() as connection:
        active = set_status(connection, account.id, "active")
    with quiet.session() as connection:
        assert before + 2 == find_revision(connection)
        with pytest.raises(UnknownAccount):
            set_status(connection, "acct_nobody", "active")

    assert ("deactivated", "active") == (deactivated.status, active.status)


def test_pages_and_searches(quiet: Database) -> None:
    """Newest first, each once; a search knows no wildcards, and finds an id whole."""
    with quiet.session() as connection:
        names = ["ann", "50%_off", "bob", "hannah"]
        made = [create_account(connection, f"{name}@example.com") for name in names]
        for number, account in enumerate(made):
            connection.execute("UPDATE account SET created = ? WHERE id = ?", (number, account.id))
        first, cursor = page_accounts(connection, limit=3)
        second, end = page_accounts(connection, limit=3, cursor=cursor)
        found = {
            asked: [account.email.partition("@")[0] for account in page_accounts(connection, search=asked)[0]]
            for asked in ("ANN", "%_", "_n", "!", made[2].id, made[2].id[:-1], "\0")
        }

    assert names[::-1] == [account.email.partition("@")[0] for account in [*first, *second]]
    assert end is None
    assert {
        "ANN": ["hannah", "ann"],
        "%_": ["50%_off"],
        "_n": [],
        "!": [],
        made[2].id: ["bob"],
        made[2].id[:-1]: [],
        "\0": [],
    } == found
