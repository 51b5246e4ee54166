"""Holds of keys with a spending limit: covered by what is left of the limit as well as by the balance.

The account's row is locked first, as for every hold, and with it everything that its keys may spend: so the limit is looked
at and the hold is counted as one step, and calls at once never spend more than it together.
"""

from __future__ import annotations

from collections.abc import Sequence

from storage.accounts import UnknownAccount
from storage.connection import Connection
from storage.key_spending import KeyAllowance, KeyLimitReached, count_hold, find_allowance
from storage.postings import (
    FIND_HOLD,
    LOCK_ACCOUNT,
    Held,
    Purpose,
    Refusal,
    hold_as_it_stands,
    place_byok_hold,
    place_hold,
    release_hold,
)


def place_limited_hold(
    connection: Connection,
    request_id: str,
    account_id: str,
    amounts: Sequence[int],
    at_least: int | None,
    owner: str,
    deadline: int,
    now: int,
    purpose: Purpose,
) -> Held | Refusal:
    """What `place_hold` does, with no amount that is more than the limit of `purpose.key_id` leaves."""
    found = _look(connection, request_id, account_id, purpose, now)
    if not isinstance(found, KeyAllowance):
        if found is not None:
            return found
        return place_hold(connection, request_id, account_id, amounts, at_least, owner, deadline, now, purpose)
    remaining = found.remaining
    within = [amount for amount in amounts if amount <= remaining]
    if not within and at_least is not None and at_least <= remaining:
        within = [remaining]
    if not within:
        required = amounts[-1] if at_least is None else at_least
        return KeyLimitReached(found.limit, max(remaining, 0), required, found.resets)
    held = place_hold(connection, request_id, account_id, within, at_least, owner, deadline, now, purpose)
    if isinstance(held, Held):
        count_hold(connection, request_id, purpose.key_id, found.period, held.amount)
    return held


def place_limited_byok_hold(
    connection: Connection,
    request_id: str,
    account_id: str,
    month: str,
    free_requests: int,
    fee_bound: int,
    owner: str,
    deadline: int,
    now: int,
    purpose: Purpose,
) -> Held | Refusal:
    """What `place_byok_hold` does, with no fee that is more than the limit of `purpose.key_id` leaves."""
    found = _look(connection, request_id, account_id, purpose, now)
    if found is not None and not isinstance(found, KeyAllowance):
        return found
    arguments = (month, free_requests, fee_bound, owner, deadline, now, purpose)
    held = place_byok_hold(connection, request_id, account_id, *arguments)
    if found is None or not isinstance(held, Held):
        return held
    remaining = max(found.remaining, 0)
    if held.amount > remaining:
        release_hold(connection, request_id, account_id)
        return KeyLimitReached(found.limit, remaining, held.amount, found.resets)
    count_hold(connection, request_id, purpose.key_id, found.period, held.amount)
    return held


def _look(
    connection: Connection, request_id: str, account_id: str, purpose: Purpose, now: int
) -> KeyAllowance | Held | UnknownAccount | None:
    """Lock the account, and say what the key may spend (None: anything); or what there is to answer at once."""
    if connection.execute(LOCK_ACCOUNT, (account_id,)).fetchone() is None:
        return UnknownAccount(f"there is no account {account_id}")
    if connection.execute(FIND_HOLD, (request_id, account_id)).fetchone() is not None:
        return hold_as_it_stands(connection, request_id, account_id)
    return find_allowance(connection, purpose.key_id, purpose.started or now)
