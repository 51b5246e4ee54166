"""Pages of one's own are for those who are signed in; a form counts only from a page of ours; errors are pages."""

from __future__ import annotations

from console.limits import REQUESTS_PER_MINUTE
from tests.console.pages.conftest import sign_in
from tests.gateway import Gateway
from tests.visiting import Browser

FORM = {"name": "a key"}


async def test_nobody_is_led_to_where_one_signs_in(pages: Gateway) -> None:
    """From every page of one's own, and back to it afterwards; a form is refused."""
    nobody = Browser(pages)

    reply = await nobody.get("/my/usage")
    refused = await nobody.send("/my/keys", FORM, word="")

    assert (303, "/sign-in?next=/my/usage") == (reply.status, reply.headers["Location"])
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


async def test_too_many_pages(pages: Gateway) -> None:
    """As many requests a minute as of the account API; then a page that says how long to wait."""
    (ada,) = sign_in(pages, "ada")
    for _ in range(REQUESTS_PER_MINUTE):
        refused = await ada.get("/my/tickets/ticket_none")
    refused = await ada.get("/my/tickets/ticket_none")

    assert 429 == refused.status
    assert int(refused.headers["Retry-After"]) >= 1
    assert b"<h1>" in refused.body
