"""How often people may try to sign in: by address, silently, and by network, with a 429."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from console.sign_in_desk import client_of
from tests.fakes.raw_upstream import RawUpstream
from tests.gateway import book
from tests.signing_in import Desk, running_desk


async def test_an_address_gets_so_many_links_an_hour(any_desk: Desk) -> None:
    """Whoever asks more often is told the same, and no mail is sent; an hour later it is."""
    browser = any_desk.browser()
    for _ in range(8):
        assert 202 == (await browser.ask("POST", "/v1/auth/email", {"email": "often@example.com"})).status
    await any_desk.ask_for_link("other@example.com")
    assert [(5,)] == any_desk.rows("SELECT COUNT(*) FROM mail WHERE kind = 'sign_in' AND id <> ?", last_mail(any_desk))

    any_desk.execute("UPDATE sign_in_address SET since = 1")
    await browser.ask("POST", "/v1/auth/email", {"email": "often@example.com"})
    assert [(7,)] == any_desk.rows("SELECT COUNT(*) FROM mail")


def last_mail(desk: Desk) -> str:
    """The id of the mail that was written last."""
    [(mail_id,)] = desk.rows("SELECT id FROM mail ORDER BY created DESC, id DESC LIMIT 1")
    return str(mail_id)


async def test_a_network_may_try_so_often(sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream) -> None:
    """429 with Retry-After, in JSON and on pages; counted over all ways of trying, and by the address a proxy tells."""
    rules = {"requests_per_minute": 3, "trusted_proxies": 1}
    async with running_desk(book(alpha.url, beta.url), sqlite_database_url, sign_in=rules) as desk:
        browser = desk.browser()
        forged = {"X-Forwarded-For": "198.51.100.7, 203.0.113.9"}
        statuses = [
            (await browser.ask("POST", "/v1/auth/email", {"email": "a@example.com"}, headers=forged)).status,
            (await browser.ask("POST", "/v1/auth/email/confirm", {"token": "x" * 43}, headers=forged)).status,
            (await browser.ask("GET", "/sign-in/link?token=x", headers=forged)).status,
        ]
        assert [202, 400, 400] == statuses

        page = await browser.ask("POST", "/sign-in", form={"email": "a@example.com"}, headers=forged)
        json = await browser.ask(
            "POST", "/v1/auth/email", {"email": "a@example.com"}, headers={"X-Forwarded-For": "1.2.3.4, 203.0.113.9"}
        )
        elsewhere = await browser.ask(
            "POST", "/v1/auth/email", {"email": "a@example.com"}, headers={"X-Forwarded-For": "203.0.113.10"}
        )

        assert (429, "rate_limit_exceeded") == json.code
        assert (429, True, True) == (page.status, "Retry-After" in page.headers, "Retry-After" in json.headers)
        assert 202 == elsewhere.status


@pytest.mark.parametrize(
    ("told", "proxies", "client"),
    [
        ((), 0, "unknown"),
        (("203.0.113.9",), 0, "unknown"),
        (("203.0.113.9",), 1, "203.0.113.9"),
        (("1.1.1.1, 203.0.113.9", "10.0.0.1"), 2, "203.0.113.9"),
        (("203.0.113.9",), 2, "unknown"),
        (("::ffff:203.0.113.9",), 1, "203.0.113.9"),
        (("2001:db8:1:2:3:4:5:6",), 1, "2001:db8:1:2::"),
        (("not an address",), 1, "unknown"),
    ],
)
def test_whose_network_asks(told: tuple[str, ...], proxies: int, client: str) -> None:
    """What the trusted proxies appended counts, whatever was there before; of IPv6 the first half."""
    request = make_mocked_request("POST", "/", headers=[("X-Forwarded-For", one) for one in told])  # type: ignore[arg-type]

    assert client == client_of(request, proxies)
