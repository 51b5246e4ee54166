"""simulator/settings.py: settings are changed whole or not at all."""

from typing import Any

import pytest

from simulator.settings import MalformedSettings, Settings, change_settings


def test_what_is_named_changes_and_the_rest_stays() -> None:
    """Numbers may be whole where seconds are meant."""
    changed = change_settings(Settings(pieces=9), {"latency_seconds": 2, "usage_places": ["finish"], "balance": "-1.5"})
    assert changed == Settings(latency_seconds=2.0, pieces=9, usage_places=("finish",), balance="-1.5")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latency", 1),
        ("latency_seconds", -1),
        ("latency_seconds", "1"),
        ("latency_seconds", float("nan")),
        ("pieces_per_second", True),
        ("pieces", 1.5),
        ("keep_alive_seconds", 0),
        ("usage_places", "finish"),
        ("usage_places", ["somewhere"]),
        ("balance", 5),
        ("balance", "five"),
        ("balance", "NaN"),
    ],
)
def test_what_is_wrong_is_named(name: str, value: Any) -> None:
    """The message carries the setting's name."""
    with pytest.raises(MalformedSettings, match=name):
        change_settings(Settings(), {name: value})
