"""What is known of the providers' prompt caches: who served a session last, and how much of the prompts came from a cache.

A provider's cache helps whoever comes back to it. So a session is led back to where it was, and a price is compared with
the part of the prompt that was lately read from the cache. All of it is a preference held in memory: bounded, and lost
when the process ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from billing.usage import Usage
from providers.recent import Recent
from providers.selection import WHOLE_SHARE, Way

SESSIONS_REMEMBERED: Final = 50_000
SHARES_REMEMBERED: Final = 50_000
IDLE_SECONDS: Final = 3600.0
"""How long a session, or a share, is remembered after the last call that told of it."""


class PromptCaches:
    """One process's memory. ``clock`` gives seconds and never runs backwards."""

    def __init__(
        self,
        *,
        sessions: int = SESSIONS_REMEMBERED,
        shares: int = SHARES_REMEMBERED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._servers: Recent[tuple[str, str, str], Way] = Recent(sessions, IDLE_SECONDS, clock)
        self._shares: Recent[tuple[str, str, str, str], int] = Recent(shares, IDLE_SECONDS, clock)

    def server_of(self, account_id: str, session: str, asked: str) -> Way | None:
        """Who served the session last when it asked for this model."""
        return self._servers.find((account_id, session, asked))

    def share(self, account_id: str, session: str, model: str, provider: str) -> int:
        """The share of the prompt that is likely to come from the provider's cache, in millionths: as the session has
        seen it, else as the account has; 0 where nothing is known."""
        found = self._shares.find((account_id, session, model, provider)) if session else None
        if found is None:
            found = self._shares.find((account_id, "", model, provider))
        return found or 0

    def served(self, account_id: str, session: str, asked: str, way: Way, usage: Usage | None) -> None:
        """A call was served there; ``usage`` as the provider reported it, None where it did not."""
        if session:
            self._servers.remember((account_id, session, asked), way)
        if usage is None or not usage.prompt_tokens:
            return
        model, provider, _ = way
        seen = usage.cached_tokens * WHOLE_SHARE // usage.prompt_tokens
        self._learn((account_id, "", model, provider), seen)
        if session:
            self._learn((account_id, session, model, provider), seen)

    def _learn(self, key: tuple[str, str, str, str], seen: int) -> None:
        """The newest call counts as much as all before it; nothing is kept of whoever never had anything from a cache."""
        known = self._shares.find(key)
        if known is None and not seen:
            return
        self._shares.remember(key, seen if known is None else (known + seen) // 2)
