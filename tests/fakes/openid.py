"""A provider of OpenID Connect on a real socket: it checks what the gateway asks, and can answer with any token."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID, CLIENT_SECRET = "client.of.the.gateway", "secret of the gateway"

Claims = dict[str, Any]


def encoded(part: bytes) -> str:
    """Base64 as tokens have it."""
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


class FakeOpenId:
    """`start` it, use `url` as google.issuer. ``forge`` makes another ID token of the claims than one that is well signed."""

    def __init__(self) -> None:
        self.url = ""
        self.key = RSAKey.generate_key(2048, {"kid": "k1", "use": "sig", "alg": "RS256"})
        self.email: Any = "Person@Example.com"
        self.changes: Claims = {}
        """Claims that are not as they should be; None leaves one out."""
        self.forge: Callable[[Claims], str] | None = None
        self.description: dict[str, Any] = {}
        """What its description says otherwise."""
        self.token_status = 200
        self.asked: list[str] = []
        """The paths that were asked for."""
        self._codes: dict[str, dict[str, str]] = {}
        self._runner: web.AppRunner | None = None

    async def start(self) -> FakeOpenId:
        """Listen on a port of the system's choice."""
        application = web.Application()
        application.router.add_get("/.well-known/openid-configuration", self._describe)
        application.router.add_get("/authorize", self._authorize)
        application.router.add_post("/token", self._token)
        application.router.add_get("/keys", self._keys)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def settings(self) -> dict[str, str]:
        """The table [google] that leads here."""
        return {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "issuer": self.url}

    def change_key(self) -> None:
        """From now on sign with a new key, under a new name."""
        self.key = RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "use": "sig", "alg": "RS256"})

    def sign(self, claims: Claims, *, key: Any = None, header: Claims | None = None) -> str:
        """A token that is signed with RS256."""
        return jwt.encode(
            {"alg": "RS256", "kid": "k1", **(header or {})}, claims, key or self.key, algorithms=["RS256"]
        )

    @property
    def public(self) -> dict[str, Any]:
        """Its public key, as its key page has it."""
        return dict(self.key.as_dict(private=False))

    async def _describe(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        ends = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/keys"}
        described = {"issuer": self.url, **{name: self.url + path for name, path in ends.items()}}
        return web.json_response({**described, **self.description})

    async def _authorize(self, request: web.Request) -> web.Response:
        asked = dict(request.query)
        assert (CLIENT_ID, "code", "S256") == (
            asked["client_id"],
            asked["response_type"],
            asked["code_challenge_method"],
        )
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        raise web.HTTPFound(f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}")

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        asked = self._codes.pop(str(form["code"]), None)
        if self.token_status != 200 or asked is None:
            return web.json_response({"error": "invalid_grant"}, status=self.token_status if asked else 400)
        challenge = encoded(hashlib.sha256(str(form["code_verifier"]).encode()).digest())
        assert (CLIENT_ID, CLIENT_SECRET, challenge, asked["redirect_uri"]) == (
            form["client_id"],
            form["client_secret"],
            asked["code_challenge"],
            form["redirect_uri"],
        )
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "sub": "1179",
            "email": self.email,
            "email_verified": True,
            "nonce": asked["nonce"],
            "iat": now,
            "exp": now + 600,
            **self.changes,
        }
        claims = {name: claim for name, claim in claims.items() if claim is not None}
        kid = self.public["kid"]
        token = self.forge(claims) if self.forge else self.sign(claims, header={"kid": kid})
        return web.json_response({"access_token": "at", "token_type": "Bearer", "expires_in": 3600, "id_token": token})

    async def _keys(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        return web.json_response({"keys": [{"kty": "EC", "kid": "other"}, self.public]})


def unsigned(claims: Claims, algorithm: str = "none", kid: str = "k1") -> str:
    """A token without a signature that says so."""
    header = encoded(json.dumps({"alg": algorithm, "kid": kid}).encode())
    return f"{header}.{encoded(json.dumps(claims).encode())}."
