"""What live traffic, and where there is none free probes, tell about each upstream: a circuit that opens on failures, and how
fast it answers.

Rules: only what says something about the provider counts (a caller's own fault or a caller who leaves is neutral); failures
of one call alone never open a circuit; an open circuit lets one probe through at a time after a while, earlier where nobody
else could be asked; health is a preference, never a reason to refuse a call that could be tried. A free probe
(providers/probing.py) speaks of a provider's host and key: it can open circuits, and bring an open one to half-open, but only
an answer to a call closes one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from providers.selection import Standing
from providers.track_record import TrackRecord

FAILURES_TO_OPEN: Final = 5
"""Failures in a row."""
CALLS_TO_OPEN: Final = 3
"""Calls that these failures must come from: a lone caller's tries, or two callers', are left to their schedule."""
OPEN_SECONDS: Final = 10.0
"""How long an open circuit waits before it lets a probe through."""
EARLY_SECONDS: Final = 1.0
"""How long it waits where every other candidate is no better."""
FORGOTTEN_SECONDS: Final = 60.0
"""A failure so long ago is no part of a row any more."""
SMOOTHING: Final = 0.2
"""Weight of the newest observation in the moving averages."""

HealthKey = tuple[str, str]
"""Provider and upstream model."""

ANYBODY: Final = "anybody"
"""Who tries, where only one does."""


def never() -> bool:
    """Of a probe whose answer shows only when it is over."""
    return False


_UNKNOWN: Final = Standing()
"""An upstream nobody has tried yet counts as healthy."""
_SPARED: Final = Standing(healthy=False)
"""Unless its provider is to be spared."""


@dataclass(frozen=True, slots=True)
class UpstreamReport:
    """What people are shown of an upstream's health, as this process has seen it."""

    state: str
    """closed, open, or half_open while a probe is due or under way."""
    uptime: float | None
    """The share of good answers among the last attempts, from 0 to 1; None where nothing was tried."""
    samples: int
    """How many attempts that was counted from."""
    latency_p50_seconds: float | None
    """To the first content of a stream, or the whole of a plain answer; half of the good answers were as fast."""
    latency_p90_seconds: float | None
    seconds_until_probe: float


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    calls: int = 0
    """How many calls the failures come from."""
    failed_at: float = 0.0
    opened_at: float | None = None
    probe: object = None
    """Who has the probe; None while nobody has."""
    serves: Callable[[], bool] = never
    told_at: float | None = None
    """When a call last told anything about the upstream."""
    by_host: bool = False
    """Whether it is open because a free probe did not reach the provider."""
    welcome: bool = False
    """Whether a free probe has been answered since it opened: it is half open, for all that is known."""
    latency_seconds: float | None = None
    tokens_per_second: float | None = None
    record: TrackRecord = field(default_factory=TrackRecord)

    def standing(self, *, healthy: bool) -> Standing:
        return Standing(healthy, self.latency_seconds, self.tokens_per_second)


