"""What becomes of accounts that nobody uses: notices, then their credits expire; without credits they are deactivated.

An account was last active at its last call that succeeded, sign-in or recharge (`account.last_active`); a promotion is
none. Credits are due to expire so many days later. Notices are recorded 30, 7 and 1 days before, each once, and only the
nearest when several are due; mailing them is the work of storage/notices.py.

Nothing happens on the word of one clock, because clocks jump:

* the last notice must have been recorded 20 hours before, so a jump that is noticed within that time takes nothing;
* this machine's clock and the database's must agree within an hour, where they are two;
* a notice from the future, which a clock left behind that has gone back, counts as recorded when it is seen again.

An account with an open hold is left alone. All is asked again in the transaction that acts, under the account's lock, so
that any number of processes may run this at once.
"""

# ruff: noqa: S608 - statements are put together from our own column names, never from a value
from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from billing.lots import DAY_MICROSECONDS
from billing.money import format_usd
from storage.accounts import IDLE, set_status
from storage.corrections import count_as_activity, post_expiry
from storage.database import Connection, Database
from storage.identifiers import now_microseconds
from storage.promotions import PAGE as LAPSES
from storage.promotions import find_due, lapse_promotion

HOUR_MICROSECONDS: Final = 3_600_000_000
NOTICE_AGE: Final = 20 * HOUR_MICROSECONDS
"""How long the last notice must have been there: a day, less what a run may come early."""
CLOCKS_MAY_DIFFER: Final = HOUR_MICROSECONDS
INACTIVE_DAYS: Final = 365
"""After how many days an account without balance is deactivated."""
NOTICE_DAYS: Final = (30, 7, 1)
PAGE: Final = 500
"""Accounts looked at in one read."""
PAGES: Final = 200
"""Reads of one kind in one run; the next run sees the rest."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stage:
    """A notice: its kind, and how long before what it warns of it is due; the next stage's time ends it."""

    kind: str
    from_days: int
    to_days: int | None


@dataclass(frozen=True, slots=True)
class Expiring:
    """An account whose credits are due to expire; instants in microseconds, `notices` the kinds recorded."""

    account_id: str
    email: str
    balance: int
    last_active: int
    due: int
    notices: tuple[str, ...]


@dataclass(slots=True)
class Done:
    """What one run did."""

    notices: int = 0
    expired: int = 0
    amount: int = 0
    deactivated: int = 0


DEACTIVATION = Stage("deactivation", 30, None)

_WITH_CREDIT = "account.status = 'active' AND account.balance > 0"
_WITHOUT = "account.status = 'active' AND account.balance <= 0 AND account.held = 0"
_NO_HOLD = "NOT EXISTS (SELECT 1 FROM hold WHERE hold.account_id = account.id)"
_TO_NOTIFY = """SELECT account.id, account.last_active FROM account
    LEFT JOIN notice ON notice.account_id = account.id AND notice.kind = ? AND notice.due = account.last_active + ?
    WHERE {which} AND account.last_active > ? AND account.last_active <= ?
        AND (notice.account_id IS NULL OR notice.recorded > ?) AND account.id > ?
    ORDER BY account.id LIMIT ?"""
_RECORD = """INSERT INTO notice (account_id, kind, expires_on, due, recorded)
    SELECT id, ?, ?, ?, ? FROM account WHERE id = ? AND last_active = ?
    ON CONFLICT (account_id, kind, expires_on) DO UPDATE
        SET due = excluded.due, recorded = excluded.recorded, sent = NULL
        WHERE notice.due <> excluded.due OR notice.recorded > excluded.recorded"""
_DUE = f"""SELECT account.id FROM account
    JOIN notice ON notice.account_id = account.id AND notice.kind = ? AND notice.due = account.last_active + ?
    WHERE {{which}} AND account.last_active <= ? AND notice.recorded <= ? AND {_NO_HOLD} AND account.id > ?
    ORDER BY account.id LIMIT ?"""
