"""What a process has learnt about upstreams begins empty, and is its own."""

from __future__ import annotations

from providers.errors import ProviderKeyRefused
from providers.experience import Experience


def test_nothing_is_known_at_first_and_nothing_is_shared() -> None:
    """Two gateways in one process learn apart."""
    one, other = Experience(), Experience()
    one.keys.rest("alpha", "key", ProviderKeyRefused("no"))
    one.without_usage.remember(("alpha", "model"))
    while one.retry_budgets.of("alpha").take(0.0):
        pass

    assert not one.keys.another("alpha", ("key",), ())
    assert other.keys.another("alpha", ("key",), ())
    assert ("alpha", "model") in one.without_usage
    assert ("alpha", "model") not in other.without_usage
    assert other.retry_budgets.of("alpha").take(0.0)
    assert (0, 0) == (one.calls_in_flight, other.calls_in_flight)
