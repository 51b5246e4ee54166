"""The pages of signing in: a form, a button behind the link, and nothing that a mail program does by opening it."""

from __future__ import annotations

import re

from console.pages.rendering import STYLE_PATH
from tests.signing_in import Desk


async def test_the_way_over_pages(desk: Desk) -> None:
    """Form, "look into your mail", the link's button, signed in, signed out."""
    browser = desk.browser()
    form = await browser.ask("GET", "/sign-in")
    assert (200, True) == (form.status, b'action="/sign-in"' in form.body)
    asked = await browser.ask("POST", "/sign-in", form={"email": "page@example.com"})
    assert (200, True) == (asked.status, b"Look into your mail" in asked.body)
    [mail] = await desk.smtp.wait_for(1)
    assert mail.link.startswith(f"{desk.gateway.url}/sign-in/link?token=")

    button = await browser.ask("GET", mail.link)
    assert (200, True) == (button.status, b"page@example.com" in button.body)
    assert {} == browser.cookies
    done = await browser.ask("POST", "/sign-in/link", form={"token": mail.token})

    assert (303, "/my/dashboard") == (done.status, done.headers["Location"])
    assert b"page@example.com" in (await browser.ask("GET", "/my/dashboard")).body
    assert b"You are signed in as page@example.com" in (await browser.ask("GET", "/sign-in")).body
    out = await browser.ask("POST", "/sign-out", form={})
    assert (303, {}) == (out.status, browser.cookies)
    assert b"Your e-mail address" in (await browser.ask("GET", "/sign-in")).body


async def test_the_home_page_is_where_people_sign_up(desk: Desk) -> None:
    """As the guide says: an address and "Get Free Access"; whoever is signed in sees the way to the console instead."""
    browser = desk.browser()
    home = (await browser.ask("GET", "/")).body.decode()
    form = re.search(r'<form method="post" action="(/sign-in)">(.*?)</form>', home, re.DOTALL)

    assert form is not None
    assert re.search(r'<input [^>]*name="email"', form[2])
    assert "<button>Get Free Access</button>" in form[2]
    asked = await browser.ask("POST", form[1], form={"email": "new@example.com"})
    assert b"Look into your mail" in asked.body
    [mail] = await desk.smtp.wait_for(1)
    assert 303 == (await browser.ask("POST", "/sign-in/link", form={"token": mail.token})).status
    known = (await browser.ask("GET", "/")).body
    assert (True, False) == (b"Open your console" in known, b"Get Free Access" in known)


async def test_opening_a_link_changes_nothing(desk: Desk) -> None:
    """However often, by whomever: the button still works, once."""
    mail = await desk.ask_for_link("looked@example.com")
    for method, status in (("GET", 200), ("HEAD", 405), ("GET", 200)):
        assert status == (await desk.browser().ask(method, mail.link, headers={"Origin": ""})).status
    assert [] == desk.rows("SELECT id FROM session")

    browser = desk.browser()
    assert 303 == (await browser.ask("POST", "/sign-in/link", form={"token": mail.token})).status
    again = await browser.ask("POST", "/sign-in/link", form={"token": mail.token})
    assert (400, "text/html") == (again.status, again.headers["Content-Type"].partition(";")[0])
    assert 400 == (await browser.ask("GET", mail.link)).status


async def test_signing_out_everywhere_is_a_button(desk: Desk) -> None:
    """Other browsers of the account are signed out, too."""
    one, two = await desk.sign_in("two@example.com"), await desk.sign_in("two@example.com")

    assert 303 == (await one.ask("POST", "/sign-out", form={"everywhere": "yes"})).status

    assert 401 == (await two.ask("GET", "/v1/auth/session")).status


async def test_pages_are_safe(desk: Desk) -> None:
    """No script, nothing from elsewhere, no frame around it, kept by nobody; what somebody wrote is text."""
    browser = desk.browser()
    pages = [
        await browser.ask("GET", "/sign-in"),
        await browser.ask("GET", "/sign-in/link?token=<img+src=x+onerror=alert(1)>"),
        await browser.ask("POST", "/sign-in", form={"email": "<script>alert(1)</script>@example.com"}),
        await browser.ask("POST", "/sign-in", form={"email": "o'<b>\"@example.com"}),
        await browser.ask("POST", "/sign-in", {"not": "a form"}),
    ]
    for page in pages:
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert ("private, no-store", "nosniff") == (
            page.headers["Cache-Control"],
            page.headers["X-Content-Type-Options"],
        )
        assert [] == re.findall(rb"<script|<img|<b>|onerror=", page.body)
        assert f'<link rel="stylesheet" href="{STYLE_PATH}">'.encode() in page.body
    assert [200, 400, 400, 400, 415] == [page.status for page in pages]


async def test_forms_come_from_our_own_pages(desk: Desk) -> None:
    """A form of another site, or one that does not say where it comes from, does nothing."""
    mail = await desk.ask_for_link("victim@example.com")
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": ""}):
        for path, form in (("/sign-in/link", {"token": mail.token}), ("/sign-in", {"email": "v@example.com"})):
            reply = await desk.browser().ask("POST", path, form=form, headers=headers)
            assert 403 == reply.status, (path, headers)
    assert [] == desk.rows("SELECT id FROM session")
    browser = desk.browser()
    same = {"Origin": "", "Sec-Fetch-Site": "same-origin"}
    assert 303 == (await browser.ask("POST", "/sign-in/link", form={"token": mail.token}, headers=same)).status


async def test_too_many_fields_or_none_are_refused(desk: Desk) -> None:
    """A form is small; one that cannot be read is told so."""
    many = {f"field{number}": "x" for number in range(50)}
    assert 400 == (await desk.browser().ask("POST", "/sign-in", form=many)).status
    assert 400 == (await desk.browser().ask("POST", "/sign-in", form={})).status
