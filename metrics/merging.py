"""One page out of the pages of several workers, so that whoever scrapes a gateway sees it whole.

Counters and histograms are sums. What a gauge of several workers means together is said for each family: most are sums,
too; a state is the worst of them, and what all of them read in the same books is read once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from metrics.instruments import PREFIX

_OTHERWISE: Final[dict[str, Callable[[Iterable[float]], float]]] = {
    "provider_up": min,
    "probe_up": min,
    "config_last_reload_successful": min,
    "circuit_state": max,
    "build_info": max,
    "holds_usd": max,  # Every worker reads the same books; they differ by the moment.
}
"""Gauges that are not sums."""


def merge(pages: Sequence[str]) -> bytes:
    """The pages as one, in Prometheus' text format. Raises ValueError for a page that is not in that format."""
    families: dict[str, Metric] = {}
    samples: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], list[float]]] = {}
    for page in pages:
        for family in text_string_to_metric_families(page):
            if family.name.endswith("_created"):  # When counting began: several began at several times.
                continue
            families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            found = samples.setdefault(family.name, {})
            for sample in family.samples:
                found.setdefault((sample.name, tuple(sample.labels.items())), []).append(sample.value)
    for name, metric in families.items():
        together = _OTHERWISE.get(name.removeprefix(PREFIX), sum)
        for (sample_name, labels), values in samples[name].items():
            metric.add_sample(sample_name, dict(labels), together(values))
    registry = CollectorRegistry()
    registry.register(_Page(list(families.values())))
    return generate_latest(registry)


class _Page(Collector):
    """Families that are there already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        """What was given."""
        return self._families
