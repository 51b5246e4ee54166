"""What providers are asked for free, put together: whether they are well, and what is left on the operator's account."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from metrics.instruments import Instruments
from providers.catalogue import Catalogue
from providers.experience import Experience
from providers.health import Health
from providers.probing import ProbeSettings, Probing
from providers.transport import Transport
from providers.wallets import Wallets, WalletSettings
from proxy.settings import Settings


async def free_probes(
    transport: Transport,
    health: Health,
    experience: Experience,
    catalogue: Callable[[], Catalogue],
    settings: Callable[[], Settings],
    instruments: Instruments,
) -> None:
    """Ask until cancelled. Settings and catalogue are those in force at the time."""

    def times() -> ProbeSettings:
        routing = settings().routing
        return ProbeSettings(routing.probe_seconds, routing.probe_away_seconds, routing.probe_timeout_seconds)

    def wallet_settings() -> WalletSettings:
        routing = settings().routing
        return WalletSettings(routing.wallet_seconds, routing.spare_below_hours)

    async with asyncio.TaskGroup() as asking:
        asking.create_task(Probing(transport, health, experience.keys, catalogue, times, instruments.probed).watch())
        asking.create_task(Wallets(transport, health, catalogue, wallet_settings, instruments.wallet).watch())
