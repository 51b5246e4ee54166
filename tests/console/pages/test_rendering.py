"""What is put into a page is escaped, pages load nothing from elsewhere, amounts are rounded as people read them."""

from __future__ import annotations

import re

import pytest

from console.pages.rendering import HERE, ICON_PATH, SECURITY_HEADERS, STYLE_PATH, Renderer, shown_instant, usd
from tests.console.pages.parts import problem_values
from tests.gateway import Gateway


async def test_what_is_put_in_is_escaped() -> None:
    """A message with markup is text."""
    renderer = Renderer({"can_sign_in": lambda: False, "sign_in_path": "/sign-in", "sign_out_path": "/sign-out"})

    page = await renderer.page("problem.html", status=404, **problem_values('<script>alert("x")</script>'))

    assert (404, "text/html") == (page.status, page.content_type)
    assert page.text is not None
    assert "<script" not in page.text.lower()
    assert "&lt;script&gt;" in page.text.lower()
    assert SECURITY_HEADERS.items() <= dict(page.headers).items()


def test_no_template_turns_escaping_off_or_loads_from_elsewhere() -> None:
    """No script, no style of its own, no address of another host that a browser would fetch."""
    for path in (HERE / "templates").rglob("*.html"):
        text = path.read_text()
        assert "|safe" not in text.replace(" ", ""), path
        assert "autoescape" not in text, path
        for forbidden in (
            r"<script",
            r"<iframe",
            r"\sstyle=",
            r"<style",
            r"\son\w+=",
            r"(src|action|href)=\"(https?:)?//",
        ):
            assert re.search(forbidden, text, re.IGNORECASE) is None, (path, forbidden)


def test_the_style_sheet_loads_nothing() -> None:
    """No import, no picture, no font."""
    text = (HERE / "static" / "style.css").read_text()

    assert "url(" not in text
    assert "@import" not in text
    assert text.count("{") == text.count("}")


async def test_static_files_are_kept_for_ever(pages: Gateway) -> None:
    """Under the name of what is in them; under another there is nothing."""
    style, icon = await pages.get(STYLE_PATH), await pages.get(ICON_PATH)

    assert ["text/css; charset=utf-8", "image/svg+xml; charset=utf-8"] == [
        reply.headers["Content-Type"] for reply in (style, icon)
    ]
    assert "immutable" in style.headers["Cache-Control"]
    assert (HERE / "static" / "style.css").read_bytes() == style.body
    for other in ("/static/style.css", "/static/..%2frendering.py", f"{STYLE_PATH}x"):
        assert 404 == (await pages.get(other)).status


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "$0.00"),
        ("9.05", "$9.05"),
        ("1234567.5", "$1,234,567.50"),
        ("0.00000149", "$0.000001"),
        ("0.0000015", "$0.000002"),
        ("-3.1", "−$3.10"),
        ("10", "$10.00"),
    ],
)
def test_amounts(amount: str, shown: str) -> None:
    """Six decimals at most, two at least."""
    assert shown == usd(amount)


def test_instants() -> None:
    """To the minute."""
    assert "2026-11-27 09:30 UTC" == shown_instant("2026-11-27T09:30:59.000001Z")
