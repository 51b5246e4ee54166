"""Holds of keys with a limit: never more than the limit leaves, whatever is asked in whatever order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from storage.audit import audit
from storage.database import Database
from storage.identifiers import microseconds, now_microseconds
from storage.key_spending import KeyAllowance, KeyLimitReached, find_allowance
from storage.keys import KeyTerms, create_key
from storage.ledger import InsufficientCredit, Ledger, Purpose

TODAY = microseconds(datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0))


def limited_key(database: Database, account: str, limit: int | None, window: str = "daily") -> str:
    with database.session() as connection:
        record, _ = create_key(
            connection, account, "limited", "sk-ft_", terms=KeyTerms(spend_limit=limit, spend_window=window)
        )
    return record.key_id


def allowance(database: Database, key_id: str) -> KeyAllowance:
    with database.session(snapshot=True) as connection:
        found = find_allowance(connection, key_id, TODAY)
    assert found is not None
    return found


def asked(key_id: str) -> dict[str, Any]:
    """What a hold of this key is asked with."""
    purpose = Purpose(key_id, "/v1/chat/completions", "deepseek-chat", "credits", streamed=False, started=TODAY)
    return {"deadline": now_microseconds() + 10**9, "purpose": purpose, "key_limited": True}


async def test_the_limit_covers_what_the_balance_would(
    database: Database, ledger: Ledger, new_account: Callable[..., str], make_settlement: Callable[..., Any]
) -> None:
    """The dearest amount that fits, else all that is left, else a refusal with figures; what returns can be held again."""
    account = new_account(1_000_000)
    key = limited_key(database, account, 1000)
    terms = asked(key)

    first = await ledger.hold("r1", account, (2000, 600, 50), **terms)
    again = await ledger.hold("r1", account, (2000, 600, 50), **terms)
    rest = await ledger.hold("r2", account, (600,), at_least=10, **terms)
    with pytest.raises(KeyLimitReached) as refused:
        await ledger.hold("r3", account, (600,), at_least=10, **terms)
    await ledger.settle(make_settlement("r1", account, 90, 10, key_id=key, created=TODAY))
    await ledger.release("r2", account)
    await ledger.settle(make_settlement("r1", account, 90, 10, key_id=key, created=TODAY))

    assert (600, 600, 400) == (first.amount, again.amount, rest.amount)
    assert (1000, 0, 10) == (refused.value.limit, refused.value.remaining, refused.value.required)
    assert TODAY + 86_400_000_000 == refused.value.resets
    left = allowance(database, key)
    assert (100, 0, 900) == (left.spent, left.held, left.remaining)
    with database.session(snapshot=True) as connection:
        assert [] == audit(connection)


async def test_the_balance_still_counts(database: Database, ledger: Ledger, new_account: Callable[..., str]) -> None:
    """A limit above the balance gives nobody more than there is, and a refusal is not counted."""
    account = new_account(100)
    key = limited_key(database, account, 1000, "none")

    with pytest.raises(InsufficientCredit):
        await ledger.hold("r1", account, (500,), **asked(key))
    held = await ledger.hold("r2", account, (500,), at_least=1, **asked(key))

    assert 100 == held.amount
    assert (0, 100) == (allowance(database, key).spent, allowance(database, key).held)


async def test_hundreds_at_once_never_pass_it(
    database: Database, ledger: Ledger, new_account: Callable[..., str], make_settlement: Callable[..., Any]
) -> None:
    """Two keys of one account, calls that end and calls that are given back, all at the same moment."""
    account = new_account(10**9)
    keys = [limited_key(database, account, 1000), limited_key(database, account, 333)]
    served = dict.fromkeys(keys, 0)

    async def call(number: int) -> None:
        key, request_id = keys[number % 2], f"req_{number}"
        try:
            held = await ledger.hold(request_id, account, (37,), **asked(key))
        except KeyLimitReached:
            return
        assert 37 == held.amount
        if number % 3:
            await ledger.settle(make_settlement(request_id, account, 30, 7, key_id=key, created=TODAY))
            served[key] += 1
        else:
            await ledger.release(request_id, account)

    await asyncio.gather(*[call(number) for number in range(300)])

    for key, limit in zip(keys, (1000, 333), strict=True):
        left = allowance(database, key)
        assert (37 * served[key], 0) == (left.spent, left.held)
        assert 0 < left.spent <= limit
    with database.session(snapshot=True) as connection:
        assert [] == audit(connection)


async def test_own_provider_keys_count_their_fee(
    database: Database, ledger: Ledger, new_account: Callable[..., str]
) -> None:
    """A free call is free for a key whose limit is spent, too; a fee that the limit does not cover is refused."""
    account = new_account(1000)
    key = limited_key(database, account, 50)
    month = {"month": "2026-11", "free_requests": 1}

    free = await ledger.hold_byok("r1", account, fee_bound=60, **month, **asked(key))
    with pytest.raises(KeyLimitReached):
        await ledger.hold_byok("r2", account, fee_bound=60, **month, **asked(key))
    paid = await ledger.hold_byok("r3", account, fee_bound=50, **month, **asked(key))
    with pytest.raises(KeyLimitReached):
        await ledger.hold_byok("r4", account, fee_bound=1, **month, **asked(key))

    assert (True, 0, False, 50) == (free.free_byok, free.amount, paid.free_byok, paid.amount)
    assert 50 == allowance(database, key).held
    assert 50 == (await ledger.balance(account)).held


async def test_a_limit_that_was_taken_away_meanwhile(
    database: Database, ledger: Ledger, new_account: Callable[..., str]
) -> None:
    """Whoever still believes in it holds as if there were none."""
    account = new_account(1000)
    key = limited_key(database, account, None)

    assert 900 == (await ledger.hold("r1", account, (900,), **asked(key))).amount
    assert (
        0 == (await ledger.hold_byok("r2", account, month="2026-11", free_requests=1, fee_bound=9, **asked(key))).amount
    )