class Health:
    """Circuits and averages of every upstream. ``clock`` gives seconds and never runs backwards."""

    def __init__(
        self,
        *,
        failures_to_open: int = FAILURES_TO_OPEN,
        calls_to_open: int = CALLS_TO_OPEN,
        open_seconds: float = OPEN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._circuits: dict[HealthKey, _Circuit] = {}
        self._failures_to_open = failures_to_open
        self._calls_to_open = calls_to_open
        self._open_seconds = open_seconds
        self._clock = clock
        self._spared: set[str] = set()
        """Providers that are tried after all others, because the operator's account there runs dry."""
        self.on_change: Callable[[HealthKey, bool], None] | None = None
        """Told when a circuit opens (False) or closes (True)."""

    def standing(self, key: HealthKey) -> Standing:
        """Healthy means: the circuit is closed, or it is due for a probe and none is under way; and nobody spares it."""
        circuit = self._circuits.get(key)
        if key[0] in self._spared:
            return _SPARED if circuit is None else circuit.standing(healthy=False)
        return _UNKNOWN if circuit is None else circuit.standing(healthy=self._takes_calls(circuit))

    def spare(self, provider: str, *, spared: bool) -> None:
        """Whether calls go to this provider only where nobody else can serve them."""
        if spared:
            self._spared.add(provider)
        else:
            self._spared.discard(provider)

    def report(self, key: HealthKey) -> UpstreamReport | None:
        """What to show of this upstream; None where nobody has tried it since the process began."""
        circuit = self._circuits.get(key)
        if circuit is None:
            return None
        wait = self.seconds_until_probe(key)
        state = (
            "closed" if circuit.opened_at is None else "half_open" if circuit.probe is not None or not wait else "open"
        )
        record = circuit.record
        return UpstreamReport(state, record.uptime, record.samples, record.latency(0.5), record.latency(0.9), wait)

    def may_try(
        self, key: HealthKey, who: object = ANYBODY, serves: Callable[[], bool] = never, *, early: bool = False
    ) -> bool:
        """Whether a request may go there now; for an open circuit this gives the one probe to ``who``.

        ``serves`` tells whether the probe has been answered while it is still under way, as a long stream is. ``early``:
        nobody else can be asked, so the probe need not be due, if the last one was not a moment ago.
        """
        circuit = self._circuits.get(key)
        if circuit is None or circuit.opened_at is None:
            return True
        if circuit.probe is not None and circuit.serves():
            self._close(key, circuit)
            return True
        wait = min(EARLY_SECONDS, self._open_seconds) if early else self._open_seconds
        if circuit.probe is not None or self._clock() - circuit.opened_at < wait:
            return False
        circuit.probe, circuit.serves = who, serves
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
        """A proper answer came, whoever asked: the circuit closes."""
        circuit = self._circuits.setdefault(key, _Circuit())
        circuit.failures = circuit.calls = 0
        circuit.told_at = self._clock()
        circuit.record.served(latency_seconds)
        if latency_seconds is not None:
            circuit.latency_seconds = _smooth(circuit.latency_seconds, latency_seconds)
        if tokens_per_second is not None:
            circuit.tokens_per_second = _smooth(circuit.tokens_per_second, tokens_per_second)
        if circuit.opened_at is not None:
            self._close(key, circuit)

    def failed(self, key: HealthKey, who: object = ANYBODY, *, again: bool = False) -> None:
        """The provider failed: one more towards opening; a failed probe opens it anew.

        ``again``: it has failed this very call before.
        """
        circuit = self._circuits.setdefault(key, _Circuit())
        circuit.record.failed()
        now = circuit.told_at = self._clock()
        if circuit.opened_at is not None:
            if circuit.probe is not None and circuit.probe == who:
                circuit.probe, circuit.serves, circuit.opened_at = None, never, now
                circuit.by_host = circuit.welcome = False
            return  # Who went there before it opened says nothing new.
        if now - circuit.failed_at > FORGOTTEN_SECONDS:
            circuit.failures = circuit.calls = 0
        circuit.failed_at = now
        circuit.failures += 1
        circuit.calls += not (again and circuit.calls)
        if circuit.failures >= self._failures_to_open and circuit.calls >= self._calls_to_open:
            self._open(key, circuit, now)

    def neutral(self, key: HealthKey, who: object = ANYBODY) -> None:
        """The attempt said nothing about the provider; a probe that ``who`` had is given back."""
        circuit = self._circuits.get(key)
        if circuit is not None and circuit.probe is not None and circuit.probe == who:
            circuit.probe, circuit.serves = None, never

    def told_at(self, key: HealthKey) -> float | None:
        """When a call last told anything about this upstream, on our clock."""
        circuit = self._circuits.get(key)
        return None if circuit is None else circuit.told_at

    def is_away(self, key: HealthKey) -> bool:
        """Whether the circuit is open and nothing has been heard of the provider since."""
        circuit = self._circuits.get(key)
        return circuit is not None and circuit.opened_at is not None and not circuit.welcome

    def found_away(self, key: HealthKey, *, unreachable: bool) -> None:
        """Free probes failed: the circuit opens. Where the provider's host could not even be reached, one that is open stays so
        for its whole time again: no call would fare better. A call that is probing meanwhile has the better word."""
        circuit = self._circuits.setdefault(key, _Circuit())
        if circuit.probe is not None or (circuit.opened_at is not None and not unreachable):
            return
        circuit.by_host, circuit.welcome = unreachable, False
        if circuit.opened_at is None:
            self._open(key, circuit, self._clock())
        else:
            circuit.opened_at = self._clock()

    def found_well(self, key: HealthKey) -> None:
        """A free probe was answered: an open circuit is half open, at once where nothing but the host was in question, else
        when its time is over. It is never closed by this, which says nothing about the model."""
        circuit = self._circuits.get(key)
        if circuit is None or circuit.opened_at is None or circuit.probe is not None:
            return
        circuit.welcome = True
        if circuit.by_host:
            circuit.by_host, circuit.opened_at = False, self._clock() - self._open_seconds

    def __iter__(self) -> Iterator[tuple[HealthKey, Standing]]:
        """Every upstream that anything is known of; here healthy means that its circuit is closed, or half open because a free
        probe was answered. Whether a call's probe is due does not count."""
        return (
            (key, circuit.standing(healthy=circuit.opened_at is None or circuit.welcome))
            for key, circuit in [*self._circuits.items()]
        )

    def _open(self, key: HealthKey, circuit: _Circuit, now: float) -> None:
        circuit.opened_at, circuit.welcome = now, False
        if self.on_change is not None:
            self.on_change(key, False)

    def _close(self, key: HealthKey, circuit: _Circuit) -> None:
        circuit.failures, circuit.calls, circuit.opened_at, circuit.probe, circuit.serves = 0, 0, None, None, never
        circuit.by_host = circuit.welcome = False
        if self.on_change is not None:
            self.on_change(key, True)

    def _takes_calls(self, circuit: _Circuit) -> bool:
        if circuit.opened_at is None:
            return True
        if circuit.probe is not None:
            return circuit.serves()
        return self._clock() - circuit.opened_at >= self._open_seconds


def _smooth(average: float | None, value: float) -> float:
    return value if average is None else average + SMOOTHING * (value - average)
