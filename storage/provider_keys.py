"""Provider keys: a caller's own keys at providers (BYOK), sealed at rest, shown as their last four characters only."""

# ruff: noqa: S608 - statements are put together from our own column names, never from a value
from __future__ import annotations

from dataclasses import dataclass

from storage.accounts import UnknownAccount, find_account
from storage.database import Connection, Database
from storage.identifiers import new_id, now_microseconds
from storage.revision import RevisionCache, bump_revision
from storage.sealing import SealBroken, Sealer

_SHOWN = "id, account_id, provider, name, last_four, created"
_INSERT = """INSERT INTO provider_key (id, account_id, provider, name, sealed, last_four, created, removed)
    VALUES (?, ?, ?, ?, ?, ?, ?, NULL)"""
_LIST = f"SELECT {_SHOWN} FROM provider_key WHERE account_id = ? AND removed IS NULL ORDER BY created, id"
_REMOVE = """UPDATE provider_key SET removed = ?, sealed = ? WHERE id = ? AND account_id = ? AND removed IS NULL
    RETURNING id"""
_NEWEST = """SELECT id, account_id, provider, name, last_four, created, sealed FROM provider_key
    WHERE account_id = ? AND provider = ? AND removed IS NULL ORDER BY created DESC, id DESC LIMIT 1"""

_SEALED = """SELECT id, account_id, sealed FROM provider_key WHERE removed IS NULL AND id > ? ORDER BY id LIMIT ?"""
_RESEAL = "UPDATE provider_key SET sealed = ? WHERE id = ? AND removed IS NULL AND sealed = ?"
SEALED_AT_ONCE = 500


class UnknownProviderKey(Exception):
    """The account has no such provider key."""


@dataclass(frozen=True, slots=True)
class ProviderKeyRecord:
    """A registered provider key as its owner sees it: everything but the key."""

    provider_key_id: str
    account_id: str
    provider: str
    name: str
    last_four: str
    created: int


@dataclass(frozen=True, slots=True)
class SealedProviderKey:
    """A registered provider key with its sealed secret."""

    record: ProviderKeyRecord
    sealed: bytes


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """A provider key ready for use. The secret is left out of its representation, so that no log shows it."""

    provider_key_id: str
    provider: str
    secret: str

    def __repr__(self) -> str:
        return f"ProviderKey({self.provider_key_id!r}, {self.provider!r})"


def register_provider_key(
    connection: Connection, sealer: Sealer, account_id: str, provider: str, name: str, api_key: str
) -> ProviderKeyRecord:
    """Seal and keep a caller's key at a provider. Raises UnknownAccount and SealingUnavailable."""
    if find_account(connection, account_id) is None:
        raise UnknownAccount(f"there is no account {account_id}")
    row_id, now, last_four = new_id("pk_"), now_microseconds(), api_key[-4:]
    sealed = sealer.seal(api_key, account_id=account_id, row_id=row_id)
    connection.execute(_INSERT, (row_id, account_id, provider, name, sealed, last_four, now))
    bump_revision(connection)
    return ProviderKeyRecord(row_id, account_id, provider, name, last_four, now)


def list_provider_keys(connection: Connection, account_id: str) -> list[ProviderKeyRecord]:
    """The account's provider keys that were not removed, oldest first."""
    return [ProviderKeyRecord(*row) for row in connection.execute(_LIST, (account_id,)).fetchall()]


def remove_provider_key(connection: Connection, account_id: str, provider_key_id: str) -> None:
    """Remove a provider key and erase its secret. Raises UnknownProviderKey, also for another account's key."""
    values = (now_microseconds(), b"", provider_key_id, account_id)
    if connection.execute(_REMOVE, values).fetchone() is None:
        raise UnknownProviderKey(f"there is no provider key {provider_key_id}")
    bump_revision(connection)


def find_sealed(connection: Connection, account_and_provider: tuple[str, str]) -> SealedProviderKey | None:
    """The newest key the account registered at a provider and did not remove, or None."""
    row = connection.execute(_NEWEST, account_and_provider).fetchone()
    return None if row is None else SealedProviderKey(ProviderKeyRecord(*row[:-1]), bytes(row[-1]))


@dataclass(frozen=True, slots=True)
class SealedAnew:
    """What became of a page of provider keys; `last` is where the next page begins, None after the last."""

    sealed: int
    unreadable: int
    last: str | None


def seal_anew(connection: Connection, sealer: Sealer, behind: str = "") -> SealedAnew:
    """Seal a page of provider keys, those with ids above `behind`, with the newest secret key, unless they are already.

    A key that does not open is left as it is and counted. Raises SealingUnavailable.
    """
    rows = connection.execute(_SEALED, (behind, SEALED_AT_ONCE)).fetchall()
    sealed = unreadable = 0
    for row_id, account_id, stored in rows:
        before = bytes(stored)
        if sealer.is_newest(before):
            continue
        try:
            plain = sealer.open(before, account_id=account_id, row_id=row_id)
        except SealBroken:
            unreadable += 1
            continue
        after = sealer.seal(plain, account_id=account_id, row_id=row_id)
        # A key that was removed meanwhile stays erased.
        sealed += connection.execute(_RESEAL, (after, row_id, before)).rowcount
    if sealed:
        bump_revision(connection)
    return SealedAnew(sealed, unreadable, rows[-1][0] if len(rows) == SEALED_AT_ONCE else None)


class ProviderKeys:
    """Registered provider keys for use on calls. They are kept in memory sealed, and opened each time (1 µs)."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._sealer = sealer
        self._cache: RevisionCache[tuple[str, str], SealedProviderKey] = RevisionCache(
            database, find_sealed, keep_missing=True
        )

    async def find_for(self, account_id: str, provider: str) -> ProviderKey | None:
        """The newest key of the account at the provider, or None.

        Raises SealBroken, SealingUnavailable and StorageUnavailable.
        """
        found = await self._cache.get((account_id, provider))
        if found is None:
            return None
        row_id = found.record.provider_key_id
        secret = self._sealer.open(found.sealed, account_id=account_id, row_id=row_id)
        return ProviderKey(row_id, provider, secret)

    async def watch(self) -> None:
        """Follow changes, for ever. While this does not run, every call asks the database."""
        await self._cache.watch()

    def forget(self) -> None:
        """Forget every key at once, without waiting for the next look at the database."""
        self._cache.forget()
