"""Every page for operators shows, also where there is nothing yet, and is small."""

from __future__ import annotations

import pytest

from proxy.operator_pages import ROUTES
from tests.console.pages.parts import faults_of
from tests.operating import Office

SHOWN = [path for method, path in ROUTES if method == "GET" and "{" not in path and path != "/operator/calls"]


async def test_every_page_shows(office: Office) -> None:
    """Well made, kept by nobody, with the place where one is, marked in the navigation."""
    for path in [*SHOWN, f"/operator/accounts/{office.gateway.account_id}"]:
        reply = await office.grace.get(path)
        assert 200 == reply.status, (path, reply.body)
        assert [] == faults_of(reply.body.decode()), path
        assert len(reply.body) < 60_000
        assert "private, no-store" == reply.headers["Cache-Control"]
        assert path in SHOWN or b'<a href="/operator/accounts" aria-current="page">' in reply.body
        assert path not in SHOWN or f'<a href="{path}" aria-current="page">'.encode() in reply.body, path


@pytest.mark.parametrize("path", [path for method, path in ROUTES if method == "POST"])
def test_every_form_has_a_page(path: str) -> None:
    """What is sent belongs to a page that shows the form."""
    page = path if path.endswith("announcements") else path.rpartition("/")[0]

    assert ("GET", page.removesuffix("/{id}") if "announcements" in page else page) in ROUTES
