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
from storage.cursors import read_cursor, write_cursor
from storage.database import Connection, Database
from storage.identifiers import new_id, now_microseconds
from storage.revision import RevisionCache, bump_revision

LONGEST_NAME = 100
"""Characters of a key's name."""
_RANDOM_DIGITS = 56
_DIGITS = 64
_HEX = re.compile("[0-9a-f]{64}")

_TERMS = "spend_limit, spend_window, requests_per_minute, tokens_per_minute, concurrent_requests, allowed_models"
_COLUMNS = f"id, account_id, name, last_four, created, expires, revoked, last_used, {_TERMS}"
_INSERT = f"""INSERT INTO api_key (id, account_id, name, last_four, created, expires, {_TERMS}, hash)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_REVOKE = "UPDATE api_key SET revoked = COALESCE(revoked, ?) WHERE id = ?"
_BY_ID = f"SELECT {_COLUMNS} FROM api_key WHERE id = ?"
_OF_ACCOUNT = f"SELECT {_COLUMNS} FROM api_key WHERE account_id = ?"
_ACTIVE = "SELECT COUNT(*) FROM api_key WHERE account_id = ? AND revoked IS NULL"
_BY_HASH = f"""SELECT api_key.id, api_key.account_id, api_key.name, account.status, api_key.expires, api_key.revoked, {_TERMS}
    FROM api_key JOIN account ON account.id = api_key.account_id WHERE api_key.hash = ?"""


class MalformedKey(Exception):
    """The text is not a key of ours: wrong prefix, length or checksum."""


class UnknownKey(Exception):
    """There is no such key."""


class KeyRevoked(Exception):
    """The key was revoked; that is final."""


class KeyExpired(Exception):
    """The key's time is over."""


def check_name(name: str) -> str:
    """A key's name as it is kept. Raises ValueError for one that a person could not read."""
    if not name.isprintable() or not name.strip() or len(name) > LONGEST_NAME:
        raise ValueError(f"expected 1 to {LONGEST_NAME} printable characters")
    return name.strip()


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What a key may do; None where nothing is set. `spend_window` is one of storage/key_spending.py."""

    spend_limit: int | None = None
    spend_window: str | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    allowed_models: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as its owner sees it: everything but the key. Instants in microseconds."""

    key_id: str
    account_id: str
    name: str
    last_four: str
    created: int
    expires: int | None
    revoked: int | None
    last_used: int | None
    terms: KeyTerms


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Whose key it is, and what it may do."""

    key_id: str
    account_id: str
    name: str
    account_status: str
    expires: int | None
    revoked: int | None
    terms: KeyTerms

    @property
    def is_restricted(self) -> bool:
        """Whether it may do less than its account: such a key must not make or change keys, or it would free itself."""
        return self.expires is not None or self.terms != UNLIMITED


UNLIMITED = KeyTerms()
"""The terms of a key that may do whatever its account may."""


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
    connection: Connection,
    account_id: str,
    name: str,
    prefix: str,
    *,
    expires: int | None = None,
    terms: KeyTerms = UNLIMITED,
) -> tuple[KeyRecord, str]:
    """Make a key for an account. Returns its record and the full key, which nobody can show again.

    Raises UnknownAccount.
    """
    if find_account(connection, account_id) is None:
        raise UnknownAccount(f"there is no account {account_id}")
    key, key_id, now = new_key(prefix), new_id("key_"), now_microseconds()
    last_four = key[-4:]
    values = (key_id, account_id, name, last_four, now, expires, *terms_as_row(terms), hash_key(key))
    connection.execute(_INSERT, values)
    bump_revision(connection)
    return KeyRecord(key_id, account_id, name, last_four, now, expires, None, None, terms), key


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
    rows = connection.execute(f"{_OF_ACCOUNT} ORDER BY created, id", (account_id,)).fetchall()
    return [_record(row) for row in rows]


def page_keys(
    connection: Connection, account_id: str, limit: int, cursor: str | None = None
) -> tuple[list[KeyRecord], str | None]:
    """A page of the account's keys, newest first, and the cursor of the next page, None after the last.

    Raises InvalidCursor.
    """
    behind, position = ("", ()) if cursor is None else (" AND (created, id) < (?, ?)", read_cursor(cursor))
    sql = f"{_OF_ACCOUNT}{behind} ORDER BY created DESC, id DESC LIMIT ?"
    rows = connection.execute(sql, (account_id, *position, limit + 1)).fetchall()
    page = [_record(row) for row in rows[:limit]]
    return page, write_cursor(page[-1].created, page[-1].key_id) if len(rows) > limit else None


def count_active_keys(connection: Connection, account_id: str) -> int:
    """How many keys of the account are not revoked."""
    row = connection.execute(_ACTIVE, (account_id,)).fetchone()
    assert row is not None, "a count without rows is 0"
    return int(row[0])


def find_key_holder(connection: Connection, key_hash: str) -> KeyHolder | None:
    """Whose key has this hash, whatever its state, or None."""
    row = connection.execute(_BY_HASH, (key_hash,)).fetchone()
    if row is None:
        return None
    key_id, account_id, name, status, expires, revoked, *terms = row
    return KeyHolder(key_id, account_id, name, status, expires, revoked, _terms(*terms))


class KeyRing:
    """Keys looked up on every call, from memory where that is safe (storage/revision.py says when)."""

    def __init__(self, database: Database, prefix: str, process_id: str = "") -> None:
        """`process_id`: of the process whose keys these are, where others are to know what it has forgotten."""
        self._prefix = prefix
        self._cache: RevisionCache[str, KeyHolder] = RevisionCache(database, find_key_holder, process_id=process_id)

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

    async def forget_everywhere(self) -> None:
        """Forget every key, and wait until all gateways on these books have: afterwards a revoked key works nowhere."""
        await self._cache.forget_everywhere()


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"


def terms_as_row(terms: KeyTerms) -> tuple[object, ...]:
    """The values of a key's terms, in the order of their columns."""
    models = None if terms.allowed_models is None else json.dumps(terms.allowed_models)
    limits = (terms.requests_per_minute, terms.tokens_per_minute, terms.concurrent_requests)
    return (terms.spend_limit, terms.spend_window, *limits, models)


def _record(row: tuple[Any, ...]) -> KeyRecord:
    key_id, account_id, name, last_four, created, expires, revoked, last_used, *terms = row
    return KeyRecord(key_id, account_id, name, last_four, created, expires, revoked, last_used, _terms(*terms))


def _terms(
    spend_limit: int | None,
    spend_window: str | None,
    requests_per_minute: int | None,
    tokens_per_minute: int | None,
    concurrent_requests: int | None,
    allowed_models: str | None,
) -> KeyTerms:
    models = None if allowed_models is None else tuple(json.loads(allowed_models))
    return KeyTerms(spend_limit, spend_window, requests_per_minute, tokens_per_minute, concurrent_requests, models)
