"""Where recharges and refunds are handled: our row first, then Stripe, then the books, and again for as long as it takes.

Whatever comes from Stripe, by a webhook, the return page or the sweep, goes through `hear`. Nothing is credited on anybody
else's word, and nothing depends on when or how often it comes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from billing.money import Money, format_usd
from billing.recharges import SessionTold, Told, cents_to_pay
from billing.values import named_value
from console.payments import Payments, PaymentsUnavailable, StripeRefused
from console.recharge_requests import RechargeWish
from metrics.instruments import Instruments
from storage.connection import StorageUnavailable
from storage.database import Database
from storage.identifiers import new_id, now_microseconds
from storage.payments import Event, Heard, find_told_recharge, hear_payment, hear_session
from storage.recharges import (
    Recharge,
    Status,
    create_recharge,
    fail_abandoned,
    fail_recharge,
    find_by_payment,
    find_recharge,
    find_unheard,
    open_recharge,
    take_up,
)
from storage.refunds import NothingRefundable, RefundRow, ask_refund, find_unfinished, finish_refund

HEAR_SECONDS: Final = 2.5
"""A webhook is answered within so many seconds, whatever the database does; Stripe sends it again."""
NO_ACCOUNT: Final = "~"
"""Sorts behind every account's id: in a batch, payments are locked after accounts, as everybody does (storage/payments.py)."""
SECOND: Final = 1_000_000
HOUR: Final = 3_600 * SECOND
ASK_AGAIN: Final[dict[Status, int]] = {"open": 300 * SECOND, "processing": HOUR}
"""How long after the last question Stripe is asked again: about a session not paid yet, and about one that is on its way."""
ASK_AT_MOST: Final = 30 * 24 * HOUR
"""A recharge older than this is not asked about any more; a webhook still credits it."""
PAGE_PAUSE: Final = 2 * SECOND
"""How often the return page may make us ask Stripe about one recharge."""
ABANDONED_AFTER: Final = HOUR // 4
REFUND_AGAIN: Final = 60 * SECOND
REFUND_BY_KEY: Final = 20 * HOUR
"""Stripe remembers an idempotency key for a day at least; after this a refund that it does not list is given back."""
ROUND: Final = 20
"""How many questions one round of the sweep may ask."""

logger = logging.getLogger("find-token.payments")


@named_value
class RechargeRules:
    """The operator's rules, as they are now. `fee_percent` is what the card pays on top; 0 where calls carry the fee."""

    minimum: Money
    maximum: Money
    fee_percent: Decimal
    refund_window_days: int
    return_hosts: tuple[str, ...]


