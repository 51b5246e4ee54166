"""The frame of a page: what comes from outside is text, and nothing but our own style is allowed."""

from __future__ import annotations

import base64
import hashlib

from console.page import HEADERS, STYLE, page, see_other, text


def test_the_policy_allows_our_style_and_nothing_else() -> None:
    """Its hash is the style's."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = HEADERS["Content-Security-Policy"]

    assert ["default-src 'none'", f"style-src 'sha256-{digest}'"] == policy.split("; ")[:2]
    assert "script-src" not in policy


def test_titles_are_text() -> None:
    """Also in the heading; the parts are HTML."""
    made = page("<script>", [f"<p>{text('<b>')}</p>"], status=404)

    assert made.text is not None
    assert (404, False, True) == (made.status, "<script>" in made.text, "<p>&lt;b&gt;</p>" in made.text)
    assert "&#x27;&quot;" == text("'\"")


def test_elsewhere_is_a_303() -> None:
    """A form that was sent is not sent again by going back."""
    assert (303, "/sign-in") == (see_other("/sign-in").status, see_other("/sign-in").headers["Location"])
