"""What the account plane answers and what a page is given are the same."""

from __future__ import annotations

from typing import Any

from console.services import Services
from console.usage import Range
from tests.gateway import Gateway


async def test_routes_and_pages_see_the_same(gateway: Gateway, ask_of: Any) -> None:
    """Balance and usage, to the letter."""
    await gateway.chat()
    await gateway.settled(1)
    ask = ask_of(gateway)
    services = Services(gateway.process._account_parts())

    assert await services.balance(gateway.account_id) == (await ask("GET", "/v1/user/balance")).json
    assert await services.usage(gateway.account_id, Range()) == (await ask("GET", "/v1/user/usage")).json