class RechargeDesk:
    """Recharges from the wish to the refund. Raises StorageUnavailable and, where Stripe is needed, PaymentsUnavailable."""

    def __init__(
        self, database: Database, payments: Payments, rules: Callable[[], RechargeRules], instruments: Instruments
    ) -> None:
        self._database = database
        self._payments = payments
        self._instruments = instruments
        self.rules = rules

    async def open(self, account_id: str, wish: RechargeWish) -> tuple[str, str]:
        """Write the recharge down, then open a session for it: its id and the page to pay on."""
        recharge_id = new_id("recharge_")
        cents = cents_to_pay(wish.amount, self.rules().fee_percent)
        await self._database.run(
            create_recharge, recharge_id, account_id, wish.amount, cents, now_microseconds(), key=account_id
        )
        try:
            session_id, url = await self._payments.open_session(
                recharge_id,
                account_id,
                cents,
                f"{format_usd(wish.amount)} USD of credit",
                wish.success_url,
                wish.cancel_url,
            )
        except (PaymentsUnavailable, StripeRefused) as error:
            logger.error("no checkout session for %s: %s", recharge_id, error)
            await self._database.run(fail_recharge, recharge_id, key=account_id)
            raise PaymentsUnavailable("Stripe opened no checkout session") from None
        await self._database.run(open_recharge, recharge_id, session_id, key=account_id)
        return recharge_id, url

    async def hear(self, told: Told, event: Event | None = None) -> Heard:
        """Take in what Stripe tells; returns once it is durable. Raises StorageUnavailable within seconds."""
        try:
            async with asyncio.timeout(HEAR_SECONDS):
                heard = await self._hear(told, event)
        except TimeoutError:
            raise StorageUnavailable("the database takes too long", outcome_unknown=True) from None
        self._alert(told, heard)
        return heard

    async def _hear(self, told: Told, event: Event | None) -> Heard:
        if isinstance(told, SessionTold):
            recharge = await self._database.read(find_told_recharge, told)
            return await self._database.run(
                hear_session,
                recharge,
                told,
                event,
                now_microseconds(),
                key=recharge.account_id if recharge else NO_ACCOUNT,
            )
        for _ in range(2):
            recharge = await self._database.read(find_by_payment, told.payment_intent)
            heard = await self._database.run(
                hear_payment,
                recharge,
                told,
                event,
                now_microseconds(),
                key=recharge.account_id if recharge else NO_ACCOUNT,
            )
            if heard.outcome != "again":
                break
        return heard

    def _alert(self, told: Told, heard: Heard) -> None:
        """Count what was credited; say loudly what is not as it should be."""
        subject = told.session_id if isinstance(told, SessionTold) else told.payment_intent
        if heard.credited:
            self._instruments.recharged(heard.credited)
            logger.info("credited %s USD for %s", format_usd(heard.credited), subject)
        if heard.difference:
            self._instruments.recharge_differs()
            logger.error("the payment %s is not as it was asked for: %s", subject, heard.difference)
        if heard.outcome == "unmatched":
            logger.warning("Stripe tells of %s, which is no recharge of ours", subject)

    async def look(self, recharge: Recharge, pause: int = PAGE_PAUSE) -> Recharge:
        """The recharge as it is once Stripe has been asked about it, unless somebody asked within `pause`."""
        now = now_microseconds()
        if not self._payments.on or not recharge.may_be_paid or recharge.session_id is None:
            return recharge
        if not await self._database.run(take_up, recharge.id, now, now - pause, key=recharge.account_id):
            return recharge
        try:
            told = await self._payments.find_session(recharge.session_id)
        except (PaymentsUnavailable, StripeRefused) as error:
            logger.warning("Stripe does not tell how %s stands: %s", recharge.id, error)
            return recharge
        await self.hear(told)
        return await self._database.read(find_recharge, recharge.id) or recharge

    async def refund(self, recharge: Recharge, asked_by: str) -> RefundRow:
        """Give back the unspent part of a recharge. Raises NothingRefundable.

        While Stripe does not answer, the refund stays asked: its money is out of the balance, and the sweep finishes it.
        """
        if not self._payments.on:
            raise PaymentsUnavailable("payments are off")
        asked = await self._database.run(
            ask_refund,
            new_id("refund_"),
            recharge,
            self.rules().refund_window_days,
            asked_by,
            now_microseconds(),
            key=recharge.account_id,
        )
        if isinstance(asked, NothingRefundable):
            raise asked
        return asked if asked.status != "asked" else await self._send(asked, recharge)

    async def _send(self, refund: RefundRow, recharge: Recharge) -> RefundRow:
        """Ask Stripe for a refund that is out of the balance, and write down what became of it."""
        try:
            told = await self._payments.refund(refund.id, refund.payment_intent, refund.cents)
        except StripeRefused as error:
            logger.error("Stripe refuses %s of %s: %s", refund.id, recharge.id, error)
            return await self._finish(refund, recharge, None)
        except PaymentsUnavailable as error:
            logger.warning("%s of %s waits for Stripe: %s", refund.id, recharge.id, error)
            return refund
        finished = await self._finish(refund, recharge, told.stripe_id)
        if told.status == "failed":
            await self.hear(told)
        return finished

    async def _finish(self, refund: RefundRow, recharge: Recharge, stripe_id: str | None) -> RefundRow:
        return await self._database.run(finish_refund, refund, stripe_id, now_microseconds(), key=recharge.account_id)

    async def sweep(self) -> None:
        """Ask Stripe about what its webhooks have not told, a bounded number of times, and finish refunds."""
        if not self._payments.on:
            return
        now = now_microseconds()
        await self._database.run(fail_abandoned, now - ABANDONED_AFTER)
        for status, pause in ASK_AGAIN.items():
            found = await self._database.read(find_unheard, status, now - pause, now - ASK_AT_MOST, ROUND)
            for recharge in found:
                await self.look(recharge, pause)
        for refund, recharge in await self._database.read(find_unfinished, now - REFUND_AGAIN, ROUND):
            await self._take_up_refund(refund, recharge, now)

    async def _take_up_refund(self, refund: RefundRow, recharge: Recharge, now: int) -> None:
        """A refund whose end nobody has written down: Stripe knows it, or is asked once more, or it is given back."""
        try:
            known = await self._payments.find_refund(refund.id, refund.payment_intent)
        except (PaymentsUnavailable, StripeRefused) as error:
            logger.warning("%s of %s waits for Stripe: %s", refund.id, recharge.id, error)
            return
        if known is not None:
            await self._finish(refund, recharge, known.stripe_id)
            await self.hear(known)
        elif refund.created > now - REFUND_BY_KEY:
            await self._send(refund, recharge)
        else:
            logger.error("Stripe never made %s of %s: it is given back", refund.id, recharge.id)
            await self._finish(refund, recharge, None)
