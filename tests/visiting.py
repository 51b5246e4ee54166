"""Somebody who is signed in, for tests of pages: known by a cookie of the test's own, and how a browser sends a form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlencode

from aiohttp import web

from console.pages.visiting import WORD
from middlewares.errors import Refusal
from tests.gateway import Gateway, Reply

COOKIE = "somebody"
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Somebody:
    """One who is signed in."""

    id: str
    account_id: str
    email: str


class Everybody:
    """Who is signed in, by the cookie; what comes from elsewhere says so in its Origin."""

    def __init__(self) -> None:
        self.known: dict[str, Somebody] = {}

    async def find(self, request: web.Request) -> Somebody | None:
        """Whose cookie it is."""
        return self.known.get(request.cookies.get(COOKIE, ""))

    def check_origin(self, request: web.Request) -> None:
        """Refuse what another page sent."""
        if request.headers.get("Origin") != f"http://{request.host}":
            raise Refusal("account_deactivated", "this is from another site")


class Browser:
    """What a browser of somebody's asks of the pages."""

    def __init__(self, gateway: Gateway, cookie: str = "") -> None:
        self._gateway = gateway
        self._cookie = f"{COOKIE}={cookie}"

    async def get(self, path: str) -> Reply:
        """A page."""
        return await self._ask("GET", path, b"", {})

    async def send(
        self, path: str, fields: dict[str, str], *, origin: str | None = None, kind: str = FORM, word: str | None = None
    ) -> Reply:
        """A form, as one of our pages would send it, unless ``origin``, ``kind`` or ``word`` say otherwise."""
        if word is None:
            word = await self.word()
        url = self._gateway.process.url
        headers = {"Content-Type": kind, "Origin": url if origin is None else origin}
        return await self._ask("POST", path, urlencode({**fields, WORD: word}).encode(), headers)

    async def follow(self, reply: Reply) -> Reply:
        """Where an answer leads to."""
        assert 303 == reply.status, reply.body
        return await self.get(reply.headers["Location"])

    async def word(self) -> str:
        """The word in the forms of this visitor's pages."""
        found = re.search(rf'name="{WORD}" value="([^"]*)"', (await self.get("/my/keys")).body.decode())
        return found[1] if found else ""

    async def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        url, sent = self._gateway.process.url + path, {"Cookie": self._cookie, **headers}
        async with self._gateway.session.request(
            method, url, data=body, headers=sent, allow_redirects=False
        ) as response:
            return Reply(response.status, response.headers, await response.read())
