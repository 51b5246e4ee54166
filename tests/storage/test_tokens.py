"""Secrets that are handed out once: random, in letters of links and cookies, kept as a hash."""

from __future__ import annotations

import hashlib

from storage.tokens import hash_token, looks_like_token, new_token


def test_tokens_differ_and_have_one_form() -> None:
    """256 bits in 43 letters."""
    tokens = {new_token() for _ in range(100)}

    assert 100 == len(tokens)
    assert all(looks_like_token(token) and token.isascii() for token in tokens)


def test_what_is_kept_is_a_hash() -> None:
    """SHA-256, of whatever a browser presents, also of what is no text."""
    assert hashlib.sha256(b"abc").hexdigest() == hash_token("abc")
    assert 64 == len(hash_token("\udce4"))


def test_what_cannot_be_a_token() -> None:
    """Another length, other letters, a line break behind it."""
    token = new_token()
    for text in ("", token[1:], token + "A", token[:-1] + "=", token[:-1] + "é", token + "\n"):
        assert not looks_like_token(text), text
