"""Every upstream stands once under its provider, in the state that calls have found it in."""

from __future__ import annotations

from console.pages.market import Market, upstream_lines
from providers.health import Health
from proxy.pages import offers_of
from proxy.settings import Settings
from tests.gateway import book


def test_states_of_upstreams() -> None:
    """Up, failing, not used lately, not offered here."""
    health, catalogue = Health(failures_to_open=1, calls_to_open=1), book("http://a", "http://b", beta={"keys": []})
    health.succeeded(("alpha", "standard-upstream"), latency_seconds=0.5)
    health.failed(("alpha", "dear-upstream"))
    market = Market(lambda: offers_of(Settings(), "http://x"), lambda: catalogue, health.standing, health.report)

    lines = upstream_lines(market)

    assert {
        "alpha": [("standard-upstream", "up"), ("lonely-upstream", "idle"), ("dear-upstream", "down")],
        "beta": [("alternative-upstream", "off")],
    } == {name: [(line.name, line.state) for line in found] for name, found in lines.items()}
    assert [("standard",), ("lonely",), ("dear",)] == [line.models for line in lines["alpha"]]
