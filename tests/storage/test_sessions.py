"""Sessions as rows: found by their hash until they expire or are ended, and by nobody afterwards."""

from __future__ import annotations

from collections.abc import Callable

from storage.database import Database
from storage.sessions import (
    LONGEST_LIST,
    begin_session,
    end_all_sessions,
    end_presented,
    end_session,
    find_session,
    forget_sessions,
    list_sessions,
)
from storage.tokens import hash_token, new_token


async def test_a_session_is_found_until_it_is_over(database: Database, new_account: Callable[..., str]) -> None:
    """By its hash, with whose it is; not at its last instant, not by another's hash."""
    account = new_account(0)
    with database.session() as connection:
        token = begin_session(connection, account, "email", 100, 200)
        found = find_session(connection, hash_token(token), 199)

        assert found is not None
        assert (account, "active", "email", 100, 200) == (
            found.account_id,
            found.account_status,
            found.way,
            found.created,
            found.expires,
        )
        assert find_session(connection, hash_token(token), 200) is None
        assert find_session(connection, hash_token(new_token()), 150) is None
        assert find_session(connection, token, 150) is None


async def test_sessions_are_ended_one_by_one_or_all(database: Database, new_account: Callable[..., str]) -> None:
    """Only the account's own; again changes nothing."""
    mine, other = new_account(0), new_account(0)
    with database.session() as connection:
        tokens = [begin_session(connection, mine, "email", 100 + number, 200) for number in range(4)]
        theirs = begin_session(connection, other, "google", 100, 200)
        newest = list_sessions(connection, mine, 150)[0]

        assert not end_session(connection, other, newest.id, 150)
        assert end_session(connection, mine, newest.id, 150)
        assert not end_session(connection, mine, newest.id, 150)
        end_presented(connection, hash_token(tokens[0]), 150)
        assert 2 == end_all_sessions(connection, mine, 150)
        assert [] == list_sessions(connection, mine, 150)
        assert find_session(connection, hash_token(theirs), 150) is not None


async def test_an_account_has_so_many_sessions_and_old_ones_are_deleted(
    sqlite_database: Database,
) -> None:
    """A further sign-in ends the oldest; what expired long ago is forgotten."""
    with sqlite_database.session() as connection:
        connection.execute("INSERT INTO account VALUES ('a', 'a@b.de', 'active', 1, 1, 0, 0, NULL)")
        tokens = [begin_session(connection, "a", "email", number, 1_000) for number in range(LONGEST_LIST + 2)]

        assert LONGEST_LIST == len(list_sessions(connection, "a", 500))
        found = [find_session(connection, hash_token(token), 500) is not None for token in tokens[:3]]
        assert [False, False, True] == found
        assert 0 == forget_sessions(connection, 1_000)
        assert LONGEST_LIST + 2 == forget_sessions(connection, 1_001)