_LOCK = "UPDATE account SET held = held WHERE id = ? RETURNING balance, held, last_active, status"
_MAY_END = f"""SELECT 1 FROM account
    JOIN notice ON notice.account_id = account.id AND notice.kind = ? AND notice.due = account.last_active + ?
    WHERE account.id = ? AND account.last_active <= ? AND notice.recorded <= ? AND {_NO_HOLD}"""
_EXPIRING = f"""SELECT id, email, balance, last_active FROM account
    WHERE {_WITH_CREDIT} AND last_active <= ? ORDER BY last_active, id LIMIT ?"""
_NOTICES = "SELECT kind FROM notice WHERE account_id = ? AND due = ? ORDER BY recorded, kind"

LONGEST_LIST: Final = 1000
"""Accounts that `list_expiring` returns at most, the first due first."""


class Expiry:
    """The background work of one process. `run` may be called at any time, by any number of processes."""

    def __init__(self, database: Database, expiry_days: int) -> None:
        self._database = database
        self._days = expiry_days

    async def run(self, now: int | None = None) -> Done:
        """Record the notices that are due, expire and deactivate what may be. Raises StorageUnavailable.

        `now` replaces the database's clock, and then no other clock is asked.
        """
        if now is None:
            now = await self._database.read(_clock)
            if abs(now - now_microseconds()) > CLOCKS_MAY_DIFFER:
                _log.error("this machine's clock and the database's differ by more than an hour: no credits expire")
                return Done()
        done = Done()
        for stage in stages(self._days):
            done.notices += await self._notify(_WITH_CREDIT, stage, self._days, now)
        done.notices += await self._notify(_WITHOUT, DEACTIVATION, INACTIVE_DAYS, now)
        for account_id in await self._due(_WITH_CREDIT, stages(self._days)[-1], self._days, now):
            amount = await self._database.run(expire_account, account_id, self._days, now, key=account_id)
            done.expired += amount > 0
            done.amount += amount
        for account_id in await self._due(_WITHOUT, DEACTIVATION, INACTIVE_DAYS, now):
            done.deactivated += await self._database.run(deactivate_idle, account_id, now, key=account_id)
        await self._lapse(now)
        return done

    async def _lapse(self, now: int) -> None:
        """Take back what is left of promotional credits whose time is over."""
        after, count, amount = "", 0, 0
        for _ in range(PAGES):
            page = await self._database.read(find_due, now, after)
            for entry_id, account_id in page:
                taken = await self._database.run(lapse_promotion, entry_id, account_id, now, key=account_id)
                count, amount = count + (taken > 0), amount + taken
            if len(page) < LAPSES:
                break
            after = page[-1][0]
        if count:
            _log.info("took back %s USD of %d promotional credits that lapsed", format_usd(amount), count)

    async def _notify(self, which: str, stage: Stage, days: int, now: int) -> int:
        """Record one kind of notice for every account that is in its time and lacks it."""
        span = days * DAY_MICROSECONDS
        earliest = -1 if stage.to_days is None else now - span + stage.to_days * DAY_MICROSECONDS
        latest = now - span + stage.from_days * DAY_MICROSECONDS
        sql, after, recorded = _TO_NOTIFY.format(which=which), "", 0
        for _ in range(PAGES):
            page = await self._database.read(_fetch, sql, (stage.kind, span, earliest, latest, now, after, PAGE))
            for account_id, last_active in page:
                recorded += await self._database.run(
                    record_notice, account_id, stage.kind, last_active, days, now, key=account_id
                )
            if len(page) < PAGE:
                break
            after = page[-1][0]
        return recorded

    async def _due(self, which: str, stage: Stage, days: int, now: int) -> list[str]:
        """The accounts that may be ended, as far as it can be told without their lock."""
        span, sql, after = days * DAY_MICROSECONDS, _DUE.format(which=which), ""
        found: list[str] = []
        for _ in range(PAGES):
            parameters = (stage.kind, span, now - span, now - NOTICE_AGE, after, PAGE)
            page = await self._database.read(_fetch, sql, parameters)
            found += [row[0] for row in page]
            if len(page) < PAGE:
                break
            after = found[-1]
        return found


