"""Which of a provider's keys pays an attempt: the calls are spread over them, and a key in trouble rests for a while.

Only the operator's keys: a caller's own key is the caller's choice. A provider with one key is never without it, whatever
that key has met; the circuit breaker speaks for the provider then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Final

from providers.errors import (
    ProviderBalanceExhausted,
    ProviderKeyRefused,
    ProviderPermissionDenied,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    UpstreamError,
)

KEY_TROUBLES: Final = (
    ProviderKeyRefused,
    ProviderBalanceExhausted,
    ProviderPermissionDenied,
    ProviderRateLimited,
    ProviderQuotaExhausted,
)
"""What a provider says of a key and not of itself: another key may be served."""

_REST_SECONDS: Final[dict[type[UpstreamError], float]] = {
    ProviderKeyRefused: 600.0,
    ProviderBalanceExhausted: 600.0,
    ProviderQuotaExhausted: 300.0,
    ProviderRateLimited: 5.0,
}
"""How long a key rests where the provider gives no time. A missing permission concerns one model, so the key does not rest."""


class KeyChoice:
    """Keys that rest, by provider and key. ``clock`` gives seconds and never runs backwards."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[tuple[str, str], float] = {}

    def choose(self, provider: str, keys: tuple[str, ...], spread: int, met: Collection[int] = ()) -> int:
        """The number of the key to use: of those that are not in ``met`` and do not rest the one that ``spread`` falls on,
        else the one that rests for the shortest time still."""
        count = len(keys)
        if count < 2:
            return 0
        order = [(spread + step) % count for step in range(count)]
        left = [number for number in order if number not in met] or order
        now = self._clock()
        return min(left, key=lambda number: max(0.0, self._until.get((provider, keys[number]), 0.0) - now))

    def another(self, provider: str, keys: tuple[str, ...], met: Collection[int]) -> bool:
        """Whether there is a key that does not rest and is not in ``met``."""
        now = self._clock()
        return any(
            number not in met and self._until.get((provider, key), 0.0) <= now for number, key in enumerate(keys)
        )

    def rest(self, provider: str, key: str, error: UpstreamError) -> None:
        """Leave a key alone for as long as the provider says, or as that kind of trouble usually lasts."""
        seconds = _REST_SECONDS.get(type(error))
        if seconds is not None:
            self._until[provider, key] = self._clock() + (error.retry_after_seconds or seconds)
