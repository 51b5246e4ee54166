"""Signing in under attack and under faults: links raced for, other sites' pages, other people's sessions, dead processes."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from proxy.app import ROUTES
from tests.fakes.raw_upstream import RawUpstream
from tests.fakes.smtp import FakeSmtp
from tests.faults.processes import SERVER, started, write_files
from tests.faults.serving import open_account
from tests.gateway import book
from tests.journeys.mix import simulated_providers
from tests.signing_in import Desk, running_desk

SEED = int(os.environ.get("FIND_TOKEN_MIX_SEED", random.randrange(2**32)))
ROUNDS, AT_ONCE = (200, 50) if os.environ.get("FIND_TOKEN_EXAM") == "1" else (3, 12)
EVIL = "https://evil.example"
CONFIRM, WHO = "/v1/auth/email/confirm", "/v1/auth/session"


@asynccontextmanager
async def two_gateways(url: str, alpha: RawUpstream, beta: RawUpstream) -> AsyncIterator[tuple[Desk, Desk]]:
    """Two gateways on one database, behind one public address."""
    smtp = await FakeSmtp().start()
    catalogue, server = book(alpha.url, beta.url), {"public_url": "http://gateway.test"}
    async with (
        running_desk(catalogue, url, smtp=smtp, server=server) as one,
        running_desk(catalogue, url, smtp=smtp, server=server, name="bea") as two,
    ):
        yield one, two
    await smtp.close()


OURS = {"Origin": "http://gateway.test"}


async def test_a_link_that_many_use_at_once_signs_one_in(
    new_database: Callable[[], str], alpha: RawUpstream, beta: RawUpstream
) -> None:
    """Over two gateways: one session and one account for a link, whoever comes first; everybody else is told the same."""
    async with two_gateways(new_database(), alpha, beta) as (one, two):
        for number in range(ROUNDS):
            email = f"raced{number}@example.com"
            asked = await one.browser().ask("POST", "/v1/auth/email", {"email": email}, headers=OURS)
            assert 202 == asked.status
            mail = (await one.smtp.wait_for(number + 1))[-1]
            replies = await asyncio.gather(
                *(
                    (one, two)[turn % 2].browser().ask("POST", CONFIRM, {"token": mail.token}, headers=OURS)
                    for turn in range(AT_ONCE)
                )
            )
            assert [200] + [400] * (AT_ONCE - 1) == sorted(reply.status for reply in replies)
            assert {(400, "link_invalid")} == {reply.code for reply in replies if reply.status != 200}
            owned = one.rows(
                "SELECT account_id FROM session JOIN account a ON a.id = account_id WHERE email = ?", email
            )
            assert 1 == len(owned)


async def test_a_session_that_is_ended_is_over_in_every_gateway(
    new_database: Callable[[], str], alpha: RawUpstream, beta: RawUpstream
) -> None:
    """S-095, S-096: not within a second, at once; no cache has to hear of it."""
    async with two_gateways(new_database(), alpha, beta) as (one, two):
        for number in range(ROUNDS):
            browser = one.browser()
            await browser.ask("POST", "/v1/auth/email", {"email": f"out{number}@example.com"}, headers=OURS)
            mail = (await one.smtp.wait_for(number + 1))[-1]
            assert 200 == (await browser.ask("POST", CONFIRM, {"token": mail.token}, headers=OURS)).status
            elsewhere = two.browser()
            elsewhere.session.cookie_jar.update_cookies(browser.cookies)
            assert [200] * 5 == [(await elsewhere.ask("GET", WHO)).status for _ in range(5)]
            ended = await browser.ask("POST", "/v1/auth/sign-out-everywhere", headers=OURS)
            assert {"ended": 1} == ended.json
            afterwards = await asyncio.gather(*(elsewhere.ask("GET", "/v1/user/balance") for _ in range(AT_ONCE)))
            assert {(401, "not_signed_in")} == {reply.code for reply in afterwards}


async def test_another_site_can_neither_read_nor_change_anything(
    new_database: Callable[[], str], alpha: RawUpstream, beta: RawUpstream
) -> None:
    """S-101: with the victim's cookie, on every route: no CORS, and whatever could change something is refused."""
    async with running_desk(book(alpha.url, beta.url), new_database()) as desk:
        browser = await desk.sign_in("victim@example.com")
        made = (await browser.ask("POST", "/v1/user/keys", {"name": "<img src=x onerror=alert(1)>"})).json
        before = (await browser.ask("GET", "/v1/user/keys")).json
        changing = [(method, path) for method, path in ROUTES if method != "GET" and path[:2] != "/-"]
        assert len(changing) > 10
        for method, path in changing:
            address = path.replace("{id}", made["id"])
            for body, form in (({"name": "stolen", "email": "e@example.com"}, None), (None, {"name": "stolen"})):
                reply = await browser.ask(method, address, body, form=form, headers={"Origin": EVIL})
                nobody = 404 if path.startswith("/operator") else 403  # Who is no operator finds nothing there.
                assert reply.status in (400, 401, nobody, 503), (method, path, reply.status)
                if path.startswith(("/v1/user/", "/v1/auth/", "/sign")):
                    assert 403 == reply.status, (method, path)
                assert [] == [name for name in reply.headers if name.lower().startswith("access-control-")]
        for path in ("/v1/user/keys", "/v1/user/balance", WHO, "/sign-in"):
            reply = await browser.ask("GET", path, headers={"Origin": EVIL})
            assert [] == [name for name in reply.headers if name.lower().startswith("access-control-")]
            assert "private, no-store" == reply.headers["Cache-Control"]
        assert before == (await browser.ask("GET", "/v1/user/keys")).json
        assert 1 == len(desk.rows("SELECT id FROM session WHERE ended IS NULL"))


