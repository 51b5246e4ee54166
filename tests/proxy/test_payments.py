"""What of the settings reaches payments, and that live payments need a secret for their webhooks."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pydantic
import pytest

from console.recharge_desk import RechargeRules
from proxy.payments import payments_of, rules_of
from proxy.settings import Settings


def settings(**sections: Any) -> Settings:
    """Settings with some sections."""
    return Settings.model_validate(sections)


def test_rules() -> None:
    """The fee is on recharges only where the operator says so."""
    billing = {"minimum_recharge_usd": 5, "maximum_recharge_usd": Decimal("50.50"), "refund_window_days": 7}
    rules = rules_of(settings(billing=billing, stripe={"return_hosts": ["a.example"]}))

    assert rules == RechargeRules(
        minimum=5 * 10**8,
        maximum=5_050_000_000,
        fee_percent=Decimal(0),
        refund_window_days=7,
        return_hosts=("a.example",),
    )
    assert Decimal("5.5") == rules_of(settings(billing={"fee_on": "recharge"})).fee_percent


@pytest.mark.parametrize("key", ["sk_live_1", "rk_live_1"])
def test_live_payments_need_a_webhook_secret(key: str) -> None:
    """Without it nobody who pays would be credited by a webhook, or anybody would be."""
    for secret in ("", "  "):
        with pytest.raises(pydantic.ValidationError, match="webhook_secret"):
            settings(stripe={"api_key": key, "webhook_secret": secret})
    settings(stripe={"api_key": key, "webhook_secret": "whsec_1"})
    settings(stripe={"api_key": key.replace("live", "test")})


def test_on_and_off() -> None:
    """By the key; hearing, by the secret."""
    on = payments_of(settings(stripe={"api_key": "sk_test_1"}))
    off = payments_of(settings())

    assert (True, False, False, False) == (on.on, on.hears, off.on, off.hears)
