"""An ID token proves an address or it does not: forged ones of every kind are refused."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from console.id_tokens import Expected, IdTokenRefused, UnknownKeyId, read_id_token
from tests.fakes.openid import FakeOpenId, encoded, unsigned

NOW = 1_800_000_000
EXPECTED = Expected(issuer="https://issuer.example", client_id="us", nonce="n" * 20)
GOOD: dict[str, Any] = {
    "iss": "https://issuer.example",
    "aud": "us",
    "nonce": "n" * 20,
    "iat": NOW,
    "exp": NOW + 600,
    "email": "Ada@Example.com",
    "email_verified": True,
}


@pytest.fixture(scope="module")
def provider() -> FakeOpenId:
    """Somebody with a key."""
    return FakeOpenId()


def read(provider: FakeOpenId, token: str, now: float = NOW, expected: Expected = EXPECTED) -> str:
    return read_id_token(token, [{"kty": "EC", "kid": "k1"}, provider.public], expected, now)


def test_a_good_token_proves_its_address(provider: FakeOpenId) -> None:
    """In lower case; also with a list of one audience."""
    assert "ada@example.com" == read(provider, provider.sign(GOOD))
    assert "ada@example.com" == read(provider, provider.sign({**GOOD, "aud": ["us"], "azp": "us"}))


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://evil.example"},
        {"iss": "accounts.google.com"},
        {"iss": None},
        {"aud": "them"},
        {"aud": ["us", "them"]},
        {"aud": []},
        {"azp": "them"},
        {"nonce": "m" * 20},
        {"nonce": ["n" * 20]},
        {"nonce": None},
        {"exp": NOW - 60},
        {"exp": "9999999999"},
        {"exp": True},
        {"exp": None},
        {"iat": NOW + 61},
        {"iat": None},
        {"email_verified": False},
        {"email_verified": "true"},
        {"email_verified": 1},
        {"email_verified": None},
        {"email": "a@b.de, c@d.de"},
        {"email": "a@b.de\r\nBcc: c@d.de"},
        {"email": ["a@b.de"]},
        {"email": None},
    ],
)
def test_a_claim_that_is_not_as_it_should_be(provider: FakeOpenId, change: dict[str, Any]) -> None:
    """Another issuer, audience, question or time; an address that nobody has verified, or that is none."""
    claims = {name: claim for name, claim in {**GOOD, **change}.items() if claim is not None}
    with pytest.raises(IdTokenRefused):
        read(provider, provider.sign(claims))


def test_forged_signatures(provider: FakeOpenId) -> None:
    """No signature, a symmetric one made with the public key, another's key, another algorithm, a byte changed."""
    good = provider.sign(GOOD)
    head, body, signature = good.split(".")
    forged = [unsigned(GOOD, algorithm) for algorithm in ("none", "None", "NONE", "", "RS256", "HS256")]
    public = provider.key.as_pem(private=False)
    for secret in (public, public.strip(), json.dumps(provider.public).encode(), provider.public["n"].encode()):
        header = encoded(json.dumps({"alg": "HS256", "kid": "k1"}).encode())
        mac = hmac.new(secret, f"{header}.{body}".encode(), hashlib.sha256).digest()
        forged.append(f"{header}.{body}.{encoded(mac)}")
    stranger = RSAKey.generate_key(2048, {"kid": "k1"})
    forged.append(provider.sign(GOOD, key=stranger))
    forged.append(provider.sign(GOOD, key=stranger, header={"jwk": stranger.as_dict(private=False)}))
    evil = encoded(json.dumps({**GOOD, "email": "evil@example.com"}).encode())
    forged += [f"{head}.{evil}.{signature}", f"{head}.{body}.{signature[:-8]}AAAAAAAA", f"{head}.{body}."]
    forged += ["", "..", "a.b.c", f"{good}.x", good + "\n", "é.é.é", "x" * 20_000, "[]"]

    for token in forged:
        with pytest.raises(IdTokenRefused):
            read(provider, token)
    assert "ada@example.com" == read(provider, good)


def test_keys_that_do_not_count(provider: FakeOpenId) -> None:
    """Of another name, for encryption, of another algorithm, symmetric, too short."""
    token = provider.sign(GOOD)
    for change in ({"kid": "k2"}, {"use": "enc"}, {"alg": "RS512"}, {"kty": "oct", "k": "AAAA"}):
        with pytest.raises(UnknownKeyId):
            read_id_token(token, [{**provider.public, **change}], EXPECTED, NOW)
    with pytest.raises(UnknownKeyId):
        read(provider, provider.sign(GOOD, header={"kid": "k2"}))
    with pytest.raises(IdTokenRefused):
        read_id_token(token, [{"kty": "RSA", "kid": "k1", "n": "AQAB", "e": "AQAB"}], EXPECTED, NOW)


def test_google_s_own_name_without_the_scheme(provider: FakeOpenId) -> None:
    """Counts where Google is the issuer, and nowhere else."""
    google = Expected(issuer="https://accounts.google.com", client_id="us", nonce="n" * 20)
    token = provider.sign({**GOOD, "iss": "accounts.google.com"})

    assert "ada@example.com" == read(provider, token, expected=google)
