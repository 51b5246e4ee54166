"""What is left on the operator's account at each provider that tells it, and for how long that lasts.

A provider whose account runs dry refuses every call at once. So it is asked what is left, which costs nothing, and where that
would be gone within a set time its candidates are tried after all others, until somebody has paid in. How fast it goes is
taken from the account itself, in its own currency: no exchange rate is needed, and what others spend from it counts, too.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from math import inf
from typing import Final, Protocol

from providers.asking import ask
from providers.catalogue import Catalogue, ProviderEntry
from providers.errors import UpstreamError
from providers.health import Health
from providers.json_bytes import parse_json
from providers.transport import Outgoing, Transport

Wallet = Mapping[str, Decimal]
"""What is left, by currency. It may be below nothing."""

ANSWER_LIMIT_BYTES: Final = 65_536
ANSWER_SECONDS: Final = 10.0
WINDOW_SECONDS: Final = 6 * 3600.0
"""Over how long it is seen how fast an account is spent."""
SHORTEST_SECONDS: Final = 600.0
"""What is spent in less says nothing about a day."""
SAMPLES_LIMIT: Final = 1_000
LOOK_SECONDS: Final = 1.0


class Told(Protocol):
    """Hears what is left at ``provider`` in a currency, and for how many hours, infinite where nothing is being spent."""

    def __call__(self, provider: str, currency: str, left: Decimal, runway_hours: float) -> None: ...


@dataclass(frozen=True, slots=True)
class WalletSettings:
    """How often providers are asked, and when one is spared."""

    seconds: float
    """0 asks nobody."""
    spare_below_hours: float
    """A provider whose account lasts no longer is tried after all others; 0 spares nobody."""


@dataclass(slots=True)
class Spending:
    """What was left in one currency at each asking."""

    seen: deque[tuple[float, Decimal]] = field(default_factory=lambda: deque(maxlen=SAMPLES_LIMIT))

    def add(self, now: float, left: Decimal) -> float:
        """One more; for how many hours what is left will last. Paying in is no spending backwards."""
        self.seen.append((now, left))
        while now - self.seen[0][0] > WINDOW_SECONDS:
            self.seen.popleft()
        if left <= 0:
            return 0.0
        amounts = [amount for _, amount in self.seen]
        spent = sum((max(before - after, Decimal(0)) for before, after in itertools.pairwise(amounts)), Decimal(0))
        seconds = now - self.seen[0][0]
        if not spent or seconds < SHORTEST_SECONDS:
            return inf
        return float(left / spent) * seconds / 3600


class Wallets:
    """Asks, and says in ``health`` who is to be spared. ``told`` hears every answer; ``clock`` gives seconds."""

    def __init__(
        self,
        transport: Transport,
        health: Health,
        catalogue: Callable[[], Catalogue],
        settings: Callable[[], WalletSettings],
        told: Told,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._health = health
        self._catalogue = catalogue
        self._settings = settings
        self._told = told
        self._clock = clock
        self._asked_at: dict[str, float] = {}
        self._spending: dict[tuple[str, str], Spending] = {}

    async def watch(self) -> None:
        """Ask whoever is due, again and again, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Ask every provider that is due, one after another: an account is nothing that is in a hurry."""
        settings = self._settings()
        for provider in [*self._catalogue().providers.values()]:
            if not settings.seconds or not provider.usable or not provider.keys or not provider.dialect.wallet_path:
                self._health.spare(provider.name, spared=False)
                continue
            asked_at = self._asked_at.get(provider.name)
            if asked_at is None or self._clock() - asked_at >= settings.seconds:
                self._asked_at[provider.name] = self._clock()
                self._take(provider.name, await self._ask(provider), settings)

    def _take(self, provider: str, wallet: Wallet, settings: WalletSettings) -> None:
        """Tell what is left. A provider that does not say is judged by what it said last."""
        if not wallet:
            return
        shortest = inf
        for currency, left in wallet.items():
            hours = self._spending.setdefault((provider, currency), Spending()).add(self._clock(), left)
            self._told(provider, currency, left, hours)
            if hours or len(wallet) == 1:
                shortest = min(shortest, hours)  # An empty purse beside another is none that calls are paid from.
        if not any(left > 0 for left in wallet.values()):
            shortest = 0.0
        self._health.spare(provider, spared=shortest < settings.spare_below_hours)

    async def _ask(self, provider: ProviderEntry) -> Wallet:
        """What is left; empty where the answer is none."""
        url = f"{provider.base_url}/{provider.dialect.wallet_path}"
        outgoing = Outgoing(url, provider.dialect.headers(provider.keys[0]), b"", method="GET")
        until = asyncio.get_running_loop().time() + ANSWER_SECONDS
        try:
            heard = await ask(self._transport, outgoing, until=until, limit_bytes=ANSWER_LIMIT_BYTES)
            answer = parse_json(heard.body) if heard.status == 200 else None
        except (TimeoutError, UpstreamError, ValueError, RecursionError):
            return {}
        return provider.dialect.read_wallet(answer, provider.base_url) if isinstance(answer, dict) else {}
