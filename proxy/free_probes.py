"""Free probes of providers, put together: whom they ask, how often, what they tell."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from metrics.instruments import Instruments
from providers.catalogue import Catalogue
from providers.experience import Experience
from providers.health import Health
from providers.probing import ProbeSettings, Probing
from providers.transport import Transport
from proxy.settings import Settings


def free_probes(
    transport: Transport,
    health: Health,
    experience: Experience,
    catalogue: Callable[[], Catalogue],
    settings: Callable[[], Settings],
    instruments: Instruments,
) -> Coroutine[Any, Any, None]:
    """The work of asking, which goes on until it is cancelled. Settings and catalogue are those in force at the time."""

    def times() -> ProbeSettings:
        routing = settings().routing
        return ProbeSettings(routing.probe_seconds, routing.probe_away_seconds, routing.probe_timeout_seconds)

    return Probing(transport, health, experience.keys, catalogue, times, instruments.probed).watch()
