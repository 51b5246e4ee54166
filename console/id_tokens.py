"""Reads an ID token of OpenID Connect: who vouches for which address, or a refusal. Nothing in it is believed before its
signature is checked, with one algorithm and the provider's own keys. No I/O.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from billing.values import named_value
from storage.accounts import is_mailable

ALGORITHM: Final = "RS256"
"""The only one: what a token says of its own algorithm is compared with it and decides nothing."""
CLOCKS_MAY_DIFFER: Final = 60
LONGEST_TOKEN: Final = 16_384
SMALLEST_KEY_BITS: Final = 2048


class IdTokenRefused(Exception):
    """This is no proof of an address. The sentence is for the log and says nothing of the token's content."""


class UnknownKeyId(IdTokenRefused):
    """No key that we have can have signed it; the provider may have changed its keys."""


@named_value
class Expected:
    """What a token must say to be an answer to our question."""

    issuer: str
    client_id: str
    nonce: str


def read_id_token(token: str, keys: Sequence[Mapping[str, Any]], expected: Expected, now: float) -> str:
    """The verified address, in lower case. Raises IdTokenRefused.

    ``keys`` are the provider's, as its JWKS has them; those of another kind are passed over.
    """
    from joserfc import jws  # where Google is off nobody waits for it
    from joserfc.errors import JoseError
    from joserfc.jwk import RSAKey

    if len(token) > LONGEST_TOKEN or token.count(".") != 2:
        raise IdTokenRefused("it has not the form of an ID token")
    try:
        header = jws.extract_compact(token.encode()).headers()
        if header.get("alg") != ALGORITHM:
            raise IdTokenRefused(f"it is not signed with {ALGORITHM}")
        usable = [key for key in keys if key.get("kid") == header.get("kid") and _is_signing_key(key)]
        if not usable:
            raise UnknownKeyId("it is signed with a key that is not there")
        key = RSAKey.import_key(dict(usable[0]))
        if key.raw_value.key_size < SMALLEST_KEY_BITS:
            raise IdTokenRefused("the key is too short")
        payload = jws.deserialize_compact(token, key, algorithms=[ALGORITHM]).payload
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise IdTokenRefused(f"its signature is not good ({type(error).__name__})") from None
    return _read_claims(payload, expected, now)


def _is_signing_key(key: Mapping[str, Any]) -> bool:
    return key.get("kty") == "RSA" and key.get("use", "sig") == "sig" and key.get("alg", ALGORITHM) == ALGORITHM


def _read_claims(payload: bytes, expected: Expected, now: float) -> str:
    """The address of a token that is the provider's, if it is for us, of now, and an answer to our question."""
    try:
        claims = json.loads(payload)
    except (ValueError, RecursionError):
        raise IdTokenRefused("its claims cannot be read") from None
    if not isinstance(claims, dict):
        raise IdTokenRefused("its claims cannot be read")
    if claims.get("iss") not in _names_of(expected.issuer):
        raise IdTokenRefused("another issuer made it")
    if claims.get("aud") not in (expected.client_id, [expected.client_id]):
        raise IdTokenRefused("it is for another client")
    if claims.get("azp", expected.client_id) != expected.client_id:
        raise IdTokenRefused("it was given to another client")
    if not _instant(claims, "exp") > now - CLOCKS_MAY_DIFFER:
        raise IdTokenRefused("it has expired")
    if not _instant(claims, "iat") < now + CLOCKS_MAY_DIFFER:
        raise IdTokenRefused("it was made in the future")
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), expected.nonce.encode()):
        raise IdTokenRefused("it answers another question")
    email = claims.get("email")
    if claims.get("email_verified") is not True or not isinstance(email, str) or not is_mailable(email):
        raise IdTokenRefused("it vouches for no address")
    return email.lower()


def _names_of(issuer: str) -> tuple[str, ...]:
    """Google has said its own name without the scheme, too, and documents both."""
    return (issuer, "accounts.google.com") if issuer == "https://accounts.google.com" else (issuer,)


def _instant(claims: Mapping[str, Any], name: str) -> float:
    found = claims.get(name)
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise IdTokenRefused(f"it lacks {name}")
    return float(found)
