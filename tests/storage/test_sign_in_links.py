"""Links as rows: asked for within a limit, made when mailed, used once by one of any number of processes."""

from __future__ import annotations

import asyncio

from storage.accounts import Account, find_account_by_email
from storage.database import Database, open_database
from storage.expiry import HOUR_MICROSECONDS
from storage.outbox import find_due_mails
from storage.sign_in_links import (
    SignedIn,
    SignInTerms,
    ask_for_link,
    find_link,
    forget_links,
    make_link,
    sign_in,
    use_link,
)
from storage.tokens import hash_token

TERMS = SignInTerms("email", 100)
NOW = 10**15


async def test_an_address_is_counted_by_the_hour(database: Database) -> None:
    """So many within an hour of the first; then anew; each of those writes one mail."""
    with database.session() as connection:
        asked = [ask_for_link(connection, "a@b.de", 2, 60, NOW + second) for second in range(4)]
        later = ask_for_link(connection, "a@b.de", 2, 60, NOW + HOUR_MICROSECONDS)

        assert [True, True, False, False, True] == [*asked, later]
        mails = find_due_mails(connection, NOW + 2 * HOUR_MICROSECONDS, 10)
        assert [("sign_in", "a@b.de")] * 3 == [(mail.kind, mail.recipient) for mail in mails]
        assert NOW + 60_000_000 == mails[0].facts["until"]


async def test_two_processes_count_one_address_together(
    postgres_database_url: str, postgres_database: Database
) -> None:
    """However many ask at once: the limit is exact."""
    other = open_database(postgres_database_url)
    await other.start()
    try:
        asked = await asyncio.gather(
            *(one.run(ask_for_link, "a@b.de", 5, 60, NOW) for one in (postgres_database, other) for _ in range(20))
        )
    finally:
        await other.close()

    assert 5 == sum(asked)


async def test_a_link_is_used_by_one_of_two_processes(postgres_database_url: str, postgres_database: Database) -> None:
    """And an account that both open at the same moment is one."""
    other = open_database(postgres_database_url)
    await other.start()
    try:
        for round_number in range(5):
            email = f"new{round_number}@b.de"
            first = await postgres_database.run(make_link, email, NOW + 100, NOW)
            used = await asyncio.gather(
                *(
                    one.run(use_link, hash_token(first), TERMS, NOW)
                    for one in (postgres_database, other)
                    for _ in range(3)
                ),
                *(one.run(sign_in, email, TERMS, NOW) for one in (postgres_database, other)),
            )
            signed_in = [done for done in used if done is not None]
            assert 3 == len(signed_in)
            assert 1 == len({done.account.id for done in signed_in if isinstance(done, SignedIn)})
    finally:
        await other.close()


async def test_using_one_link_voids_the_others_of_its_address(database: Database) -> None:
    """Not those of another address; and looking changes nothing."""
    with database.session() as connection:
        one, two = (make_link(connection, "a@b.de", NOW + 100, NOW) for _ in range(2))
        other = make_link(connection, "c@b.de", NOW + 100, NOW)
        assert "a@b.de" == find_link(connection, hash_token(one), NOW)
        assert find_link(connection, hash_token(one), NOW + 100) is None

        assert isinstance(use_link(connection, hash_token(one), TERMS, NOW), SignedIn)

        assert use_link(connection, hash_token(one), TERMS, NOW) is None
        assert use_link(connection, hash_token(two), TERMS, NOW) is None
        assert use_link(connection, hash_token(other), TERMS, NOW + 100) is None
        assert isinstance(use_link(connection, hash_token(other), TERMS, NOW + 99), SignedIn)


async def test_an_operator_s_word_stands(database: Database) -> None:
    """An account that an operator deactivated is told as it is, and nobody is signed in."""
    with database.session() as connection:
        sign_in(connection, "a@b.de", TERMS, NOW)
        connection.execute("UPDATE account SET status = 'deactivated'")
        connection.execute("DELETE FROM session")

        assert isinstance(sign_in(connection, "a@b.de", TERMS, NOW), Account)

        account = find_account_by_email(connection, "a@b.de")
        assert account is not None
        assert "deactivated" == account.status
        assert [] == connection.execute("SELECT id FROM session").fetchall()


async def test_old_links_and_addresses_are_deleted(database: Database) -> None:
    """Once they say nothing any more."""
    with database.session() as connection:
        make_link(connection, "a@b.de", NOW, NOW)
        ask_for_link(connection, "a@b.de", 5, 60, NOW)

        assert 0 == forget_links(connection, NOW)
        assert 2 == forget_links(connection, NOW + 1)
