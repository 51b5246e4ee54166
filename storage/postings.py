"""What the ledger does in one transaction: hold, settle, release, credit.

These functions take a connection: they are jobs for the writer's transaction (storage/ledger.py submits them), or for
a command's session. They return refusals, because a job that raises costs its whole batch a second run. The usual case of
many at once is in storage/batches.py.

Rows are locked in one order: the account, then the month's BYOK counter; the writer sorts jobs by account. Amounts are
whole units of 10⁻⁸ USD, instants microseconds since 1970 in UTC. The rules are in storage/ledger.py.
"""

# ruff: noqa: S608 - statements are put together from our own column names, never from a value
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from billing.matrix import BYOK
from billing.values import value
from storage.accounts import AccountInactive, UnknownAccount
from storage.calls import AttemptRow, CallRow, insert_call
from storage.database import Connection
from storage.key_spending import KeyLimitReached, count_end

Source = Literal["promotion", "stripe:clearing"]
"""Where credit comes from: given by the operator, or paid."""


@value
class Balance:
    """What an account has; `balance` includes `held`."""

    balance: int
    held: int

    @property
    def available(self) -> int:
        """What can still be held."""
        return self.balance - self.held


@value
class Settled:
    """The balance after a call, and what it cost: what the books say, also where the call had been ended before."""

    balance: Balance
    cost: int


@value
class Held:
    """A hold that stands, and the balance with it; `free_byok` if it took one of the month's free BYOK calls."""

    amount: int
    balance: Balance
    free_byok: bool


@value
class Purpose:
    """The call that a hold is for, as far as it is known beforehand; `started` in microseconds."""

    key_id: str
    path: str
    requested_model: str
    payer: str
    streamed: bool
    started: int


UNTOLD: Final = Purpose("", "", "", "credits", streamed=False, started=0)
"""The purpose of a hold whose maker did not tell."""


class InsufficientCredit(Exception):
    """The account's available balance does not cover the smallest hold that would do."""

    def __init__(self, available: int, required: int) -> None:
        super().__init__(f"{available} units are available, {required} are required")
        self.available = available
        self.required = required


class LedgerViolation(Exception):
    """The caller broke a rule of the ledger: a mistake in a program, never in a request. Nothing was written."""


Refusal = InsufficientCredit | KeyLimitReached | AccountInactive | UnknownAccount


@value
class Settlement:
    """How a call ended: its row of the billing log, whose amounts are moved, and what was tried.

    `delivered`: the call counts as activity, and as a BYOK call of the month. Raises LedgerViolation for amounts that cannot
    be.
    """

    row: CallRow
    attempts: tuple[AttemptRow, ...]
    delivered: bool

    @property
    def request_id(self) -> str:
        """Under which it is written, once."""
        return self.row.request_id

    @property
    def account_id(self) -> str:
        """Who pays."""
        return self.row.account_id

    @property
    def cost(self) -> int:
        """What the account pays."""
        return self.row.cost

    def __post_init__(self) -> None:
        row = self.row
        if row.provider_cost < 0 or row.fee < 0 or row.absorbed < 0:
            raise LedgerViolation(f"{row.request_id}: an amount is negative")
        if row.cost != row.provider_cost + row.fee:
            raise LedgerViolation(f"{row.request_id}: {row.cost} is not {row.provider_cost} + {row.fee}")


_HOLD_ACCOUNT = """UPDATE account SET held = held + ? WHERE id = ? AND status = 'active' AND balance - held >= ?
    RETURNING balance, held"""
LOCK_ACCOUNT = "UPDATE account SET held = held WHERE id = ? RETURNING balance, held, status"
_BALANCE = "SELECT balance, held FROM account WHERE id = ?"
_TOTAL_HELD = "SELECT COALESCE(SUM(amount), 0) FROM hold"
HOLD_COLUMNS = """request_id, account_id, amount, byok_month, owner, deadline, created,
    key_id, path, requested_model, payer, streamed"""
_INSERT_HOLD = f"""INSERT INTO hold ({HOLD_COLUMNS})
    SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM call WHERE request_id = ?)
    ON CONFLICT (request_id) DO NOTHING"""
