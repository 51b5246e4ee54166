"""Provider keys: sealed at rest, opened for their owner's calls, gone when removed."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable

import pytest

from storage.accounts import UnknownAccount
from storage.database import Database
from storage.provider_keys import (
    ProviderKeyRecord,
    ProviderKeys,
    UnknownProviderKey,
    list_provider_keys,
    register_provider_key,
    remove_provider_key,
)
from storage.sealing import SealBroken, Sealer

NewAccount = Callable[..., str]
SECRET = "sk-deepseek-0123456789abcdef"


@pytest.fixture
def sealer() -> Sealer:
    """A sealer with a key."""
    return Sealer(base64.b64encode(b"k" * 32).decode())


def register(database: Database, sealer: Sealer, account: str, secret: str = SECRET) -> ProviderKeyRecord:
    with database.session() as connection:
        return register_provider_key(connection, sealer, account, "deepseek", "mine", secret)


async def test_a_registered_key_is_found_for_its_account_and_provider(
    database: Database, sealer: Sealer, new_account: NewAccount
) -> None:
    """The newest one; for nobody else and for no other provider. Its text shows in no representation."""
    owner, other = new_account(), new_account()
    register(database, sealer, owner, "sk-old")
    newest = register(database, sealer, owner)
    keys = ProviderKeys(database, sealer)

    found = await keys.find_for(owner, "deepseek")

    assert found is not None
    assert (newest.provider_key_id, SECRET) == (found.provider_key_id, found.secret)
    assert SECRET not in repr(found)
    assert [None, None] == [await keys.find_for(owner, "zhipu"), await keys.find_for(other, "deepseek")]


async def test_only_the_last_four_characters_are_shown_and_the_rest_is_sealed(
    database: Database, sealer: Sealer, new_account: NewAccount
) -> None:
    """Neither the list nor the table has the key."""
    account = new_account()
    record = register(database, sealer, account)

    with database.session() as connection:
        listed = list_provider_keys(connection, account)
        stored = [bytes(row[0]) for row in connection.execute("SELECT sealed FROM provider_key").fetchall()]

    assert [record] == listed
    assert "cdef" == record.last_four
    assert not any(SECRET.encode() in sealed for sealed in stored)


async def test_a_sealed_key_moved_to_another_account_does_not_open(
    database: Database, sealer: Sealer, new_account: NewAccount
) -> None:
    """Whoever can write to the table still cannot spend on another's key."""
    owner, thief = new_account(), new_account()
    register(database, sealer, owner)
    with database.session() as connection:
        connection.execute("UPDATE provider_key SET account_id = ?", (thief,))

    with pytest.raises(SealBroken):
        await ProviderKeys(database, sealer).find_for(thief, "deepseek")


async def test_a_removed_key_is_erased_and_stops_within_a_second(
    database: Database, sealer: Sealer, new_account: NewAccount
) -> None:
    """By another process, while this one keeps it in memory."""
    account = new_account()
    record = register(database, sealer, account)
    keys = ProviderKeys(database, sealer)
    watch = asyncio.create_task(keys.watch())
    while not keys._cache._kept:
        await keys.find_for(account, "deepseek")
    with database.session() as connection:
        remove_provider_key(connection, account, record.provider_key_id)

    async def until_gone() -> None:
        while await keys.find_for(account, "deepseek") is not None:
            await asyncio.sleep(0.01)

    await asyncio.wait_for(until_gone(), timeout=5)
    watch.cancel()
    with database.session() as connection:
        assert [] == list_provider_keys(connection, account)
        assert [b""] == [bytes(row[0]) for row in connection.execute("SELECT sealed FROM provider_key").fetchall()]


async def test_nobody_touches_another_account_s_key(
    database: Database, sealer: Sealer, new_account: NewAccount
) -> None:
    """It is as if it did not exist; and nothing is registered for nobody."""
    record = register(database, sealer, new_account())

    for account, key_id in ((new_account(), record.provider_key_id), (record.account_id, "pk_none")):
        with pytest.raises(UnknownProviderKey), database.session() as connection:
            remove_provider_key(connection, account, key_id)
    with pytest.raises(UnknownAccount):
        register(database, sealer, "acct_nobody")
