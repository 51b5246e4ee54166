"""What live traffic tells about each upstream: a circuit that opens on failures, and how fast it answers.

Rules: only what says something about the provider counts (a caller's own fault or a caller who leaves is neutral);
an open circuit lets one probe through at a time after a while; health is a preference, never a reason to refuse a call
that nobody else could serve.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from providers.selection import Standing

FAILURES_TO_OPEN: Final = 5
"""Failures in a row. One call's own four tries do not open a circuit by themselves."""
OPEN_SECONDS: Final = 10.0
"""How long an open circuit waits before it lets a probe through."""
SMOOTHING: Final = 0.2
"""Weight of the newest observation in the moving averages."""

HealthKey = tuple[str, str]
"""Provider and upstream model."""


_UNKNOWN: Final = Standing()
"""An upstream nobody has tried yet counts as healthy."""


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    opened_at: float | None = None
    probing: bool = False
    latency_seconds: float | None = None
    tokens_per_second: float | None = None

    def standing(self, *, healthy: bool) -> Standing:
        return Standing(healthy, self.latency_seconds, self.tokens_per_second)


class Health:
    """Circuits and averages of every upstream. ``clock`` gives seconds and never runs backwards."""

    def __init__(
        self,
        *,
        failures_to_open: int = FAILURES_TO_OPEN,
        open_seconds: float = OPEN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._circuits: dict[HealthKey, _Circuit] = {}
        self._failures_to_open = failures_to_open
        self._open_seconds = open_seconds
        self._clock = clock
        self.on_change: Callable[[HealthKey, bool], None] | None = None
        """Told when a circuit opens (False) or closes (True)."""

    def standing(self, key: HealthKey) -> Standing:
        """Healthy means: the circuit is closed, or it is due for a probe and none is under way."""
        circuit = self._circuits.get(key)
        return _UNKNOWN if circuit is None else circuit.standing(healthy=self._takes_calls(circuit))

    def may_try(self, key: HealthKey) -> bool:
        """Whether a request may go there now; for an open circuit this reserves the one probe."""
        circuit = self._circuits.get(key)
        if circuit is None:
            return True
        if not self._takes_calls(circuit):
            return False
        circuit.probing = circuit.opened_at is not None
        return True

    def seconds_until_probe(self, key: HealthKey) -> float:
        """How long an open circuit stays closed to everybody; 0 for a closed one."""
        circuit = self._circuits.get(key)
        if circuit is None or circuit.opened_at is None:
            return 0.0
        return max(0.0, circuit.opened_at + self._open_seconds - self._clock())

    def succeeded(
        self, key: HealthKey, *, latency_seconds: float | None = None, tokens_per_second: float | None = None
    ) -> None:
        """A proper answer came: the circuit closes."""
        circuit = self._circuits.setdefault(key, _Circuit())
        was_open = circuit.opened_at is not None
        circuit.failures, circuit.opened_at, circuit.probing = 0, None, False
        if latency_seconds is not None:
            circuit.latency_seconds = _smooth(circuit.latency_seconds, latency_seconds)
        if tokens_per_second is not None:
            circuit.tokens_per_second = _smooth(circuit.tokens_per_second, tokens_per_second)
        if was_open and self.on_change is not None:
            self.on_change(key, True)

    def failed(self, key: HealthKey) -> None:
        """The provider failed: one more towards opening; a failed probe opens it anew."""
        circuit = self._circuits.setdefault(key, _Circuit())
        circuit.failures += 1
        circuit.probing = False
        if circuit.opened_at is not None:
            circuit.opened_at = self._clock()
        elif circuit.failures >= self._failures_to_open:
            circuit.opened_at = self._clock()
            if self.on_change is not None:
                self.on_change(key, False)

    def neutral(self, key: HealthKey) -> None:
        """The attempt said nothing about the provider; a reserved probe is given back."""
        circuit = self._circuits.get(key)
        if circuit is not None:
            circuit.probing = False

    def __iter__(self) -> Iterator[tuple[HealthKey, Standing]]:
        """Every upstream that was tried; here healthy means that its circuit is closed, whether a probe is due or not."""
        return (
            (key, circuit.standing(healthy=circuit.opened_at is None)) for key, circuit in [*self._circuits.items()]
        )

    def _takes_calls(self, circuit: _Circuit) -> bool:
        if circuit.opened_at is None:
            return True
        return not circuit.probing and self._clock() - circuit.opened_at >= self._open_seconds


def _smooth(average: float | None, value: float) -> float:
    return value if average is None else average + SMOOTHING * (value - average)
