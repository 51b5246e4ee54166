"""Changing keys reaches every gateway, and their last use is kept without a call waiting for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from storage.database import Database, StorageUnavailable
from storage.key_changes import USES_SECONDS, KeyUses, change_key
from storage.keys import KeyTerms, UnknownKey, create_key, find_key
from storage.revision import find_revision


async def test_a_change_is_whole_and_heard(database: Database, new_account: Callable[..., str]) -> None:
    """Name, expiry and every term; the revision moves; nobody changes another account's key."""
    account = new_account()
    terms = KeyTerms(5, "weekly", 1, 2, 3, ("glm-4",))
    with database.session() as connection:
        record, _ = create_key(connection, account, "before", "sk-ft_")
    with database.session() as connection:
        revision = find_revision(connection)

    with database.session() as connection:
        changed = change_key(connection, account, record.key_id, name="after", expires=9, terms=terms)
    for account_id, key_id in ((new_account(), record.key_id), (account, "key_none")):
        with pytest.raises(UnknownKey), database.session() as connection:
            change_key(connection, account_id, key_id, name="x", expires=None, terms=KeyTerms())

    with database.session() as connection:
        assert changed == find_key(connection, record.key_id)
        assert revision + 1 == find_revision(connection)
    assert ("after", 9, terms) == (changed.name, changed.expires, changed.terms)


async def test_uses_are_written_once_a_minute(
    database: Database, new_account: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first at once, then the latest of each minute; what the database could not take is not lost."""
    account = new_account()
    with database.session() as connection:
        record, _ = create_key(connection, account, "x", "sk-ft_")
    uses, writes = KeyUses(database), 0
    run = database.run

    async def count(job: object, *arguments: object, **options: object) -> object:
        nonlocal writes
        writes += 1
        if writes == 2:
            raise StorageUnavailable("away")
        return await run(job, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(database, "run", count)

    def last_used() -> int | None:
        with database.session() as connection:
            found = find_key(connection, record.key_id)
        assert found is not None
        return found.last_used

    await uses.write(0)
    uses.note(record.key_id)
    await uses.write(1)
    first = last_used()
    uses.note(record.key_id)
    await uses.write(1 + USES_SECONDS / 2)
    assert (first, 1) == (last_used(), writes)
    await uses.write(1 + USES_SECONDS)
    assert (first, 2) == (last_used(), writes)
    await uses.write(2 + USES_SECONDS)
    second = last_used()
    await uses.write(3 + 2 * USES_SECONDS)

    assert first is not None
    assert second is not None
    assert second > first
    assert 3 == writes