FIND_HOLD = "SELECT amount, byok_month FROM hold WHERE request_id = ? AND account_id = ?"
_HOLD_FEE = "UPDATE hold SET amount = ?, byok_month = NULL WHERE request_id = ?"
_ADD_HELD = "UPDATE account SET held = held + ? WHERE id = ? RETURNING balance, held"
_END_HOLD = """DELETE FROM hold WHERE request_id = ? AND account_id = ?
    RETURNING amount, byok_month, key_id, key_period"""
_FIND_COST = "SELECT cost FROM call WHERE request_id = ? AND account_id = ?"
_SETTLE_ACCOUNT = """UPDATE account SET held = held - ?, balance = balance - ?,
    last_active = CASE WHEN last_active < ? THEN ? ELSE last_active END WHERE id = ? RETURNING balance, held"""
"""The instant of activity is given twice; NULL where there was none. The later one stays, whichever node's clock told it."""
_CREDIT = "UPDATE account SET balance = balance + ? WHERE id = ? RETURNING balance, held"
_PAID = "UPDATE account SET last_active = ? WHERE id = ? AND last_active < ?"
_TAKE_TICKET = """INSERT INTO byok_month (account_id, month, used) VALUES (?, ?, 1)
    ON CONFLICT (account_id, month) DO UPDATE SET used = byok_month.used + 1 WHERE byok_month.used < ?
    RETURNING used"""
RETURN_TICKET = "UPDATE byok_month SET used = used - 1 WHERE account_id = ? AND month = ?"
_ENTRY_COLUMNS = "id, debit, credit, amount, kind, reference, reason, created"
_INSERT_ENTRY = f"INSERT INTO entry ({_ENTRY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_ENTRIES = f"INSERT INTO entry ({_ENTRY_COLUMNS})"
_INSERT_ENTRY_ONCE = f"{_INSERT_ENTRY} ON CONFLICT (id) DO NOTHING"
_REMEMBER_BALANCE = "INSERT INTO entry_balance (entry_id, balance) SELECT ?, balance FROM account WHERE id = ?"
_FIND_ENTRY = "SELECT debit, credit, amount FROM entry WHERE id = ?"


def find_balance(connection: Connection, account_id: str) -> Balance:
    """What the account has now. Raises UnknownAccount."""
    row = connection.execute(_BALANCE, (account_id,)).fetchone()
    if row is None:
        raise UnknownAccount(f"there is no account {account_id}")
    return Balance(*row)


def find_total_held(connection: Connection) -> int:
    """What all open holds set aside, of every account together."""
    row = connection.execute(_TOTAL_HELD).fetchone()
    assert row is not None, "a sum without rows is 0"
    return int(row[0])


def place_hold(
    connection: Connection,
    request_id: str,
    account_id: str,
    amounts: Sequence[int],
    at_least: int | None,
    owner: str,
    deadline: int,
    now: int,
    purpose: Purpose = UNTOLD,
) -> Held | Refusal:
    """Set money aside: the first of `amounts` (descending) that is covered, else all there is if that is `at_least`.

    The same request id again returns the hold as it stands. Raises LedgerViolation if the call was settled before.
    """
    amount = amounts[0]
    row = connection.execute(_HOLD_ACCOUNT, (amount, account_id, amount)).fetchone()
    if row is None:
        chosen = _choose_amount(connection, request_id, account_id, amounts, at_least)
        if not isinstance(chosen, int):
            return chosen
        amount = chosen
        row = connection.execute(_HOLD_ACCOUNT, (amount, account_id, amount)).fetchone()
        assert row is not None, "the account is locked since its available balance was read"
    values = hold_row(request_id, account_id, amount, None, owner, deadline, now, purpose)
    if connection.execute(_INSERT_HOLD, (*values, request_id)).rowcount == 1:
        return Held(amount, Balance(*row), free_byok=False)
    connection.execute(_ADD_HELD, (-amount, account_id))
    return hold_as_it_stands(connection, request_id, account_id)


