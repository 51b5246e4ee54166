"""The frame of a page: what comes from outside is text, and nothing but our own style is allowed."""

from __future__ import annotations

from console.page import HEADERS, page, see_other, text
from console.pages.rendering import STYLE_PATH
from tests.console.pages.parts import faults_of


def test_the_policy_allows_our_style_and_nothing_else() -> None:
    """The one style sheet of all pages; the page is well made."""
    policy = HEADERS["Content-Security-Policy"]
    made = page("Hello", ["<p>there</p>"])

    assert ["default-src 'none'", "style-src 'self'"] == policy.split("; ")[:2]
    assert "script-src" not in policy
    assert made.text is not None
    assert f'<link rel="stylesheet" href="{STYLE_PATH}">' in made.text
    assert [] == faults_of(made.text)


def test_titles_are_text() -> None:
    """Also in the heading; the parts are HTML."""
    made = page("<script>", [f"<p>{text('<b>')}</p>"], status=404)

    assert made.text is not None
    assert (404, False, True) == (made.status, "<script>" in made.text, "<p>&lt;b&gt;</p>" in made.text)
    assert "&#x27;&quot;" == text("'\"")


def test_elsewhere_is_a_303() -> None:
    """A form that was sent is not sent again by going back."""
    assert (303, "/sign-in") == (see_other("/sign-in").status, see_other("/sign-in").headers["Location"])
