"""Pages are served beside the API, tell the operator's settings, and leave the API's answers as they are."""

from __future__ import annotations

from decimal import Decimal

from proxy.operator_pages import ROUTES as OPERATORS
from proxy.pages import MEMBERS, PUBLIC, ROUTES, offers_of
from proxy.settings import Settings
from tests.gateway import Gateway


def test_what_is_offered_is_what_is_set() -> None:
    """Where the recharge carries the fee, calls do not."""
    usual = offers_of(Settings(), "http://127.0.0.1:8080")
    settings = Settings.model_validate({"billing": {"fee_on": "recharge"}})
    other = offers_of(settings, "https://api.example.com/")

    assert ("5.5", Decimal(0), "10", 14, 365) == (
        usual.fee.as_percent,
        usual.fee_on_recharge_percent,
        usual.minimum,
        usual.refund_days,
        usual.expiry_days,
    )
    assert ("0", Decimal("5.5"), "https://api.example.com/v1") == (
        other.fee.as_percent,
        other.fee_on_recharge_percent,
        other.base_url,
    )


def test_each_address_is_one_page() -> None:
    """No address twice."""
    assert len(ROUTES) == len(set(ROUTES)) == len(PUBLIC) + len(MEMBERS) + len(OPERATORS) + 1


async def test_a_head_is_a_get_without_its_body(gateway: Gateway) -> None:
    """As monitors and crawlers ask."""
    reply = await gateway.send(b"", method="HEAD", path="/", headers={"Authorization": ""})

    assert (200, b"") == (reply.status, reply.body)


async def test_errors_of_the_api_stay_json(gateway: Gateway) -> None:
    """Also for a browser."""
    assert (404, "not_found") == (await gateway.get("/nothing")).code
