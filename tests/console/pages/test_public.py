"""The pages for everybody show what is so: the catalogue's prices, live health, announcements, help."""

from __future__ import annotations

import html
import re

from console.pages.articles import ARTICLES
from console.pages.rendering import SECURITY_HEADERS
from proxy.pages import PUBLIC
from storage.announcements import publish_announcement
from tests.console.pages.parts import faults_of
from tests.fakes.raw_upstream import RawUpstream, failure
from tests.gateway import Gateway, Reply


def text_of(reply: Reply) -> str:
    """What a page says."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", reply.body.decode())).split())


async def test_every_page_shows(pages: Gateway) -> None:
    """Well made, within the size of a page, with the headers that keep others out; every link leads somewhere."""
    paths = [path for _, path in PUBLIC if "{" not in path]
    paths += [f"/help/{article.slug}" for article in ARTICLES]
    links: set[str] = set()
    for path in paths:
        reply = await pages.get(path)
        assert (200, "text/html; charset=utf-8") == (reply.status, reply.headers["Content-Type"]), path
        assert [] == faults_of(reply.body.decode()), path
        assert len(reply.body) < 60_000, path
        assert SECURITY_HEADERS.items() <= dict(reply.headers).items()
        links |= set(re.findall(r'href="(/[^"#?]*)', reply.body.decode()))
    for link in sorted(links - set(paths)):
        assert (await pages.get(link)).status == 200, link


async def test_prices_are_those_of_the_catalogue(pages: Gateway) -> None:
    """Every model, and what the calculator makes of one."""
    prices = text_of(await pages.get("/pricing"))
    month = text_of(
        await pages.get("/calculator?model=dear&prompt_tokens=1000&cached_tokens=0&completion_tokens=1000&calls=100")
    )
    wrong = await pages.get("/calculator?model=dear&prompt_tokens=-1")

    assert "dear alpha always $10.00 $10.00 $30.00" in prices
    assert all(name in prices for name in ("standard", "alternative", "lonely"))
    assert "One call $0.0422 $0.04 for tokens, $0.0022 fee" in month
    assert "100 calls a month $4.22" in month
    assert 400 == wrong.status
    assert "prompt tokens : input should be" in text_of(wrong)
    assert b'value="-1"' in wrong.body


async def test_health_is_live(pages: Gateway, alpha: RawUpstream) -> None:
    """An upstream that was not asked, then one that serves, then one that fails."""
    before = text_of(await pages.get("/status"))
    await pages.chat()
    serving = text_of(await pages.get("/status"))
    alpha.next(*[failure(500)] * 24)
    for _ in range(6):
        await pages.chat(provider={"allow_fallbacks": False})
    failing = text_of(await pages.get("/status"))

    assert "standard-upstream not used lately" in before
    assert "standard-upstream up 100.0 % of 1" in serving
    assert "standard-upstream failing" in failing


async def test_announcements_stand_on_every_page(pages: Gateway) -> None:
    """The title everywhere, the text on its page; markup in them is text."""
    with pages.database.session() as connection:
        now = connection.now()
        publish_announcement(connection, "incident", "<b>Down</b>", "since\nnoon <script>", now - 1, None, now)

    home, news = await pages.get("/"), await pages.get("/announcements")

    assert "Incident: <b>Down</b>" in text_of(home)
    assert "since noon <script>" in text_of(news)
    assert b"<script" not in home.body + news.body


async def test_help_is_searched(pages: Gateway) -> None:
    """What is asked for is escaped; nothing found is said."""
    found = await pages.get("/help?q=error+429")
    nothing = await pages.get("/help?q=%3Cscript%3Ezeppelin")
    none = await pages.get("/help/nothing")

    assert b'href="/help/error-429"' in found.body
    assert "0 articles about “<script>zeppelin”" in text_of(nothing)
    assert b"<script" not in nothing.body
    assert (404, True) == (none.status, b"<h1>There is nothing here" in none.body)
