"""Quick counters and histograms: what they show is what Prometheus' own would show, and whole numbers stay whole."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.registry import Collector

from metrics.collectors import FastCounter, FastHistogram

LABELS = ("provider", "model")


def page(*collectors: Collector) -> list[str]:
    """The lines of the metrics page, but for instants of creation, which only the library's own collectors tell."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


def test_a_counter_shows_what_the_librarys_own_shows() -> None:
    """Line for line, label values with strange signs included."""
    ours = FastCounter("calls", "Calls.", LABELS)
    theirs = Counter("calls", "Calls.", LABELS, registry=None)
    for provider, model, amount in (("alpha", "a", 1), ("alpha", "b", 5), ("alpha", "a", 2), ('"\n\\', "", 1)):
        ours.add((provider, model), amount)
        theirs.labels(provider, model).inc(amount)

    assert page(theirs) == page(ours)


def test_a_counter_without_labels_begins_at_nothing() -> None:
    """A rate over it is known from the first scrape; one with labels has no line before its first event."""
    assert "calls_total 0.0" in page(FastCounter("calls", "Calls.", ()))
    assert [] == [line for line in page(FastCounter("calls", "Calls.", LABELS)) if not line.startswith("#")]


def test_units_are_divided_only_when_they_are_shown() -> None:
    """A million times a tenth of a cent's thousandth is a dollar, to the last digit."""
    money = FastCounter("spend", "Spend.", (), scale=10**8)
    for _ in range(1_000_000):
        money.add((), 100)

    assert "spend_total 1.0" in page(money)
    money.add((), 10**16 + 1)
    assert 10**16 + 10**8 + 1 == money._totals[()]


@settings(deadline=None, print_blob=True, max_examples=100)
@given(st.lists(st.sampled_from([0.0, 0.005, 0.01, 0.5, 1.0, 7.0]) | st.floats(0, 20), max_size=50))
def test_a_histogram_shows_what_the_librarys_own_shows(values: list[float]) -> None:
    """Every bucket, bounds included, the count and the sum, for any values."""
    buckets = (0.005, 0.01, 0.5, 1, 5)
    ours = FastHistogram("seconds", "Seconds.", LABELS, buckets)
    theirs = Histogram("seconds", "Seconds.", LABELS, buckets=buckets, registry=None)
    for value in values:
        ours.observe(("alpha", "a"), value)
        theirs.labels("alpha", "a").observe(value)

    assert page(theirs) == page(ours)


def test_series_are_kept_apart() -> None:
    """An observation under one pair of labels is none under another."""
    source = random.Random(1)
    ours = FastHistogram("seconds", "Seconds.", LABELS, (0.5,))
    theirs = Histogram("seconds", "Seconds.", LABELS, buckets=(0.5,), registry=None)
    for _ in range(100):
        labels, value = (source.choice("ab"), source.choice("xy")), source.random()
        ours.observe(labels, value)
        theirs.labels(*labels).observe(value)

    assert sorted(page(theirs)) == sorted(page(ours))
