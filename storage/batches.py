"""A batch as work on a batch: many holds, or many settlements, in as few statements as they allow.

Amounts are summed per account, so an account is changed once per batch, and rows are written together. The outcome of each
job is the same as if the jobs had been done one after another. Whatever is not the usual case (a sum that the balance does
not cover, an id that was seen before, a cost above its hold) is left to the functions of storage/postings.py, one job at a
time: here by calling them, or by raising NotTogether, after which the writer undoes the batch and does its jobs singly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from storage.calls import insert_calls
from storage.database import Connection
from storage.postings import (
    HOLD_ACCOUNT,
    HOLD_COLUMNS,
    RETURN_TICKET,
    SETTLE_ACCOUNT,
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
_END_HOLDS = "DELETE FROM hold WHERE request_id IN (??) RETURNING request_id, account_id, amount, byok_month"


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
    for account_id, members in _by_account(orders, [order[1] for order in orders]).items():
        total = sum(order[2][0] for order in members)
        changed = connection.execute(HOLD_ACCOUNT, (total, account_id, total)).fetchone()
        if changed is None:
            one_by_one += members
            continue
        balance = Balance(*changed)
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
    holds = {request_id: (account_id, amount, month) for request_id, account_id, amount, month in ended}
    if len(holds) != len(orders):
        raise NotTogether
    settled: dict[str, Settled] = {}
    for account_id, members in _by_account(orders, [settlement.account_id for settlement, _ in orders]).items():
        settled |= _settle_account(connection, account_id, members, holds)
    insert_entries(connection, [entry for settlement, now in orders for entry in entries_of(settlement, now)])
    insert_calls(
        connection,
        [
            (settlement.row, settlement.attempts, settled[settlement.request_id].balance.balance)
            for settlement, _ in orders
        ],
    )
    return [settled[request_id] for request_id in request_ids]


def _settle_account(
    connection: Connection,
    account_id: str,
    orders: Sequence[SettleOrder],
    holds: dict[str, tuple[str, int, str | None]],
) -> dict[str, Settled]:
    """Take the sum of the costs from the account; each call is told the balance as if it had been settled in its turn."""
    held = cost = 0
    active: int | None = None
    for settlement, now in orders:
        owner, amount, month = holds[settlement.request_id]
        if owner != account_id or settlement.cost > amount:
            raise NotTogether
        held += amount
        cost += settlement.cost
        if settlement.delivered:
            active = now if active is None else max(active, now)
        elif month is not None:
            connection.execute(RETURN_TICKET, (account_id, month))
    row = connection.execute(SETTLE_ACCOUNT, (held, cost, active, account_id)).fetchone()
    assert row is not None, "accounts are never deleted"
    balance, still_held = row[0] + cost, row[1]
    settled: dict[str, Settled] = {}
    for settlement, _ in orders:
        balance -= settlement.cost
        settled[settlement.request_id] = Settled(Balance(balance, still_held), settlement.cost)
    return settled


def _by_account(orders: Sequence[Any], account_ids: Sequence[str]) -> dict[str, list[Any]]:
    members: dict[str, list[Any]] = {}
    for order, account_id in zip(orders, account_ids, strict=True):
        members.setdefault(account_id, []).append(order)
    return members
