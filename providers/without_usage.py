"""Upstreams that refuse `stream_options`: they are asked without, and are remembered for some hours.

Without the field such an upstream reports no usage, and its calls are billed by an estimate (docs/billing.md). So it is
remembered only once it has served a call without the field after refusing one with it: an error that merely quotes the
caller's words proves nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from providers.errors import RequestRefused, StreamOptionsRefused, UpstreamError

HOURS: Final = 6
"""Afterwards it is asked with the field again: providers mend such things."""
UPSTREAMS_REMEMBERED: Final = 1_000
_NAMES: Final = ("stream_options", "include_usage")

UpstreamKey = tuple[str, str]
"""Provider and upstream model."""


class WithoutUsage:
    """The upstreams that are asked without `stream_options`. ``clock`` gives seconds and never runs backwards."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[UpstreamKey, float] = {}

    def __contains__(self, key: UpstreamKey) -> bool:
        """Whether this upstream is known to refuse the field."""
        until = self._until.get(key)
        return until is not None and self._clock() < until

    def remember(self, key: UpstreamKey) -> None:
        """It refused the field and served without; the oldest is forgotten where there are too many."""
        self._until.pop(key, None)
        while len(self._until) >= UPSTREAMS_REMEMBERED:
            del self._until[next(iter(self._until))]
        self._until[key] = self._clock() + HOURS * 3600


def as_refusal_of_stream_options(error: UpstreamError) -> UpstreamError:
    """The error as StreamOptionsRefused where a refusal names the field; else as it is."""
    if type(error) is not RequestRefused or not any(name in error.message for name in _NAMES):
        return error
    return StreamOptionsRefused(error.message, provider=error.provider, status=error.status, code=error.code)
