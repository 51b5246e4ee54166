"""Every page of the console shows, also of an account with nothing on it, and is small."""

from __future__ import annotations

import pytest

from proxy.pages import MEMBERS
from tests.console.pages.parts import faults_of
from tests.gateway import Gateway
from tests.visiting import sign_in

SHOWN = [path for method, path in MEMBERS if method == "GET" and "{" not in path]


async def test_every_page_shows(pages: Gateway) -> None:
    """Well made, with the place where one is, marked in the navigation."""
    _, eve = sign_in(pages, "ada", "eve")
    for path in SHOWN:
        reply = await eve.get(path)
        assert 200 == reply.status, (path, reply.body)
        assert [] == faults_of(reply.body.decode()), path
        assert len(reply.body) < 60_000
        assert f'<a href="{path}" aria-current="page">'.encode() in reply.body, path


@pytest.mark.parametrize("path", [path for method, path in MEMBERS if method == "POST"])
def test_every_form_has_a_page(path: str) -> None:
    """What is sent belongs to a page that shows the form."""
    page = path.removesuffix("/revoke").removesuffix("/{id}/refund").removesuffix("/{id}/remove")

    assert ("GET", page) in MEMBERS