def hold_row(
    request_id: str,
    account_id: str,
    amount: int,
    byok_month: str | None,
    owner: str,
    deadline: int,
    now: int,
    purpose: Purpose,
) -> tuple[object, ...]:
    """A hold as a row of HOLD_COLUMNS."""
    return (
        request_id,
        account_id,
        amount,
        byok_month,
        owner,
        deadline,
        purpose.started or now,
        purpose.key_id,
        purpose.path,
        purpose.requested_model,
        purpose.payer,
        purpose.streamed,
    )


def _choose_amount(
    connection: Connection, request_id: str, account_id: str, amounts: Sequence[int], at_least: int | None
) -> int | Held | Refusal:
    """The dearest hold that fits, decided under the account's lock; or what there is to say instead."""
    row = connection.execute(LOCK_ACCOUNT, (account_id,)).fetchone()
    if row is None:
        return UnknownAccount(f"there is no account {account_id}")
    if connection.execute(FIND_HOLD, (request_id, account_id)).fetchone() is not None:
        # Asked again, and refused only because the first hold already took the money.
        return hold_as_it_stands(connection, request_id, account_id)
    balance, held, status = row
    if status != "active":
        return AccountInactive(f"account {account_id} is deactivated")
    available = balance - held
    for amount in amounts:
        if amount <= available:
            return amount
    if at_least is not None and at_least <= available:
        return int(available)
    return InsufficientCredit(available, amounts[-1] if at_least is None else at_least)


def place_byok_hold(
    connection: Connection,
    request_id: str,
    account_id: str,
    month: str,
    free_requests: int,
    fee_bound: int,
    owner: str,
    deadline: int,
    now: int,
    purpose: Purpose = UNTOLD,
) -> Held | Refusal:
    """Take one of the month's free BYOK calls, or else hold the most the fee can be; 0 is always covered.

    The same request id again returns the hold as it stands. Raises LedgerViolation if the call was settled before.
    """
    row = connection.execute(LOCK_ACCOUNT, (account_id,)).fetchone()
    if row is None:
        return UnknownAccount(f"there is no account {account_id}")
    balance, held, status = row
    if status != "active":
        return AccountInactive(f"account {account_id} is deactivated")
    values = hold_row(request_id, account_id, 0, month, owner, deadline, now, purpose)
    if connection.execute(_INSERT_HOLD, (*values, request_id)).rowcount == 0:
        return hold_as_it_stands(connection, request_id, account_id)
    if free_requests > 0 and connection.execute(_TAKE_TICKET, (account_id, month, free_requests)).fetchone():
        return Held(0, Balance(balance, held), free_byok=True)
    if fee_bound > max(balance - held, 0):
        connection.execute(_END_HOLD, (request_id, account_id))
        return InsufficientCredit(balance - held, fee_bound)
    connection.execute(_HOLD_FEE, (fee_bound, request_id))
    connection.execute(_ADD_HELD, (fee_bound, account_id))
    return Held(fee_bound, Balance(balance, held + fee_bound), free_byok=False)


def hold_as_it_stands(connection: Connection, request_id: str, account_id: str) -> Held:
    """A hold that was placed before. Raises LedgerViolation if there is none, or it was settled."""
    row = connection.execute(FIND_HOLD, (request_id, account_id)).fetchone()
    if row is None:
        raise LedgerViolation(f"{request_id} was settled before, or belongs to another account")
    amount, byok_month = row
    return Held(amount, find_balance(connection, account_id), free_byok=byok_month is not None)


def post_settlement(connection: Connection, settlement: Settlement, now: int) -> Settled:
    """End a hold by taking what the call cost; the entries, the call's row and its attempts are written with it.

    A call that was settled before, or given up by a sweep, is left as it is, and what it cost then is returned.
    Raises LedgerViolation if there is no hold, or if the cost is above it: the hold is a promise to the account, what
    exceeds it is `absorbed`.
    """
    request_id, account_id = settlement.request_id, settlement.account_id
    hold = connection.execute(_END_HOLD, (request_id, account_id)).fetchone()
    if hold is None:
        stands = connection.execute(_FIND_COST, (request_id, account_id)).fetchone()
        if stands is None:
            raise LedgerViolation(f"{request_id} cannot be settled: it has no hold")
        return Settled(find_balance(connection, account_id), stands[0])
    amount, byok_month, key_id, key_period = hold
    cost = settlement.cost
    if cost > amount:
        raise LedgerViolation(f"{request_id} cannot be settled: it costs {cost}, and {amount} were held")
    active = now if settlement.delivered else None
    row = connection.execute(_SETTLE_ACCOUNT, (amount, cost, active, active, account_id)).fetchone()
    assert row is not None, "accounts are never deleted"
    if byok_month is not None and not settlement.delivered:
        connection.execute(RETURN_TICKET, (account_id, byok_month))
    if key_period is not None:
        count_end(connection, key_id, key_period, amount, cost)
    insert_entries(connection, entries_of(settlement, now))
    insert_call(connection, settlement.row, settlement.attempts, balance_after=row[0])
    return Settled(Balance(*row), cost)


