"""The settings by themselves: frozen, and consistent with each other."""

from __future__ import annotations

from decimal import Decimal

import pydantic
import pytest

from proxy.settings import Settings


def test_settings_are_frozen() -> None:
    """What was read does not change."""
    settings = Settings()
    with pytest.raises(pydantic.ValidationError):
        settings.server.listen = "elsewhere:1"  # type: ignore[misc]


def test_the_fee_on_recharges_leaves_calls_without() -> None:
    """Never both: the percentage stays known, and calls do not carry it."""
    usage = Settings.model_validate({"billing": {"fee_percent": Decimal("5.5")}}).billing
    recharge = Settings.model_validate({"billing": {"fee_percent": Decimal("5.5"), "fee_on": "recharge"}}).billing

    assert (Decimal("5.5"), Decimal(0)) == (usage.usage_fee_percent, recharge.usage_fee_percent)
