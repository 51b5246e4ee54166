"""Sealing: provider keys and kept answers are encrypted before they are stored, each bound to its own row.

AES-256-GCM with a random nonce. What it is, the account's and the row's id are authenticated along with it, so a sealed
value copied to another row, table or account does not open. A sealed value is

    1 byte version (1) · 4 bytes id of the secret key · 12 bytes nonce · ciphertext and tag

To change the secret key, put the new one in front of the old one: the first seals, all of them open.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION = b"\x01"
_NONCE = slice(5, 17)
_KEY_BYTES = 32


class SealBroken(Exception):
    """A sealed value does not open: another row's, another secret key's, or changed."""


class SealingUnavailable(Exception):
    """There is no secret key, so nothing can be sealed or opened."""


class Sealer:
    """Seals and opens with the operator's secret key: 32 bytes in base64; several with commas between, newest first."""

    def __init__(self, secret_key_base64: str) -> None:
        """Raises ValueError for a key that is not 32 bytes in base64; an empty text is a sealer that refuses."""
        parts = [part.strip() for part in secret_key_base64.split(",") if part.strip()]
        keys = [_read_key(part) for part in parts]
        self._ciphers = {hashlib.sha256(key).digest()[:4]: AESGCM(key) for key in keys}

    @property
    def is_available(self) -> bool:
        """Whether there is a secret key."""
        return bool(self._ciphers)

    def seal(self, plain: str, *, account_id: str, row_id: str) -> bytes:
        """Encrypt a provider key for one row of one account. Raises SealingUnavailable."""
        return self._seal(plain.encode(), _bound_to("provider key", account_id, row_id))

    def is_newest(self, sealed: bytes) -> bool:
        """Whether a value was sealed with the key that seals now."""
        return sealed[:1] == _VERSION and sealed[1:5] == next(iter(self._ciphers), b"")

    def open(self, sealed: bytes, *, account_id: str, row_id: str) -> str:
        """Decrypt what `seal` made for the same row and account. Raises SealBroken and SealingUnavailable."""
        return self._open(sealed, _bound_to("provider key", account_id, row_id)).decode()

    def seal_answer(self, answer: bytes, *, account_id: str, row_id: str) -> bytes:
        """Encrypt an answer for one row of one account. Raises SealingUnavailable."""
        return self._seal(answer, _bound_to("answer", account_id, row_id))

    def open_answer(self, sealed: bytes, *, account_id: str, row_id: str) -> bytes:
        """Decrypt what `seal_answer` made for the same row and account. Raises SealBroken and SealingUnavailable."""
        return self._open(sealed, _bound_to("answer", account_id, row_id))

    def _seal(self, plain: bytes, bound_to: bytes) -> bytes:
        self._require_key()
        key_id, cipher = next(iter(self._ciphers.items()))
        nonce = os.urandom(12)
        return _VERSION + key_id + nonce + cipher.encrypt(nonce, plain, bound_to)

    def _open(self, sealed: bytes, bound_to: bytes) -> bytes:
        self._require_key()
        cipher = self._ciphers.get(sealed[1:5])
        if sealed[:1] != _VERSION or cipher is None:
            raise SealBroken("a stored value was sealed with another secret key")
        try:
            return cipher.decrypt(sealed[_NONCE], sealed[_NONCE.stop :], bound_to)
        except (InvalidTag, ValueError):
            raise SealBroken("a stored value was changed, or belongs to another row") from None

    def _require_key(self) -> None:
        if not self._ciphers:
            raise SealingUnavailable(
                "provider keys cannot be stored: set FIND_TOKEN_SECRET_KEY to 32 random bytes in base64"
            )


def _read_key(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != _KEY_BYTES:
        raise ValueError("the secret key is 32 bytes in base64; `openssl rand -base64 32` makes one")
    return key


def _bound_to(what: str, account_id: str, row_id: str) -> bytes:
    """What a sealed value is bound to; lengths first, so that no two pairs of ids read the same."""
    account, row = account_id.encode(), row_id.encode()
    return b"find-token %s %d:%s %d:%s" % (what.encode(), len(account), account, len(row), row)
