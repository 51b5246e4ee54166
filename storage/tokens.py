"""Secrets that we hand out once, and keep as a hash: what is in a mailed link, and what a signed-in browser presents."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Final

_BYTES: Final = 32
_FORM: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


def new_token() -> str:
    """256 random bits, in letters that a link and a cookie carry as they are."""
    return secrets.token_urlsafe(_BYTES)


def hash_token(token: str) -> str:
    """What is stored of a token; a plain hash is enough for a secret of 256 random bits."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def looks_like_token(text: str) -> bool:
    """Whether a text can be a token at all; what cannot is not looked up."""
    return _FORM.fullmatch(text) is not None