def insert_entries(connection: Connection, entries: Sequence[tuple[Any, ...]]) -> None:
    """Write entries, given as rows. Raises Conflict for an id that is there already."""
    connection.insert(_INSERT_ENTRIES, entries)


def entries_of(settlement: Settlement, now: int) -> list[tuple[Any, ...]]:
    """The entries of a settlement, as rows; an amount of zero moves nothing."""
    row = settlement.row
    request_id, customer = row.request_id, f"customer:{row.account_id}"
    if row.mode == BYOK:
        moves = [("byok", customer, "revenue:byok", row.cost)]
    else:
        moves = [("usage", customer, "revenue:usage", row.provider_cost), ("fee", customer, "revenue:fee", row.fee)]
    moves.append(("absorbed", "absorbed", "revenue:usage", row.absorbed))
    return [
        (f"{request_id}:{kind}", debit, credit, amount, kind, request_id, "", now)
        for kind, debit, credit, amount in moves
        if amount
    ]


def release_hold(connection: Connection, request_id: str, account_id: str) -> Balance:
    """Give back everything a hold took, and its free BYOK call; nothing if there is no hold. Raises UnknownAccount."""
    hold = connection.execute(_END_HOLD, (request_id, account_id)).fetchone()
    if hold is None:
        return find_balance(connection, account_id)
    amount, byok_month, key_id, key_period = hold
    row = connection.execute(_ADD_HELD, (-amount, account_id)).fetchone()
    assert row is not None, "accounts are never deleted"
    if byok_month is not None:
        connection.execute(RETURN_TICKET, (account_id, byok_month))
    if key_period is not None:
        count_end(connection, key_id, key_period, amount, 0)
    return Balance(*row)


def post_credit(
    connection: Connection, entry_id: str, account_id: str, amount: int, source: Source, reason: str, now: int
) -> Balance:
    """Credit an account once under `entry_id`; again under the same id changes nothing.

    Raises UnknownAccount, and LedgerViolation for an amount below 1 or an id that another entry has.
    """
    if amount <= 0:
        raise LedgerViolation(f"{entry_id}: an entry moves more than nothing, not {amount}")
    customer = f"customer:{account_id}"
    kind = "promotion" if source == "promotion" else "recharge"
    if connection.execute(LOCK_ACCOUNT, (account_id,)).fetchone() is None:
        raise UnknownAccount(f"there is no account {account_id}")
    values = (entry_id, source, customer, amount, kind, entry_id, reason, now)
    if connection.execute(_INSERT_ENTRY_ONCE, values).rowcount == 0:
        if connection.execute(_FIND_ENTRY, (entry_id,)).fetchone() != (source, customer, amount):
            raise LedgerViolation(f"there is another entry with the id {entry_id}")
        return find_balance(connection, account_id)
    remember_balance(connection, entry_id, account_id)
    row = connection.execute(_CREDIT, (amount, account_id)).fetchone()
    assert row is not None, "the account was locked above"
    if kind == "recharge":
        connection.execute(_PAID, (now, account_id, now))
    return Balance(*row)


def remember_balance(connection: Connection, entry_id: str, account_id: str) -> None:
    """Keep what the account has before an entry that is no call's; its lots are told by it (storage/lots.py).

    The account is locked, the entry is written, and its amount has not been moved yet.
    """
    connection.execute(_REMEMBER_BALANCE, (entry_id, account_id))
