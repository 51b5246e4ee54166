"""Mails leave once: whatever fails on the way, and whichever of several processes takes them up."""

from __future__ import annotations

import asyncio

from storage.identifiers import now_microseconds
from storage.outbox import put_mail
from tests.fakes.raw_upstream import RawUpstream
from tests.fakes.smtp import FakeSmtp, Fault
from tests.gateway import book
from tests.signing_in import Desk, running_desk

RECEIPT = {"amount": "20", "charged": "20", "recharge": "r1", "balance": "20"}


def post(desk: Desk, *mail_ids: str, recipient: str = "ada@example.com") -> None:
    """Write mails down, as a payment does."""
    with desk.gateway.database.session() as connection:
        for mail_id in mail_ids:
            put_mail(connection, mail_id, "receipt", recipient, RECEIPT, now_microseconds())
    desk.gateway.process.sign_in.office.ring()


async def states(desk: Desk, expected: dict[str, int]) -> None:
    """Wait until so many mails are in these states."""
    async with asyncio.timeout(10):
        while dict(desk.rows("SELECT state, COUNT(*) FROM mail GROUP BY state")) != expected:
            await asyncio.sleep(0.02)


async def test_a_mail_that_fails_is_tried_again(desk: Desk) -> None:
    """When it is due, not before; it arrives once, with one id of its own."""
    faults: tuple[Fault, ...] = ("later_data", "hang_up", "no_greeting")
    for tried, fault in enumerate(faults, 1):
        desk.smtp.fail_next(fault)
        post(desk, "receipt:1")
        async with asyncio.timeout(10):
            while await desk.gateway.metric("mails_total", kind="receipt", outcome="delayed") < tried:
                await asyncio.sleep(0.02)
        [(attempts, due)] = desk.rows("SELECT attempts, due FROM mail")
        assert (tried, True) == (attempts, due > now_microseconds() + 50_000_000)
        assert [] == desk.smtp.taken
        desk.execute("UPDATE mail SET due = 0")

    desk.gateway.process.sign_in.office.ring()
    await states(desk, {"sent": 1})
    assert ["Receipt: 20 USD of credit"] == [mail.message["Subject"] for mail in desk.smtp.taken]


async def test_what_is_refused_for_good_is_given_up(desk: Desk) -> None:
    """And so is what failed seven times."""
    desk.smtp.fail_next("refuse_recipient")
    post(desk, "receipt:1")
    await states(desk, {"failed": 1})
    desk.smtp.fail_next("later_data")
    with desk.gateway.database.session() as connection:
        put_mail(connection, "receipt:2", "receipt", "ada@example.com", RECEIPT, now_microseconds())
        connection.execute("UPDATE mail SET attempts = 6 WHERE id = 'receipt:2'")
    desk.gateway.process.sign_in.office.ring()
    await states(desk, {"failed": 2})

    assert [] == desk.smtp.taken


async def test_what_nobody_waits_for_is_dropped(desk: Desk) -> None:
    """Three days late, or a link that has expired."""
    with desk.gateway.database.session() as connection:
        put_mail(connection, "receipt:1", "receipt", "a@b.de", RECEIPT, now_microseconds() - 4 * 86_400_000_000)
        put_mail(connection, "mail_1", "sign_in", "a@b.de", {"until": 1}, now_microseconds())
    desk.gateway.process.sign_in.office.ring()
    await states(desk, {"dropped": 2})

    assert [] == desk.smtp.taken


async def test_a_lost_answer_is_the_only_way_to_two_copies(desk: Desk) -> None:
    """The server has the mail, we do not know it: it is sent again, and both have one Message-ID."""
    desk.smtp.fail_next("lost_answer")
    post(desk, "receipt:1")
    async with asyncio.timeout(10):
        while not await desk.gateway.metric("mails_total", outcome="delayed"):
            await asyncio.sleep(0.02)
    desk.execute("UPDATE mail SET due = 0")
    desk.gateway.process.sign_in.office.ring()
    await states(desk, {"sent": 1})

    assert 2 == len(desk.smtp.taken)
    assert 1 == len({mail.message["Message-ID"] for mail in desk.smtp.taken})


async def test_two_processes_send_each_mail_once(
    postgres_database_url: str, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """Two gateways on one database and one mail server, both woken for every mail."""
    smtp = await FakeSmtp().start()
    catalogue = book(alpha.url, beta.url)
    async with (
        running_desk(catalogue, postgres_database_url, smtp=smtp) as one,
        running_desk(catalogue, postgres_database_url, smtp=smtp, name="bea") as two,
    ):
        post(one, *(f"receipt:{number}" for number in range(30)))
        two.gateway.process.sign_in.office.ring()
        await states(one, {"sent": 30})
    await smtp.close()

    assert 30 == len(smtp.taken) == len({mail.message["Message-ID"] for mail in smtp.taken})


async def test_nothing_leaves_while_mail_is_off(gateway_without_mail: Desk) -> None:
    """It waits."""
    post(gateway_without_mail, "receipt:1")
    await gateway_without_mail.gateway.process.sign_in.office.deliver_due()

    assert 0 == await gateway_without_mail.gateway.process.sign_in.office.put_notices()
    assert [("waiting", 0)] == gateway_without_mail.rows("SELECT state, attempts FROM mail")


async def test_an_account_is_told_that_its_credit_expires(desk: Desk) -> None:
    """From the notice to the mail: one of each, however often the jobs run."""
    now = now_microseconds()
    desk.execute("UPDATE account SET last_active = ?", now - 340 * 86_400_000_000)
    for _ in range(2):
        await desk.gateway.process._expire()
        await desk.gateway.process.sign_in.office.put_notices()
    [mail] = await desk.smtp.wait_for(1)
    await states(desk, {"sent": 1})

    assert (("ada@example.com",), True) == (mail.recipients, "Its credit of 10 USD expires on " in mail.text)
    assert [(1, 1)] == desk.rows("SELECT COUNT(*), COUNT(sent) FROM notice")


async def test_what_is_old_is_forgotten(desk: Desk) -> None:
    """Mails after more than a year, links and sessions once they say nothing."""
    post(desk, "receipt:1")
    await states(desk, {"sent": 1})
    await desk.gateway.process.sign_in.office.forget()
    assert 1 == len(desk.rows("SELECT id FROM mail"))
    desk.execute("UPDATE mail SET created = 0")
    await desk.gateway.process.sign_in.office.forget()
    assert [] == desk.rows("SELECT id FROM mail")
