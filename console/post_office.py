"""Sends the mails that wait, and has accounts told what they are to be told; any number of processes may do so at once.

`storage/outbox.py` says why a mail is sent once. A mail for which nobody waits any more is dropped: a link that has expired,
and anything that could not be sent for three days.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from billing.lots import DAY_MICROSECONDS
from console.mail_texts import TEMPLATES, Texts, compose
from console.mailing import MailDelayed, MailRefused, MailRules, build_message, send, write
from metrics.instruments import Instruments
from storage.connection import StorageUnavailable
from storage.database import Database
from storage.identifiers import now_microseconds
from storage.notices import find_low, find_unsent, mail_low_balance, mail_notice
from storage.outbox import (
    State,
    WaitingMail,
    claim_mail,
    find_due_mails,
    finish_mail,
    forget_mails,
    is_last_try,
)
from storage.sessions import forget_sessions
from storage.sign_in_links import MAIL_KIND, forget_links, make_link

LOOK_SECONDS: Final = 5.0
"""How often mails are looked for that another process wrote, or that are to be tried again."""
AT_ONCE: Final = 10
CLOSE_SECONDS: Final = 5.0
"""How long mails under way may take when the gateway stops; what is cut off is tried again later."""
NOTICES: Final = 500
"""Accounts told in one round; the next round tells the rest."""
TOO_LATE: Final = 3 * DAY_MICROSECONDS
REMEMBERED: Final = 400 * DAY_MICROSECONDS
"""How long a mail's id is kept: longer than anything could tell the same again."""
SIGN_IN_PATH: Final = "/sign-in"
LINK_PATH: Final = "/sign-in/link"

logger = logging.getLogger("find-token.mail")


class PostOffice:
    """The mails of one process. ``rules`` gives the settings in force; ``tell`` hears of mails written into a folder."""

    def __init__(self, database: Database, rules: Callable[[], MailRules], instruments: Instruments) -> None:
        self.rules = rules
        self.tell: Callable[[str], None] = logger.debug
        self._database = database
        self._instruments = instruments
        self._rung = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def start(self) -> None:
        """Begin to send."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    def ring(self) -> None:
        """There is a mail to send; it need not wait for the next look."""
        self._rung.set()

    async def close(self) -> None:
        """Finish what is under way, for a while, and stop."""
        self._stopping = True
        self.ring()
        if self._task is not None:
            _, late = await asyncio.wait({self._task}, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        while not self._stopping:
            try:
                await self.deliver_due()
            except StorageUnavailable as error:
                logger.warning("mails wait for the database: %s", error)
            if not self._stopping:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._rung.wait()
                self._rung.clear()

    async def deliver_due(self) -> None:
        """Try every mail that is due now, some at a time. Raises StorageUnavailable."""
        while self.rules().on and not self._stopping:
            found = await self._database.read(find_due_mails, now_microseconds(), AT_ONCE)
            if not found:
                return
            await asyncio.gather(*(self._deliver(mail) for mail in found))

    async def _deliver(self, mail: WaitingMail) -> None:
        now, rules = now_microseconds(), self.rules()
        if not await self._database.run(claim_mail, mail, now):
            return
        if mail.kind not in TEMPLATES:
            return  # Written by a newer version, which will take it up.
        if mail.created < now - TOO_LATE or mail.facts.get("until", now) < now:
            await self._finish(mail, "dropped")
            return
        try:
            message = build_message(mail.id, mail.recipient, await self._texts(mail, rules, now), rules)
            if rules.folder:
                write(message, rules, self.tell)
            else:
                await send(message, mail.recipient, rules)
        except MailRefused as error:
            logger.warning("the mail %s is given up: %s", mail.id, error)
            await self._finish(mail, "failed")
        except (MailDelayed, OSError) as error:
            logger.warning("the mail %s was not sent: %s", mail.id, error)
            if is_last_try(mail):
                await self._finish(mail, "failed")
            else:
                self._instruments.mail(mail.kind, "delayed")
        else:
            await self._finish(mail, "sent")

    async def _finish(self, mail: WaitingMail, state: State) -> None:
        self._instruments.mail(mail.kind, state)
        await self._database.run(finish_mail, mail.id, state, now_microseconds())

    async def _texts(self, mail: WaitingMail, rules: MailRules, now: int) -> Texts:
        facts: dict[str, Any] = {**mail.facts, "service": rules.service, "refund_days": rules.refund_days}
        link = rules.public_url + SIGN_IN_PATH
        if mail.kind == MAIL_KIND:
            until = int(mail.facts["until"])
            token = await self._database.run(make_link, mail.recipient, until, now)
            link = f"{rules.public_url}{LINK_PATH}?token={token}"
            facts["until"] = f"{datetime.fromtimestamp(until // 1_000_000, UTC):%H:%M} UTC"
        return compose(mail.kind, facts, link)

    async def put_notices(self, now: int | None = None) -> int:
        """Write the mails that accounts are to get without having asked; returns how many. Raises StorageUnavailable."""
        rules, put = self.rules(), 0
        if not rules.on:
            return 0
        now = now_microseconds() if now is None else now
        for notice in await self._database.read(find_unsent, rules.expiry_days, now, NOTICES):
            put += await self._database.run(mail_notice, notice, now, key=notice.account_id)
        if rules.low_balance:
            for recharge_id, account_id in await self._database.read(find_low, rules.low_balance, now, NOTICES):
                put += await self._database.run(
                    mail_low_balance, recharge_id, account_id, rules.low_balance, now, key=account_id
                )
        if put:
            self.ring()
        return put

    async def forget(self) -> None:
        """Delete what nobody needs any more. Raises StorageUnavailable."""
        now = now_microseconds()
        await self._database.run(forget_mails, now - REMEMBERED)
        await self._database.run(forget_sessions, now - 30 * DAY_MICROSECONDS)
        await self._database.run(forget_links, now - DAY_MICROSECONDS)
