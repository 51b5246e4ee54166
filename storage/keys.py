"""Keys: what a caller proves itself with. Shown once, stored as SHA-256, refused for good the moment they are revoked.

A key is a prefix and 64 hex digits: 56 at random (224 bits), and the CRC32 of those 56, so that a mistyped or invented
key is refused without asking the database. A plain hash is enough for a secret of 224 random bits.
"""

# ruff: noqa: S608 - statements are put together from our own column names, never from a value
from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import time
import zlib
from dataclasses import dataclass
from typing import Any

from storage.accounts import AccountInactive as AccountInactive
from storage.accounts import UnknownAccount, find_account
from storage.database import Connection, Database
from storage.identifiers import new_id, now_microseconds
from storage.revision import RevisionCache, bump_revision

_RANDOM_DIGITS = 56
_DIGITS = 64
_HEX = re.compile("[0-9a-f]{64}")

_COLUMNS = """id, account_id, name, last_four, created, expires, revoked,
    spend_limit, spend_window, requests_per_minute, allowed_models"""
_INSERT = """INSERT INTO api_key (id, account_id, name, hash, last_four, created, expires, revoked,
    spend_limit, spend_window, requests_per_minute, allowed_models)
    VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL, NULL, NULL)"""
_REVOKE = "UPDATE api_key SET revoked = COALESCE(revoked, ?) WHERE id = ?"
_BY_ID = f"SELECT {_COLUMNS} FROM api_key WHERE id = ?"
_OF_ACCOUNT = f"SELECT {_COLUMNS} FROM api_key WHERE account_id = ? ORDER BY created, id"
_BY_HASH = """SELECT api_key.id, api_key.account_id, api_key.name, account.status, api_key.expires, api_key.revoked,
    api_key.spend_limit, api_key.spend_window, api_key.requests_per_minute, api_key.allowed_models
    FROM api_key JOIN account ON account.id = api_key.account_id WHERE api_key.hash = ?"""


class MalformedKey(Exception):
    """The text is not a key of ours: wrong prefix, length or checksum."""


class UnknownKey(Exception):
    """There is no such key."""


class KeyRevoked(Exception):
    """The key was revoked; that is final."""


class KeyExpired(Exception):
    """The key's time is over."""


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as its owner sees it: everything but the key. Instants in microseconds, limits None where not set."""

    key_id: str
    account_id: str
    name: str
    last_four: str
    created: int
    expires: int | None
    revoked: int | None
    spend_limit: int | None
    spend_window: str | None
    requests_per_minute: int | None
    allowed_models: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Whose key it is, and what it may do."""

    key_id: str
    account_id: str
    name: str
    account_status: str
    expires: int | None
    revoked: int | None
    spend_limit: int | None
    spend_window: str | None
    requests_per_minute: int | None
    allowed_models: tuple[str, ...] | None


def new_key(prefix: str) -> str:
    """A new key: `prefix`, 56 random hex digits and their checksum."""
    body = secrets.token_hex(_RANDOM_DIGITS // 2)
    return f"{prefix}{body}{_checksum(body)}"


def looks_valid(key: str, prefix: str) -> bool:
    """Whether a text has the form and the checksum of a key. Bounded work, no database."""
    digits = key[len(prefix) :]
    if len(digits) != _DIGITS or not key.startswith(prefix) or not _HEX.fullmatch(digits):
        return False
    return hmac.compare_digest(_checksum(digits[:_RANDOM_DIGITS]), digits[_RANDOM_DIGITS:])


def hash_key(key: str) -> str:
    """What of a key is stored: SHA-256 in hex."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def create_key(
    connection: Connection, account_id: str, name: str, prefix: str, *, expires: int | None = None
) -> tuple[KeyRecord, str]:
    """Make a key for an account. Returns its record and the full key, which nobody can show again.

    Raises UnknownAccount.
    """
    if find_account(connection, account_id) is None:
        raise UnknownAccount(f"there is no account {account_id}")
    key, key_id, now = new_key(prefix), new_id("key_"), now_microseconds()
    last_four = key[-4:]
    connection.execute(_INSERT, (key_id, account_id, name, hash_key(key), last_four, now, expires))
    bump_revision(connection)
    return KeyRecord(key_id, account_id, name, last_four, now, expires, None, None, None, None, None), key


def revoke_key(connection: Connection, key_id: str, *, account_id: str | None = None) -> KeyRecord:
    """Revoke a key for good; every gateway refuses it within a second. Again changes nothing.

    Raises UnknownKey, also for a key of another account than `account_id`, where that is given.
    """
    record = find_key(connection, key_id)
    if record is None or account_id not in (None, record.account_id):
        raise UnknownKey(f"there is no key {key_id}")
    connection.execute(_REVOKE, (now_microseconds(), key_id))
    bump_revision(connection)
    revoked = find_key(connection, key_id)
    assert revoked is not None, "keys are never deleted"
    return revoked


def find_key(connection: Connection, key_id: str) -> KeyRecord | None:
    """The key with this id, or None."""
    row = connection.execute(_BY_ID, (key_id,)).fetchone()
    return None if row is None else _record(row)


def list_keys(connection: Connection, account_id: str) -> list[KeyRecord]:
    """The account's keys, oldest first, revoked ones included."""
    return [_record(row) for row in connection.execute(_OF_ACCOUNT, (account_id,)).fetchall()]


def find_key_holder(connection: Connection, key_hash: str) -> KeyHolder | None:
    """Whose key has this hash, whatever its state, or None."""
    row = connection.execute(_BY_HASH, (key_hash,)).fetchone()
    return None if row is None else KeyHolder(*_with_models(row))


class KeyRing:
    """Keys looked up on every call, from memory where that is safe (storage/revision.py says when)."""

    def __init__(self, database: Database, prefix: str) -> None:
        self._prefix = prefix
        self._cache: RevisionCache[str, KeyHolder] = RevisionCache(database, find_key_holder)

    async def find(self, key: str) -> KeyHolder:
        """Who holds this key.

        Raises MalformedKey, UnknownKey, KeyRevoked, KeyExpired, AccountInactive and StorageUnavailable.
        """
        if len(key) != len(self._prefix) + _DIGITS:
            raise MalformedKey("this is not a key of ours")
        key_hash = hash_key(key)
        holder = self._cache.kept(key_hash)
        if holder is None:
            # Seen for the first time, so it may be anything.
            if not looks_valid(key, self._prefix):
                raise MalformedKey("this is not a key of ours")
            holder = await self._cache.get(key_hash)
        if holder is None:
            raise UnknownKey("there is no such key")
        if holder.revoked is not None:
            raise KeyRevoked(f"the key {holder.key_id} was revoked")
        if holder.expires is not None and holder.expires <= time.time_ns() // 1000:
            raise KeyExpired(f"the key {holder.key_id} has expired")
        if holder.account_status != "active":
            raise AccountInactive(f"account {holder.account_id} is deactivated")
        return holder

    async def watch(self) -> None:
        """Follow revocations, for ever. While this does not run, every call asks the database."""
        await self._cache.watch()

    def forget(self) -> None:
        """Forget every key at once, without waiting for the next look at the database."""
        self._cache.forget()


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"


def _record(row: tuple[Any, ...]) -> KeyRecord:
    return KeyRecord(*_with_models(row))


def _with_models(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row with its last column read from JSON."""
    models = row[-1]
    return (*row[:-1], None if models is None else tuple(json.loads(models)))
