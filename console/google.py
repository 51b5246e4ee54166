"""Signing in with Google, or whoever else speaks OpenID Connect: the only door to that provider.

The code flow with PKCE: the browser is sent to the provider with a `state`, a `nonce` and the hash of a verifier, and comes
back with a code, which we exchange for an ID token ourselves. All three secrets wait in a cookie of that browser meanwhile, so
that nobody can be signed in by a link that somebody else began.

Addresses come from the operator's `google.issuer` and from what that says of itself over TLS, never from a caller; redirects
are not followed, answers are small and quick, and keys are fetched again at most once a minute.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import aiohttp

from console.id_tokens import Expected, IdTokenRefused, UnknownKeyId, read_id_token

CALLBACK_PATH: Final = "/sign-in/google/callback"
ANSWER_SECONDS: Final = 5.0
LARGEST_ANSWER: Final = 262_144
KEPT_SECONDS: Final = 3600.0
"""How long the provider's description and keys are believed."""
AGAIN_SECONDS: Final = 60.0
"""How often keys are fetched because a token names one that is not known: anybody can invent names."""
LONGEST_CODE: Final = 2_048


class GoogleUnavailable(Exception):
    """The provider does not answer, or not in a way that can be read."""


class GoogleRefused(Exception):
    """The provider, or its answer, does not prove an address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoogleRules:
    """The operator's settings, as they are now."""

    client_id: str
    client_secret: str = field(repr=False)
    issuer: str
    public_url: str

    @property
    def redirect_uri(self) -> str:
        """Where the provider sends people back to."""
        return self.public_url + CALLBACK_PATH


@dataclass(frozen=True, slots=True)
class Journey:
    """What a browser keeps while it is away at the provider."""

    state: str
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)

    @classmethod
    def begin(cls) -> Journey:
        """Three new secrets."""
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48))

    @classmethod
    def read(cls, text: str) -> Journey | None:
        """What `write` wrote; None for anything else."""
        parts = text.split(".")
        lengths = [len(part) for part in parts]
        return cls(*parts) if lengths == [32, 32, 64] and text.isascii() else None

    def write(self) -> str:
        """As a cookie's text."""
        return f"{self.state}.{self.nonce}.{self.verifier}"


@dataclass(slots=True)
class _Known:
    """What the provider said of itself, and when."""

    issuer: str
    description: Mapping[str, Any]
    keys: Sequence[Mapping[str, Any]]
    fetched: float
    keys_fetched: float


class Google:
    """The provider that ``rules`` names. One for a process; its description and keys are kept for an hour."""

    def __init__(self, rules: Callable[[], GoogleRules]) -> None:
        self._rules = rules
        self._known: _Known | None = None

    @property
    def on(self) -> bool:
        """Whether the operator has set it up."""
        return bool(self._rules().client_id)

    async def address_for(self, journey: Journey) -> str:
        """Where a browser is sent. Raises GoogleUnavailable."""
        rules, known = self._rules(), await self._describe()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(journey.verifier.encode()).digest()).rstrip(b"=").decode()
        question = {
            "client_id": rules.client_id,
            "response_type": "code",
            "scope": "openid email",
            "redirect_uri": rules.redirect_uri,
            "state": journey.state,
            "nonce": journey.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{known.description['authorization_endpoint']}?{urlencode(question)}"

    async def verified_email(self, journey: Journey, code: str) -> str:
        """The address that the provider vouches for. Raises GoogleUnavailable and GoogleRefused."""
        if not 0 < len(code) <= LONGEST_CODE:
            raise GoogleRefused("the code has not the form of one")
        rules, known = self._rules(), await self._describe()
        question = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": rules.redirect_uri,
            "client_id": rules.client_id,
            "client_secret": rules.client_secret,
            "code_verifier": journey.verifier,
        }
        answer = await _ask("POST", str(known.description["token_endpoint"]), question)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise GoogleRefused("the provider gave no ID token")
        expected = Expected(issuer=rules.issuer, client_id=rules.client_id, nonce=journey.nonce)
        try:
            try:
                return read_id_token(token, known.keys, expected, time.time())
            except UnknownKeyId:
                keys = await self._fetch_keys_again(known)
                return read_id_token(token, keys, expected, time.time())
        except IdTokenRefused as error:
            raise GoogleRefused(f"the ID token is refused: {error}") from None

    async def _describe(self) -> _Known:
        issuer, now = self._rules().issuer, time.monotonic()
        known = self._known
        if known is not None and known.issuer == issuer and now - known.fetched < KEPT_SECONDS:
            return known
        description = await _ask("GET", f"{issuer}/.well-known/openid-configuration")
        if description.get("issuer") != issuer:
            raise GoogleUnavailable("the provider describes itself as another")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            # An https issuer must not lead to what anybody on the way can read.
            address = urlsplit(str(description.get(name, "")))
            if not address.netloc or address.scheme not in ("https", urlsplit(issuer).scheme):
                raise GoogleUnavailable(f"the provider's {name} is no address to be used")
        keys = await _fetch_keys(str(description["jwks_uri"]))
        self._known = _Known(issuer, description, keys, now, now)
        return self._known

    async def _fetch_keys_again(self, known: _Known) -> Sequence[Mapping[str, Any]]:
        now = time.monotonic()
        if now - known.keys_fetched >= AGAIN_SECONDS:
            known.keys_fetched = now
            known.keys = await _fetch_keys(str(known.description["jwks_uri"]))
        return known.keys


async def _fetch_keys(address: str) -> list[Mapping[str, Any]]:
    keys = (await _ask("GET", address)).get("keys")
    if not isinstance(keys, list):
        raise GoogleUnavailable("the provider's keys cannot be read")
    return [key for key in keys[:100] if isinstance(key, dict)]


async def _ask(method: str, address: str, form: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The JSON object that the provider answers. Raises GoogleUnavailable, and GoogleRefused for a 4xx."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.request(method, address, data=form, allow_redirects=False) as response,
        ):
            if 400 <= response.status < 500 and form is not None:
                raise GoogleRefused(f"the provider answers {response.status}")
            if response.status != 200:
                raise GoogleUnavailable(f"the provider answers {response.status}")
            parts = bytearray()
            async for part in response.content.iter_any():
                parts += part
                if len(parts) > LARGEST_ANSWER:
                    raise GoogleUnavailable("the provider's answer is too large")
        answer = json.loads(parts)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise GoogleUnavailable(f"the provider cannot be reached: {type(error).__name__}") from None
    except (ValueError, RecursionError):
        raise GoogleUnavailable("the provider's answer cannot be read") from None
    if not isinstance(answer, dict):
        raise GoogleUnavailable("the provider's answer cannot be read")
    return answer
