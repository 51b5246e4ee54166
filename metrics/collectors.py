"""Counters and histograms that cost a dictionary look-up, for what happens on every call.

They are written by one thread, the event loop's, and read by another while Prometheus scrapes, so they need no lock: a
scrape sees each number as it was at some moment, and numbers only grow.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class FastCounter(Collector):
    """A counter with labels, summed in whole numbers. ``scale`` units are shown as 1, so that money adds up exactly."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str], *, scale: int = 1) -> None:
        self._name = name
        self._help = help_text
        self._labels = labels
        self._scale = scale
        self._totals: dict[tuple[str, ...], int] = {}
        if not labels:
            self._totals[()] = 0

    def add(self, labels: tuple[str, ...], amount: int = 1) -> None:
        """Count ``amount`` units."""
        totals = self._totals
        totals[labels] = totals.get(labels, 0) + amount

    def collect(self) -> Iterator[Metric]:
        """The family as Prometheus reads it."""
        metric = CounterMetricFamily(self._name, self._help, labels=self._labels)
        for labels, total in list(self._totals.items()):
            metric.add_metric(labels, total / self._scale)
        yield metric


class FastHistogram(Collector):
    """A histogram with labels; ``buckets`` are upper bounds, ascending, without infinity."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str], buckets: Sequence[float]) -> None:
        self._name = name
        self._help = help_text
        self._labels = labels
        self._bounds = tuple(buckets)
        self._series: dict[tuple[str, ...], list[float]] = {}
        if not labels:
            self._series[()] = self._nothing()

    def observe(self, labels: tuple[str, ...], value: float) -> None:
        """Count one observation."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = self._nothing()
        series[bisect_left(self._bounds, value)] += 1
        series[-1] += value

    def collect(self) -> Iterator[Metric]:
        """The family as Prometheus reads it: cumulative buckets and the sum."""
        metric = HistogramMetricFamily(self._name, self._help, labels=self._labels)
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        for labels, series in list(self._series.items()):
            counts = list(series)
            below = 0.0
            buckets = []
            for name, count in zip(names, counts[:-1], strict=True):
                below += count
                buckets.append((name, below))
            metric.add_metric(labels, buckets, counts[-1])
        yield metric

    def _nothing(self) -> list[float]:
        """One count per bucket, the last for what is above them all, then the sum."""
        return [0.0] * (len(self._bounds) + 2)
