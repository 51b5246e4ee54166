"""What a session's cookie is, and whose requests it may decide."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from middlewares.sessions import origin_of
from tests.fakes.raw_upstream import RawUpstream
from tests.gateway import book
from tests.signing_in import Desk, running_desk


@pytest.fixture
async def desk(sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream) -> AsyncIterator[Desk]:
    """A gateway that mails to a fake mail server."""
    async with running_desk(book(alpha.url, beta.url), sqlite_database_url) as running:
        yield running


async def test_the_cookie_is_for_this_host_and_no_script(desk: Desk) -> None:
    """HttpOnly, Lax, for the whole host and no other, as long as the session."""
    browser = desk.browser()
    mail = await desk.ask_for_link("a@example.com", browser)

    done = await browser.ask("POST", "/v1/auth/email/confirm", {"token": mail.token})

    name, _, rest = done.headers["Set-Cookie"].partition("=")
    parts = {part.strip() for part in rest.split(";")[1:]}
    assert "findtoken_session" == name
    assert {"HttpOnly", "Path=/", "SameSite=Lax"} == {part for part in parts if part[:7] != "Max-Age"}
    [age] = [int(part[8:]) for part in parts if part[:7] == "Max-Age"]
    assert 30 * 86_400 - 60 < age <= 30 * 86_400


async def test_over_https_it_is_secure(sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream) -> None:
    """Secure, and of a name that no other host can set, where the public address is https."""
    public = {"public_url": "https://gateway.example:443"}
    async with running_desk(book(alpha.url, beta.url), sqlite_database_url, server=public) as desk:
        mail = await desk.ask_for_link_from("https://gateway.example", "a@example.com")
        assert mail.link.startswith("https://gateway.example:443/sign-in/link?token=")
        done = await desk.browser().ask(
            "POST", "/v1/auth/email/confirm", {"token": mail.token}, headers={"Origin": "https://gateway.example"}
        )
        assert done.headers["Set-Cookie"].startswith("__Host-findtoken_session=")
        assert "Secure" in done.headers["Set-Cookie"].split("; ")


async def test_a_session_is_used_by_our_own_pages_alone(desk: Desk) -> None:
    """S-101: whatever changes something is refused from elsewhere, and where nothing is said; reading is not."""
    browser = await desk.sign_in()
    elsewhere: tuple[dict[str, str], ...] = (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "", "Sec-Fetch-Site": "same-site"},
        {"Origin": browser.url + ".evil.example"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
    )
    for headers in elsewhere:
        for method, path in (
            ("POST", "/v1/user/keys"),
            ("DELETE", "/v1/user/keys/key_0"),
            ("POST", "/v1/user/credits"),
            ("POST", "/v1/auth/sign-out"),
            ("POST", "/v1/auth/sign-out-everywhere"),
        ):
            reply = await browser.ask(method, path, {"name": "stolen"}, headers=headers)
            assert (403, "cross_site_request") == reply.code, (path, headers)
    assert [] == (await browser.ask("GET", "/v1/user/keys", headers=elsewhere[0])).json["data"]
    assert 201 == (await browser.ask("POST", "/v1/user/keys", {"name": "own"})).status
    fetched = {"Origin": "", "Sec-Fetch-Site": "same-origin"}
    assert 201 == (await browser.ask("POST", "/v1/user/keys", {"name": "own"}, headers=fetched)).status


async def test_a_key_beside_a_cookie_decides(desk: Desk) -> None:
    """Who sends a key is its holder, wherever the request comes from; a bad key is not made good by a cookie."""
    browser = await desk.sign_in()
    own = await browser.ask("GET", "/v1/user/balance", headers={"Authorization": f"Bearer {desk.gateway.key}"})
    assert "10" == own.json["balance"]
    bad = await browser.ask("GET", "/v1/user/balance", headers={"Authorization": "Bearer sk-ft_nonsense"})
    assert (401, "invalid_api_key") == bad.code


async def test_calls_are_made_with_keys(desk: Desk) -> None:
    """No session pays for a call, and what is asked of a key needs one."""
    browser = await desk.sign_in()
    for method, path in (
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/quote"),
        ("GET", "/v1/key"),
        ("GET", "/v1/credits"),
    ):
        assert (401, "invalid_api_key") == (await browser.ask(method, path)).code, path


async def test_a_session_of_a_deactivated_account_is_refused(desk: Desk) -> None:
    """At once, as a key is."""
    browser = await desk.sign_in("banned@example.com")
    desk.execute("UPDATE account SET status = 'deactivated' WHERE email = 'banned@example.com'")

    assert (403, "account_deactivated") == (await browser.ask("GET", "/v1/user/balance")).code
    assert (401, "not_signed_in") == (await browser.ask("GET", "/v1/auth/session")).code


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Gateway.Example/", "https://gateway.example"),
        ("https://gateway.example:443", "https://gateway.example"),
        ("http://127.0.0.1:8080/base", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://gateway.example:80", "http://gateway.example"),
    ],
)
def test_origins_as_browsers_write_them(url: str, origin: str) -> None:
    """Lower case, and without the port that goes without saying."""
    assert origin == origin_of(url)
