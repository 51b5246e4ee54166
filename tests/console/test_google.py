"""Signing in with Google, against a provider of our own on a real socket: the whole way, and everything that is not right."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from console.google import CALLBACK_PATH, Google, GoogleRefused, GoogleRules, GoogleUnavailable, Journey
from console.sign_in_pages import SIGNED_IN
from tests.fakes.openid import CLIENT_ID, CLIENT_SECRET, FakeOpenId, unsigned
from tests.fakes.raw_upstream import RawUpstream
from tests.gateway import Reply, book
from tests.signing_in import Browser, Desk, running_desk


@pytest.fixture
async def provider() -> AsyncIterator[FakeOpenId]:
    """Who vouches for people."""
    running = await FakeOpenId().start()
    yield running
    await running.close()


@pytest.fixture
async def desk(
    provider: FakeOpenId, sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream
) -> AsyncIterator[Desk]:
    """A gateway whose operator has set the provider up."""
    async with running_desk(book(alpha.url, beta.url), sqlite_database_url, google=provider.settings()) as running:
        yield running


async def begin(browser: Browser) -> str:
    """Leave for the provider; the address it sends the browser back to."""
    away = await browser.ask("GET", "/sign-in/google", headers={"Origin": ""})
    assert 303 == away.status, away.body
    back = await browser.ask("GET", away.headers["Location"], headers={"Origin": ""})
    assert 302 == back.status
    return back.headers["Location"]


async def travel(browser: Browser) -> Reply:
    """Leave for the provider, and come back."""
    return await browser.ask("GET", await begin(browser), headers={"Origin": ""})


async def test_the_whole_way(desk: Desk) -> None:
    """A new account, signed in; the same account by mail afterwards; what the journey needed is forgotten."""
    browser = desk.browser()
    assert b"Sign in with Google" in (await browser.ask("GET", "/sign-in")).body

    done = await travel(browser)

    assert (303, SIGNED_IN) == (done.status, done.headers["Location"])
    assert ["findtoken_session"] == list(browser.cookies)
    who = (await browser.ask("GET", "/v1/auth/session")).json
    by_mail = await (await desk.sign_in("person@example.com")).ask("GET", "/v1/auth/session")
    assert ("person@example.com", who["account_id"]) == (who["email"], by_mail.json["account_id"])
    assert ["google", "email"] == [row[0] for row in desk.rows("SELECT way FROM session ORDER BY created")]


async def test_a_journey_belongs_to_its_browser_and_ends(desk: Desk) -> None:
    """Another browser, another state, or a code that was used, signs nobody in."""
    mine, victim = desk.browser(), desk.browser()
    back = await begin(mine)
    await begin(victim)
    swapped = back.replace("state=", "state=x")
    for browser, address in ((desk.browser(), back), (victim, back), (mine, swapped), (mine, back.partition("?")[0])):
        refused = await browser.ask("GET", address)
        assert 403 == refused.status
    presented = dict(mine.cookies)
    assert 303 == (await mine.ask("GET", back)).status
    mine.session.cookie_jar.update_cookies(presented)
    assert 403 == (await mine.ask("GET", back)).status, "its code is used"
    assert 1 == len(desk.rows("SELECT id FROM session"))


async def test_a_token_that_does_not_answer_our_question(desk: Desk, provider: FakeOpenId) -> None:
    """Signs nobody in, opens no account, and says nothing about why but to the operator's log."""
    changes: tuple[dict[str, Any], ...] = (
        {"iss": "https://evil.example"},
        {"aud": "another.client"},
        {"azp": "another.client"},
        {"nonce": "another question"},
        {"nonce": None},
        {"exp": int(time.time()) - 3600},
        {"email_verified": False},
        {"email_verified": None},
        {"email": None},
    )
    for change in changes:
        provider.changes = change
        refused = await travel(desk.browser())
        told = b"did not confirm a verified e-mail address" in refused.body
        assert (403, True) == (refused.status, told), change
    assert [] == desk.rows("SELECT id FROM session")
    assert [(1,)] == desk.rows("SELECT COUNT(*) FROM account")


async def test_forged_tokens(desk: Desk, provider: FakeOpenId) -> None:
    """Without a signature, or with a stranger's."""
    stranger = FakeOpenId()
    forgers: tuple[Callable[[dict[str, Any]], str], ...] = (
        unsigned,
        stranger.sign,
        lambda _claims: "",
        lambda _: "a.b.c",
    )
    for forge in forgers:
        provider.forge = forge
        assert 403 == (await travel(desk.browser())).status
    assert [] == desk.rows("SELECT id FROM session")


async def test_a_provider_that_changes_its_keys(
    desk: Desk, provider: FakeOpenId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its keys are asked for again, but not more often than once a minute, however many names are invented."""
    assert 303 == (await travel(desk.browser())).status
    provider.change_key()
    for _ in range(3):
        assert 403 == (await travel(desk.browser())).status
    assert ["/.well-known/openid-configuration", "/keys"] == provider.asked

    monkeypatch.setattr("console.google.AGAIN_SECONDS", 0.0)
    assert 303 == (await travel(desk.browser())).status
    assert ["/.well-known/openid-configuration", "/keys", "/keys"] == provider.asked


async def test_a_provider_that_is_away_or_refuses(desk: Desk, provider: FakeOpenId) -> None:
    """503 where it cannot be reached, 403 where it refuses the code; signing in by mail goes on."""
    provider.token_status = 400
    assert 403 == (await travel(desk.browser())).status
    provider.token_status = 500
    assert 503 == (await travel(desk.browser())).status
    back = await begin(browser := desk.browser())
    await provider.close()
    assert 503 == (await browser.ask("GET", back)).status
    await desk.sign_in()


async def test_descriptions_that_are_not_believed(provider: FakeOpenId) -> None:
    """Of another issuer, without addresses, with addresses that are none, or somewhere else than the web."""
    rules = GoogleRules(client_id=CLIENT_ID, client_secret=CLIENT_SECRET, issuer=provider.url, public_url="http://us")
    changes: tuple[dict[str, Any], ...] = (
        {"issuer": "https://evil.example"},
        {"token_endpoint": None},
        {"token_endpoint": "file:///etc/passwd"},
        {"jwks_uri": "/keys"},
        {"jwks_uri": f"{provider.url}/authorize"},
        {"padding": "x" * 300_000},
    )
    for change in changes:
        provider.description = change
        with pytest.raises((GoogleUnavailable, GoogleRefused)):
            await Google(lambda: rules).address_for(Journey.begin())
    provider.description = {}
    address = urlsplit(await Google(lambda: rules).address_for(journey := Journey.begin()))
    asked = parse_qs(address.query)
    assert ([journey.state], ["http://us" + CALLBACK_PATH]) == (asked["state"], asked["redirect_uri"])
    assert journey.verifier not in address.query


def test_a_journey_is_read_as_it_was_written() -> None:
    """And nothing else is."""
    journey = Journey.begin()
    assert journey == Journey.read(journey.write())
    for text in ("", "..", journey.write() + "x", journey.write() + ".x", "é" * 32 + journey.write()[32:]):
        assert Journey.read(text) is None


async def test_without_a_client_id_there_is_no_google(
    sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """404, and no button."""
    async with running_desk(book(alpha.url, beta.url), sqlite_database_url) as desk:
        browser = desk.browser()
        assert b"Google" not in (await browser.ask("GET", "/sign-in")).body
        assert [404, 404] == [(await browser.ask("GET", path)).status for path in ("/sign-in/google", CALLBACK_PATH)]
