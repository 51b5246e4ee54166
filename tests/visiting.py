"""Somebody who is signed in, for tests of pages: with a session in the books, and a browser that presents it."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from console.pages.visiting import WORD
from middlewares.sessions import COOKIE
from storage.identifiers import now_microseconds
from storage.sessions import begin_session
from tests.gateway import Gateway, Reply

FORM = "application/x-www-form-urlencoded"
HERE = {"public_url": "http://127.0.0.1:0"}
"""The settings of a server whose pages are where it listens."""


class Browser:
    """What a browser asks of the pages; without a session it is nobody's."""

    def __init__(self, gateway: Gateway, session: str = "") -> None:
        self._gateway = gateway
        self._cookie = f"{COOKIE}={session}"

    async def get(self, path: str) -> Reply:
        """A page."""
        return await self._ask("GET", path, b"", {})

    async def send(
        self, path: str, fields: dict[str, str], *, origin: str | None = None, kind: str = FORM, word: str | None = None
    ) -> Reply:
        """A form, as one of our pages would send it, unless ``origin``, ``kind`` or ``word`` say otherwise."""
        if word is None:
            word = await self.word()
        headers = {"Content-Type": kind, "Origin": self._gateway.url if origin is None else origin}
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
        url, sent = self._gateway.url + path, {"Cookie": self._cookie, **headers}
        async with self._gateway.session.request(
            method, url, data=body, headers=sent, allow_redirects=False
        ) as response:
            return Reply(response.status, response.headers, await response.read())


def sign_in(gateway: Gateway, *names: str) -> list[Browser]:
    """Browsers of people who are signed in: the first is the gateway's own account, the others have accounts of their own."""
    browsers = []
    for number, name in enumerate(names):
        account_id = gateway.account_id if number == 0 else gateway.new_account(name)[0]
        with gateway.database.session() as connection:
            now = now_microseconds()
            browsers.append(Browser(gateway, begin_session(connection, account_id, "email", now, now + 10**9)))
    return browsers
