"""Pages of one's own are for those who are signed in; a form counts only from a page of ours; errors are pages."""

from __future__ import annotations

import asyncio

from console.limits import REQUESTS_PER_MINUTE
from tests.gateway import Gateway
from tests.visiting import Browser, sign_in

FORM = {"name": "a key"}


async def test_nobody_is_led_to_where_one_signs_in(pages: Gateway) -> None:
    """From every page of one's own; a form is refused."""
    nobody = Browser(pages)

    reply = await nobody.get("/my/usage")
    refused = await nobody.send("/my/keys", FORM, word="")

    assert (303, "/sign-in") == (reply.status, reply.headers["Location"])
    assert 401 == refused.status
    assert 1 == len((await pages.send(b"", method="GET", path="/v1/user/keys")).json["data"])


async def test_a_form_counts_only_from_a_page_of_ours(pages: Gateway) -> None:
    """Not from another site, not without the word of the page, not with the word of somebody else's, not as JSON."""
    ada, eve = sign_in(pages, "ada", "eve")
    word = await eve.word()

    replies = [
        await ada.send("/my/keys", FORM, origin="https://evil.example"),
        await ada.send("/my/keys", FORM, word=""),
        await ada.send("/my/keys", FORM, word=word),
        await ada.send("/my/keys", FORM, kind="text/plain"),
    ]

    assert [403, 403, 403, 415] == [reply.status for reply in replies]
    assert all(b"<h1>" in reply.body for reply in replies)
    assert 1 == len((await pages.send(b"", method="GET", path="/v1/user/keys")).json["data"])
    assert 200 == (await ada.send("/my/keys", FORM)).status


async def test_ones_own_pages_are_kept_by_nobody(pages: Gateway) -> None:
    """Also public ones, once they show who is signed in."""
    (ada,) = sign_in(pages, "ada")

    assert ["private, no-store"] * 3 == [
        (await ada.get(path)).headers["Cache-Control"] for path in ("/my/dashboard", "/", "/my/keys/key_none")
    ]
    assert "no-cache" == (await pages.get("/")).headers["Cache-Control"]


async def test_signing_in_and_out(pages: Gateway) -> None:
    """Whoever signs out on a page is nobody from then on, and is told where to sign in, if the operator has set that up."""
    (ada,) = sign_in(pages, "ada")

    home = await ada.get("/my/dashboard")
    out = await ada.send("/sign-out", {})

    assert b"Signed in as ada@example.com" in home.body
    assert (303, "/sign-in") == (out.status, out.headers["Location"])
    assert 303 == (await ada.get("/my/dashboard")).status
    assert b"Sign in" not in (await pages.get("/pricing")).body


async def test_too_many_pages(pages: Gateway) -> None:
    """As many requests a minute as of the account API; then a page that says how long to wait."""
    (ada,) = sign_in(pages, "ada")
    statuses: list[int] = []
    while 429 not in statuses and len(statuses) < 2 * REQUESTS_PER_MINUTE:  # Some are given back while we ask.
        refused = await ada.get("/my/tickets/ticket_none")
        statuses.append(refused.status)

    assert 429 == refused.status
    assert [404] * REQUESTS_PER_MINUTE == statuses[:REQUESTS_PER_MINUTE]
    assert int(refused.headers["Retry-After"]) >= 1
    assert b"<h1>" in refused.body


async def test_pages_and_programs_lock_each_other_out_of_nothing(pages: Gateway) -> None:
    """Whoever looks at too many pages can still ask the account API and make calls; whoever asks it too often sees the pages."""
    ada, eve = sign_in(pages, "ada", "eve")
    page, program = "/my/tickets/ticket_none", "/v1/user/balance"

    for browser, exhausted, free in ((ada, page, program), (eve, program, page)):
        replies = await asyncio.gather(*[browser.get(exhausted) for _ in range(REQUESTS_PER_MINUTE + 20)])
        assert 429 in {reply.status for reply in replies}
        assert (404 if free == page else 200) == (await browser.get(free)).status
    assert 200 == (await pages.send(b"", method="GET", path=program)).status
    assert 200 == (await pages.chat()).status