async def test_other_people_s_sessions(new_database: Callable[[], str], alpha: RawUpstream, beta: RawUpstream) -> None:
    """S-093: every spelling of another's session answers as one that does not exist, with a session and with a key."""
    print(f"seed {SEED}")
    draw = random.Random(SEED)
    async with running_desk(book(alpha.url, beta.url), new_database()) as desk:
        mine, other = await desk.sign_in("mine@example.com"), await desk.sign_in("other@example.com")
        [session] = (await mine.ask("GET", "/v1/user/sessions")).json["data"]
        name, number = session["id"], int(session["id"][-4:], 16)
        near = [f"{name[:-4]}{(number + draw.randint(1, 50) * draw.choice((-1, 1))) % 65536:04x}" for _ in range(10)]
        spellings = [name, name.upper(), f"{name}?user_id={name}", f"{name}%00", f"{name}%20", f"{name},{name}", *near]
        for spelling in spellings:
            for headers in ({}, {"Authorization": f"Bearer {desk.gateway.key}"}):
                refused = await other.ask("DELETE", f"/v1/user/sessions/{spelling}", headers=headers)
                missing = await other.ask("DELETE", "/v1/user/sessions/session_0", headers=headers)
                assert (404, {**missing.error, "request_id": ""}) == (
                    refused.status,
                    {**refused.error, "request_id": ""},
                )
        assert 200 == (await mine.ask("GET", WHO)).status
        assert name not in (await other.ask("GET", "/v1/user/sessions")).body.decode()


async def test_logs_and_books_hold_no_secret_and_a_mail_outlives_its_process(tmp_path: Path) -> None:
    """S-089, and a process that is killed while it sends: another sends what it had taken up.

    The log is read at its most talkative; the books with all that SQLite has written.
    """
    smtp, url = await FakeSmtp().start(), f"sqlite:///{tmp_path}/books.db"
    mail = {**smtp.settings(), "username": "", "password": "canary-of-the-password"}
    google = {"client_id": "id", "client_secret": "canary-of-google", "issuer": "http://127.0.0.1:9"}
    server = {**SERVER, "public_url": "http://127.0.0.1:0"}
    secrets = ["canary-of-the-password", "canary-of-google"]
    async with simulated_providers() as simulator, aiohttp.ClientSession() as session:
        sections = {"server": server, "mail": mail, "google": google, "logs": {"level": "debug"}}
        settings = write_files(tmp_path, url, simulator.url, **sections)
        key = open_account(url)
        smtp.fail_next("silence")
        async with started(tmp_path, "serve", "--config", str(settings)) as first:
            wish = {"email": "canary@example.com"}
            async with session.post(f"{first.url}/v1/auth/email", json=wish) as asked:
                assert 202 == asked.status
            async with asyncio.timeout(20):
                await smtp.silent.wait()
            first.process.kill()
            await first.died()
        with sqlite3.connect(tmp_path / "books.db") as books:
            assert [("waiting", 1)] == books.execute("SELECT state, attempts FROM mail").fetchall()
            # Its turn comes by itself a minute later.
            books.execute("UPDATE mail SET due = 0")
        async with started(tmp_path, "serve", "--config", str(settings)) as second:
            [taken] = await smtp.wait_for(1)
            async with session.get(taken.link) as button:
                assert 404 != button.status
            token = {"token": taken.token}
            async with session.post(f"{second.url}/v1/auth/email/confirm", json=token) as done:
                assert 200 == done.status, await done.text()
                cookie = done.cookies["findtoken_session"].value
            async with session.get(f"{second.url}/sign-in/google", allow_redirects=False) as away:
                assert 503 == away.status
            async with session.get(f"{second.told['admin_url']}/metrics") as page:
                metrics = await page.text()
            assert 0 == await second.stop()
        logs = first.log.read_text() + second.log.read_text()
    await smtp.close()

    written = b"".join(path.read_bytes() for path in tmp_path.glob("books.db*"))
    for secret in (*secrets, taken.token, cookie, key):
        assert secret not in logs + metrics, secret
        assert secret.encode() not in written, secret
    assert "canary@example.com" not in logs + metrics
    assert "nobody can sign in with Google" in logs, "what is searched is the log"
