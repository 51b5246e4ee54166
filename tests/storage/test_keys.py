"""Keys: shown once, refused offline when mistyped, refused everywhere once revoked."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.accounts import AccountInactive, UnknownAccount, set_status
from storage.database import Database
from storage.keys import (
    KeyExpired,
    KeyRecord,
    KeyRevoked,
    KeyRing,
    MalformedKey,
    UnknownKey,
    create_key,
    list_keys,
    looks_valid,
    new_key,
    revoke_key,
)

PREFIX = "sk-ft_"
NewAccount = Callable[..., str]


def make_key(database: Database, account: str, expires: int | None = None) -> tuple[KeyRecord, str]:
    with database.session() as connection:
        return create_key(connection, account, "laptop", PREFIX, expires=expires)


def test_a_key_is_its_prefix_and_64_hex_digits_that_check() -> None:
    """70 characters with our prefix; every new one differs."""
    keys = {new_key(PREFIX) for _ in range(100)}

    assert 100 == len(keys)
    assert all(re.fullmatch(r"sk-ft_[0-9a-f]{64}", key) and looks_valid(key, PREFIX) for key in keys)


@settings(deadline=None, print_blob=True)
@given(st.integers(0, 69), st.characters(codec="utf-8"))
def test_one_wrong_character_is_always_noticed(position: int, character: str) -> None:
    """CRC32 sees every single error; so do the prefix and the alphabet."""
    key = new_key(PREFIX)
    changed = key[:position] + character + key[position + 1 :]

    assert (changed == key) == looks_valid(changed, PREFIX)


@settings(deadline=None, print_blob=True)
@given(st.text())
def test_any_text_is_judged_without_failing(text: str) -> None:
    """No text breaks the check, and none passes it by chance."""
    assert not looks_valid(text, PREFIX)
    assert not looks_valid(PREFIX + text, PREFIX)


async def test_the_full_key_is_never_stored(
    sqlite_database: Database, account_maker_for: Callable[[Database], NewAccount]
) -> None:
    """What is kept is its hash and its last four characters."""
    account = account_maker_for(sqlite_database)()
    record, key = make_key(sqlite_database, account)

    with sqlite_database.session() as connection:
        stored = connection.execute("SELECT * FROM api_key").fetchall()
        listed = list_keys(connection, account)

    assert key not in repr(stored)
    assert hashlib.sha256(key.encode()).hexdigest() in repr(stored)
    assert [record] == listed
    assert key[-4:] == record.last_four


async def test_a_key_finds_its_holder(database: Database, new_account: NewAccount) -> None:
    """From the database at first, from memory while revisions are watched."""
    account = new_account()
    record, key = make_key(database, account)
    ring = KeyRing(database, PREFIX)

    unwatched = [await ring.find(key), await ring.find(key)]
    watch = asyncio.create_task(ring.watch())
    watched = [await ring.find(key) for _ in range(3)]
    watch.cancel()

    assert {(account, record.key_id)} == {(holder.account_id, holder.key_id) for holder in (*unwatched, *watched)}


async def test_keys_that_do_not_hold_are_refused_each_in_its_way(database: Database, new_account: NewAccount) -> None:
    """Malformed, unknown, revoked, expired, of a deactivated account."""
    account, idle = new_account(), new_account()
    revoked, revoked_key = make_key(database, account)
    _, expired_key = make_key(database, account, expires=time.time_ns() // 1000)
    _, future_key = make_key(database, account, expires=time.time_ns() // 1000 + 60_000_000)
    _, idle_key = make_key(database, idle)
    with database.session() as connection:
        first = revoke_key(connection, revoked.key_id, account_id=account)
        again = revoke_key(connection, revoked.key_id)
        set_status(connection, idle, "deactivated")
    ring = KeyRing(database, PREFIX)

    for key, refusal in (
        ("sk-ft_", MalformedKey),
        (new_key("sk-or_"), MalformedKey),
        (new_key(PREFIX), UnknownKey),
        (revoked_key, KeyRevoked),
        (expired_key, KeyExpired),
        (idle_key, AccountInactive),
    ):
        with pytest.raises(refusal):
            await ring.find(key)
    assert account == (await ring.find(future_key)).account_id
    assert first == again
    assert first.revoked is not None


async def test_a_revoked_key_stops_within_a_second(database: Database, new_account: NewAccount) -> None:
    """By another process, while this one keeps it in memory; forgetting makes it at once."""
    record, key = make_key(database, new_account())
    ring = KeyRing(database, PREFIX)
    watch = asyncio.create_task(ring.watch())
    while not ring._cache._kept:
        await ring.find(key)
    with database.session() as connection:
        revoke_key(connection, record.key_id)

    async def until_refused() -> None:
        while True:
            await ring.find(key)
            await asyncio.sleep(0.01)

    with pytest.raises(KeyRevoked):
        await asyncio.wait_for(until_refused(), timeout=5)
    ring.forget()
    with pytest.raises(KeyRevoked):
        await ring.find(key)
    watch.cancel()


async def test_nobody_revokes_another_account_s_key(database: Database, new_account: NewAccount) -> None:
    """It is as if it did not exist; and no key is made for nobody."""
    record, _ = make_key(database, new_account())

    for key_id, account in ((record.key_id, new_account()), ("key_none", None)):
        with pytest.raises(UnknownKey), database.session() as connection:
            revoke_key(connection, key_id, account_id=account)
    with pytest.raises(UnknownAccount):
        make_key(database, "acct_nobody")


async def test_allowed_models_are_read_as_names(database: Database, new_account: NewAccount) -> None:
    """Limits set on a key reach whoever asks for its holder."""
    record, key = make_key(database, new_account())
    with database.session() as connection:
        connection.execute('UPDATE api_key SET allowed_models = \'["glm-4", "kimi-k2"]\', spend_limit = 5')

    holder = await KeyRing(database, PREFIX).find(key)

    assert (("glm-4", "kimi-k2"), 5, None) == (
        holder.terms.allowed_models,
        holder.terms.spend_limit,
        record.terms.allowed_models,
    )
