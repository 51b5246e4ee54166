"""What account holders use is composed once: no address twice, and pages beside the API."""

from __future__ import annotations

from console.plane import ROUTES as ACCOUNT_ROUTES
from proxy.pages import ROUTES as PAGES
from proxy.people import ROUTES
from tests.gateway import Gateway


def test_no_address_is_given_twice() -> None:
    """Of the account plane, payments, announcements and pages together."""
    assert len(ROUTES) == len(set(ROUTES))
    assert {*ACCOUNT_ROUTES, *PAGES} <= set(ROUTES)


async def test_pages_and_routes_share_what_they_know(gateway: Gateway) -> None:
    """What the API announces is what the page shows."""
    assert [] == (await gateway.get("/v1/announcements")).json["data"]
    assert b"Nothing is announced" in (await gateway.get("/announcements")).body