def stages(expiry_days: int) -> list[Stage]:
    """The notices before an expiry, the last one last; those that would come before the activity itself are left out."""
    chosen = [days for days in NOTICE_DAYS if days < expiry_days] or [NOTICE_DAYS[-1]]
    ends: list[int | None] = [*chosen[1:], None]
    return [Stage(f"expiry_{days}", days, end) for days, end in zip(chosen, ends, strict=True)]


def record_notice(connection: Connection, account_id: str, kind: str, last_active: int, days: int, now: int) -> bool:
    """Record a notice if the account has not been active since it was looked at. Returns whether it was recorded now."""
    due = last_active + days * DAY_MICROSECONDS
    values = (kind, day_of(due), due, now, account_id, last_active)
    return connection.execute(_RECORD, values).rowcount == 1


def expire_account(connection: Connection, account_id: str, days: int, now: int) -> int:
    """Expire all that an account has, if it is still idle, warned and without a hold. Returns the amount, 0 if it is not.

    A deactivated account keeps what it has: its owner could do nothing to keep it.
    """
    row = connection.execute(_LOCK, (account_id,)).fetchone()
    if row is None:
        return 0
    balance, held, last_active, status = row
    kind = stages(days)[-1].kind
    if status != "active" or balance <= 0 or held or not _may_end(connection, account_id, kind, days, now):
        return 0
    due = last_active + days * DAY_MICROSECONDS
    reason = f"no activity for {days} days"
    return int(balance) if post_expiry(connection, account_id, balance, day_of(due), reason, now) else 0


def deactivate_idle(connection: Connection, account_id: str, now: int) -> bool:
    """Deactivate an account that has nothing, is still idle, warned and without a hold. Returns whether it was done."""
    row = connection.execute(_LOCK, (account_id,)).fetchone()
    if row is None:
        return False
    balance, held, _, status = row
    if status != "active" or balance > 0 or held:
        return False
    if not _may_end(connection, account_id, DEACTIVATION.kind, INACTIVE_DAYS, now):
        return False
    set_status(connection, account_id, "deactivated", IDLE)
    return True


def reactivate(connection: Connection, account_id: str, now: int) -> None:
    """Make an account active again. It counts as activity, or it would be deactivated again at once."""
    set_status(connection, account_id, "active")
    count_as_activity(connection, account_id, now)


def list_expiring(connection: Connection, expiry_days: int, within_days: int, now: int) -> list[Expiring]:
    """The accounts whose credits are due within so many days, the first due first, with the notices recorded."""
    latest = now + (within_days - expiry_days) * DAY_MICROSECONDS
    found = []
    for account_id, email, balance, last_active in connection.execute(_EXPIRING, (latest, LONGEST_LIST)).fetchall():
        due = last_active + expiry_days * DAY_MICROSECONDS
        notices = tuple(row[0] for row in connection.execute(_NOTICES, (account_id, due)).fetchall())
        found.append(Expiring(account_id, email, balance, last_active, due, notices))
    return found


def day_of(instant: int) -> str:
    """The day of an instant in UTC, as `2026-11-27`."""
    return f"{datetime.fromtimestamp(instant // 1_000_000, UTC):%Y-%m-%d}"


def _may_end(connection: Connection, account_id: str, kind: str, days: int, now: int) -> bool:
    """Whether a locked account has been idle for long enough, was warned long enough ago, and has no call in flight."""
    span = days * DAY_MICROSECONDS
    parameters = (kind, span, account_id, now - span, now - NOTICE_AGE)
    return connection.execute(_MAY_END, parameters).fetchone() is not None


def _fetch(connection: Connection, sql: str, parameters: tuple[object, ...]) -> list[tuple[str, int]]:
    return connection.execute(sql, parameters).fetchall()


def _clock(connection: Connection) -> int:
    return connection.now()
