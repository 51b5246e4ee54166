"""The outbox: a mail for each id, taken up by one process, tried a bounded number of times, empty when it is done with."""

from __future__ import annotations

import asyncio

from storage.database import Database, open_database
from storage.outbox import (
    SECOND,
    WAITS_SECONDS,
    claim_mail,
    count_mails,
    find_due_mails,
    finish_mail,
    forget_mails,
    is_last_try,
    put_mail,
)

NOW = 10**15


async def test_a_mail_is_written_once_for_its_id(database: Database) -> None:
    """Telling it again changes nothing, also when it was sent."""
    with database.session() as connection:
        assert put_mail(connection, "receipt:1", "receipt", "a@b.de", {"amount": "5"}, NOW)
        assert not put_mail(connection, "receipt:1", "receipt", "other@b.de", {}, NOW)
        [mail] = find_due_mails(connection, NOW, 10)
        assert ("a@b.de", {"amount": "5"}, 0) == (mail.recipient, mail.facts, mail.attempts)
        finish_mail(connection, mail.id, "sent", NOW)
        assert not put_mail(connection, "receipt:1", "receipt", "a@b.de", {}, NOW)
        assert [] == find_due_mails(connection, NOW + 10**12, 10)
        assert {"sent": 1} == count_mails(connection)


async def test_a_mail_is_tried_so_often_and_each_time_later(database: Database) -> None:
    """Whoever takes it up keeps others off it until the next try is due."""
    tries, now = 0, NOW
    with database.session() as connection:
        put_mail(connection, "m", "receipt", "a@b.de", {}, NOW)
        while True:
            [mail] = find_due_mails(connection, now, 10)
            assert claim_mail(connection, mail, now)
            assert not claim_mail(connection, mail, now)
            assert [] == find_due_mails(connection, now + WAITS_SECONDS[min(tries, 5)] * SECOND - 1, 10)
            tries += 1
            if is_last_try(mail):
                break
            now += WAITS_SECONDS[tries - 1] * SECOND

    assert len(WAITS_SECONDS) + 1 == tries


async def test_of_two_processes_one_takes_a_mail_up(postgres_database_url: str, postgres_database: Database) -> None:
    """Whoever else saw it waiting comes too late."""
    other = open_database(postgres_database_url)
    await other.start()
    try:
        for number in range(20):
            await postgres_database.run(put_mail, f"mail{number}", "receipt", "a@b.de", {}, NOW)
        mails = await postgres_database.read(find_due_mails, NOW, 100)
        claimed = await asyncio.gather(
            *(one.run(claim_mail, mail, NOW) for mail in mails for one in (postgres_database, other))
        )
    finally:
        await other.close()

    assert 20 == sum(claimed) == len(mails)


async def test_what_is_done_with_is_empty_and_forgotten_in_time(database: Database) -> None:
    """Its id stays, its recipient and words do not."""
    with database.session() as connection:
        put_mail(connection, "m", "receipt", "a@b.de", {"amount": "5"}, NOW)
        finish_mail(connection, "m", "failed", NOW)
        finish_mail(connection, "m", "sent", NOW)

        rows = connection.execute("SELECT state, recipient, facts FROM mail").fetchall()
        assert [("failed", "", "")] == rows
        assert 0 == forget_mails(connection, NOW)
        assert 1 == forget_mails(connection, NOW + 1)
