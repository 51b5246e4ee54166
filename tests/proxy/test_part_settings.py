"""What the operator wrote is what the parts of the chain get."""

from __future__ import annotations

from billing.pricing import Fee
from proxy.part_settings import budget_settings_of, fees_of, routing_settings_of
from proxy.settings import Settings


def test_there_are_as_many_waits_as_retries() -> None:
    """The last one is repeated, and those beyond are not used."""
    for retries, waits in ((0, ()), (2, (1, 2)), (5, (1, 2, 4, 4, 4))):
        settings = Settings.model_validate({"routing": {"retries": retries}})
        assert waits == routing_settings_of(settings).backoff_seconds


def test_patience_is_a_setting() -> None:
    """Only `patient` is."""
    for failover, patient in (("auto", False), ("patient", True)):
        assert patient == routing_settings_of(Settings.model_validate({"routing": {"failover": failover}})).patient


def test_fees_and_the_names_of_headers() -> None:
    """A fee on recharges is none on calls; a white label names its own headers."""
    settings = Settings.model_validate({"billing": {"fee_on": "recharge"}, "security": {"header_prefix": "X-Ours-"}})

    assert (Fee.percent(0), Fee.percent(5)) == fees_of(settings)
    assert "X-Ours-Explain" == budget_settings_of(settings).explain_header
