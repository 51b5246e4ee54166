"""A gateway that mails, for tests: over a fake mail server, with what people and their browsers do over the wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from providers.catalogue import Catalogue
from tests.fakes.smtp import FakeSmtp, Taken
from tests.gateway import Gateway, Reply, running_gateway


class Browser:
    """Somebody's browser: keeps cookies, says where it comes from, follows nothing by itself."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """A request with the origin of our own pages, unless ``headers`` has another ("" for none)."""
        sent = {"Origin": self.url, **({} if body is None else {"Content-Type": "application/json"}), **(headers or {})}
        sent = {name: value for name, value in sent.items() if value}
        data: Any = form if body is None else json.dumps(body).encode()
        address = path if path.startswith("http") else self.url + path
        async with self.session.request(method, address, data=data, headers=sent, allow_redirects=False) as response:
            return Reply(response.status, response.headers, await response.read())

    @property
    def cookies(self) -> dict[str, str]:
        """What it presents."""
        return {cookie.key: cookie.value for cookie in self.session.cookie_jar if cookie.value}

    async def close(self) -> None:
        """Close it."""
        await self.session.close()


class Desk:
    """A gateway with its mail server, and browsers before it."""

    def __init__(self, gateway: Gateway, smtp: FakeSmtp) -> None:
        self.gateway = gateway
        self.smtp = smtp
        self.browsers: list[Browser] = []

    def browser(self) -> Browser:
        """Another browser, that knows nothing."""
        self.browsers.append(Browser(self.gateway.url))
        return self.browsers[-1]

    async def ask_for_link(self, email: str, browser: Browser | None = None) -> Taken:
        """Ask for a link, and get it by mail."""
        before = len(self.smtp.taken)
        asked = await (browser or self.browser()).ask("POST", "/v1/auth/email", {"email": email})
        assert (202, {"sent": True}) == (asked.status, asked.json)
        return (await self.smtp.wait_for(before + 1))[-1]

    async def ask_for_link_from(self, origin: str, email: str) -> Taken:
        """Ask for a link as a page of this origin does, and get it by mail."""
        asked = await self.browser().ask("POST", "/v1/auth/email", {"email": email}, headers={"Origin": origin})
        assert 202 == asked.status, asked.body
        return (await self.smtp.wait_for(1))[-1]

    async def sign_in(self, email: str = "person@example.com") -> Browser:
        """A browser in which somebody is signed in."""
        browser = self.browser()
        mail = await self.ask_for_link(email, browser)
        done = await browser.ask("POST", "/v1/auth/email/confirm", {"token": mail.token})
        assert 200 == done.status, done.body
        return browser

    def execute(self, sql: str, *values: object) -> None:
        """Change the books behind the gateway's back."""
        with self.gateway.database.session() as connection:
            connection.execute(sql, values)

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """What is in the books."""
        with self.gateway.database.session(snapshot=True) as connection:
            return connection.execute(sql, values).fetchall()


@asynccontextmanager
async def running_desk(
    catalogue: Catalogue, database_url: str, *, smtp: FakeSmtp | None = None, **sections: Mapping[str, Any]
) -> AsyncIterator[Desk]:
    """A gateway that mails to a fake server of its own, or to one that outlives it; network limits are wide."""
    used = smtp or await FakeSmtp().start()
    server = {"public_url": "http://127.0.0.1:0", **sections.pop("server", {})}
    sections = {
        "mail": {**used.settings(), **sections.pop("mail", {})},
        "sign_in": {"requests_per_minute": 1000, **sections.pop("sign_in", {})},
        **sections,
    }
    try:
        async with running_gateway(catalogue, database_url, server=server, **sections) as gateway:
            desk = Desk(gateway, used)
            try:
                yield desk
            finally:
                for browser in desk.browsers:
                    await browser.close()
    finally:
        if smtp is None:
            await used.close()
