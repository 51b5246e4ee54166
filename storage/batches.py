"""A batch as work on a batch: many holds, or many settlements, in as few statements as they allow.

Amounts are summed per account, all accounts are changed by one statement, and rows are written together. The outcome of each
job is the same as if the jobs had been done one after another. Whatever is not the usual case (a sum that the balance does
not cover, an id that was seen before, a cost above its hold) is left to the functions of storage/postings.py, one job at a
time: here by calling them, or by raising NotTogether, after which the writer undoes the batch and does its jobs singly.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, TypeAlias

from storage.calls import insert_calls
from storage.database import Connection
from storage.key_spending import count_end
from storage.postings import (
    HOLD_COLUMNS,
    RETURN_TICKET,
    Balance,
    Held,
    Purpose,
    Refusal,
    Settled,
    Settlement,
    entries_of,
    hold_row,
    insert_entries,
    place_hold,
)

HoldOrder: TypeAlias = tuple[str, str, Sequence[int], int | None, str, int, int, Purpose]
"""The arguments of `place_hold`, behind its connection."""
SettleOrder: TypeAlias = tuple[Settlement, int]
"""The arguments of `post_settlement`, behind its connection."""

_INSERT_HOLDS = f"INSERT INTO hold ({HOLD_COLUMNS})"
_SETTLED_BEFORE = "SELECT request_id FROM call WHERE request_id IN (??)"
_END_HOLDS = """DELETE FROM hold WHERE request_id IN (??)
    RETURNING request_id, account_id, amount, byok_month, key_id, key_period"""

_HOLD_ACCOUNTS = """UPDATE account SET held = held + wanted.column2 FROM ({wanted}) AS wanted
    WHERE account.id = wanted.column1 AND status = 'active' AND balance - held >= wanted.column2
    RETURNING id, balance, held"""
_SETTLE_ACCOUNTS = """UPDATE account SET held = held - wanted.column2, balance = balance - wanted.column3,
        last_active = CASE WHEN last_active >= wanted.column4 THEN last_active ELSE wanted.column4 END
    FROM ({wanted}) AS wanted WHERE account.id = wanted.column1 RETURNING id, balance, held"""
ACCOUNTS_AT_ONCE = 32
"""Accounts changed by one statement: there is a statement for each number of them."""
NEVER = 0
"""An instant before any activity."""


class NotTogether(Exception):
    """Something in the batch is not the usual case; each job must be done by itself."""


def place_holds(connection: Connection, orders: Sequence[HoldOrder]) -> list[Held | Refusal]:
    """What `place_hold` does for each order. Raises NotTogether, and Conflict for an id that is held already."""
    request_ids = [order[0] for order in orders]
    if connection.execute(_SETTLED_BEFORE, (connection.many(request_ids),)).fetchone() is not None:
        raise NotTogether
    outcomes: dict[str, Held | Refusal] = {}
    rows: list[tuple[object, ...]] = []
    one_by_one: list[HoldOrder] = []
    accounts = _by_account(orders, [order[1] for order in orders])
    balances = _change_accounts(
        connection,
        _HOLD_ACCOUNTS,
        [(account_id, sum(order[2][0] for order in members)) for account_id, members in accounts.items()],
    )
    for account_id, members in accounts.items():
        balance = balances.get(account_id)
        if balance is None:
            one_by_one += members
            continue
        for request_id, _, amounts, _, owner, deadline, now, purpose in members:
            rows.append(hold_row(request_id, account_id, amounts[0], None, owner, deadline, now, purpose))
            outcomes[request_id] = Held(amounts[0], balance, free_byok=False)
    connection.insert(_INSERT_HOLDS, rows)
    for order in one_by_one:
        if order[0] in outcomes:
            raise NotTogether
        outcomes[order[0]] = place_hold(connection, *order)
    return [outcomes[request_id] for request_id in request_ids]


def post_settlements(connection: Connection, orders: Sequence[SettleOrder]) -> list[Settled]:
    """What `post_settlement` does for each order. Raises NotTogether if one has no hold of its own that covers it."""
    request_ids = [settlement.request_id for settlement, _ in orders]
    ended = connection.execute(_END_HOLDS, (connection.many(request_ids),)).fetchall()
    holds = {request_id: hold for request_id, *hold in ended}
    if len(holds) != len(orders):
        raise NotTogether
    accounts = _by_account(orders, [settlement.account_id for settlement, _ in orders])
    balances = _change_accounts(
        connection,
        _SETTLE_ACCOUNTS,
        [_sums(connection, account_id, members, holds) for account_id, members in accounts.items()],
    )
    settled: dict[str, Settled] = {}
    for account_id, members in accounts.items():
        _tell_in_turn(members, balances[account_id], settled)
    for settlement, _ in orders:
        _, amount, _, key_id, key_period = holds[settlement.request_id]
        if key_period is not None:
            count_end(connection, key_id, key_period, amount, settlement.cost)
    insert_entries(connection, [entry for settlement, now in orders for entry in entries_of(settlement, now)])
    insert_calls(
        connection,
        [
            (settlement.row, settlement.attempts, settled[settlement.request_id].balance.balance)
            for settlement, _ in orders
        ],
    )
    return [settled[request_id] for request_id in request_ids]


def _sums(
    connection: Connection,
    account_id: str,
    orders: Sequence[SettleOrder],
    holds: dict[str, list[Any]],
) -> tuple[str, int, int, int]:
    """What one account's calls free and cost together, and when the last that was delivered ended."""
    held = cost = 0
    active = NEVER
    for settlement, now in orders:
        owner, amount, month, *_ = holds[settlement.request_id]
        if owner != account_id or settlement.cost > amount:
            raise NotTogether
        held += amount
        cost += settlement.cost
        if settlement.delivered:
            active = max(active, now)
        elif month is not None:
            connection.execute(RETURN_TICKET, (account_id, month))
    return account_id, held, cost, active


def _tell_in_turn(orders: Sequence[SettleOrder], after: Balance, settled: dict[str, Settled]) -> None:
    """Each call of one account is told the balance as if it had been settled in its turn."""
    balance = after.balance + sum(settlement.cost for settlement, _ in orders)
    for settlement, _ in orders:
        cost = settlement.cost
        balance -= cost
        settled[settlement.request_id] = Settled(Balance(balance, after.held), cost)


def _change_accounts(connection: Connection, sql: str, wanted: Sequence[tuple[object, ...]]) -> dict[str, Balance]:
    """Change each account by its row; the balances of those that were changed."""
    balances: dict[str, Balance] = {}
    for start in range(0, len(wanted), ACCOUNTS_AT_ONCE):
        part = wanted[start : start + ACCOUNTS_AT_ONCE]
        values = [value for row in part for value in row]
        changed = connection.execute(_for_rows(sql, len(part[0]), len(part)), values).fetchall()
        for account_id, balance, held in changed:
            balances[account_id] = Balance(balance, held)
    return balances


@functools.cache
def _for_rows(sql: str, width: int, rows: int) -> str:
    row = f"({', '.join('?' * width)})"
    return sql.format(wanted=f"VALUES {', '.join([row] * rows)}")


def _by_account(orders: Sequence[Any], account_ids: Sequence[str]) -> dict[str, list[Any]]:
    members: dict[str, list[Any]] = {}
    for order, account_id in zip(orders, account_ids, strict=True):
        members.setdefault(account_id, []).append(order)
    return members
