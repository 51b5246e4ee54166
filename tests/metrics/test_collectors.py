"""Quick counters and histograms: what they show is what Prometheus' own would show, and whole numbers stay whole."""

from __future__ import annotations

import random
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from metrics.collectors import FastCounter, FastHistogram

LABELS = ("provider", "model")


def page(*collectors: Collector) -> list[str]:
    """The lines of the metrics page, but for instants of creation, which only the library's own collectors tell."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


def families(*collectors: Collector) -> list[Metric]:
    """What the library's parser reads on the page."""
    return list(text_string_to_metric_families("\n".join(page(*collectors)) + "\n"))


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
@given(st.lists(st.integers(0, 10**14), max_size=20))
def test_money_is_shown_as_exactly_as_a_number_can(amounts: list[int]) -> None:
    """The dollars on the page are those of the books, rounded once, by whoever reads them as a float."""
    money = FastCounter("spend", "Spend.", ("provider",), scale=10**8)
    for amount in amounts:
        money.add(("alpha",), amount)
    shown = [sample.value for family in families(money) for sample in family.samples]

    assert ([float(Decimal(sum(amounts)).scaleb(-8))] if amounts else []) == shown


def test_the_page_can_be_read_back() -> None:
    """By the library's own parser: families with name, help and kind, samples with name, labels and value."""
    calls = FastCounter("calls_total", "Calls.\nAll of them.", LABELS)
    calls.add(('"\n\\', "ü"), 3)
    seconds = FastHistogram("seconds", "Seconds.", ("model",), (0.5, 1))
    for value in (0.5, 0.7, 9.0):
        seconds.observe(("a",), value)
    read = {
        (family.name, family.documentation, family.type): [
            (sample.name, sample.labels, sample.value) for sample in family.samples
        ]
        for family in families(calls, seconds)
    }

    assert {
        ("calls", "Calls.\nAll of them.", "counter"): [("calls_total", {"provider": '"\n\\', "model": "ü"}, 3.0)],
        ("seconds", "Seconds.", "histogram"): [
            ("seconds_bucket", {"model": "a", "le": "0.5"}, 1.0),
            ("seconds_bucket", {"model": "a", "le": "1.0"}, 2.0),
            ("seconds_bucket", {"model": "a", "le": "+Inf"}, 3.0),
            ("seconds_count", {"model": "a"}, 3.0),
            ("seconds_sum", {"model": "a"}, 10.2),
        ],
    } == read


def test_a_histogram_without_labels_begins_at_nothing() -> None:
    """All its lines are there from the first scrape, as the library's are; one with labels begins with its first event."""
    ours = FastHistogram("seconds", "Seconds.", (), (0.5, 1))
    assert page(Histogram("seconds", "Seconds.", (), buckets=(0.5, 1), registry=None)) == page(ours)
    assert 'seconds_bucket{le="+Inf"} 0.0' in page(ours)
    ours.observe((), 0.2)
    assert 'seconds_bucket{le="0.5"} 1.0' in page(ours)

    assert [] == [line for line in page(FastHistogram("seconds", "Seconds.", LABELS, (1,))) if not line.startswith("#")]


@settings(deadline=None, print_blob=True, max_examples=100)
@given(st.lists(st.sampled_from([0.0, 0.005, 0.01, 0.5, 1.0, 7.0, float("inf")]) | st.floats(0, 20), max_size=50))
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
