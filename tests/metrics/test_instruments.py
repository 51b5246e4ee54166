"""What is counted is what happened, to the last digit; names and labels are a promise to whoever draws graphs of them."""

from __future__ import annotations

import math

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from metrics.instruments import FAMILIES, PREFIX, Instruments


class Samples(dict[tuple[str, ...], float]):
    """Values by name without prefix and labels as name=value, in whatever order they are asked for."""

    def __getitem__(self, name: tuple[str, ...]) -> float:
        return super().__getitem__((name[0], *sorted(name[1:])))


def samples(instruments: Instruments) -> Samples:
    """Every sample of the page but those that only the library adds."""
    page = generate_latest(instruments.registry).decode()
    return Samples(
        (
            (sample.name.removeprefix(PREFIX), *sorted(f"{name}={value}" for name, value in sample.labels.items())),
            sample.value,
        )
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if not sample.name.endswith("_created")
    )


def test_the_families_are_what_is_registered() -> None:
    """Each has its name, its help text and its kind; there are no others."""
    instruments = Instruments("1.2.3")
    instruments.watch_circuits(lambda: iter(()))
    shown = {
        family.name: (family.documentation, family.type)
        for family in text_string_to_metric_families(generate_latest(instruments.registry).decode())
        if not family.name.endswith("_created")
    }

    kinds = {"seconds": "histogram", "total": "counter"}
    expected = {
        PREFIX + name.removesuffix("_total"): (text, kinds.get(name.rpartition("_")[2], "gauge"))
        for name, text in FAMILIES.items()
    }
    assert expected == shown
    assert 1 == samples(instruments)[("build_info", "version=1.2.3")]


def test_a_call_is_counted_and_timed() -> None:
    """Under the labels it is told; the time falls into the bucket it belongs to."""
    instruments = Instruments("1")
    for seconds in (0.2, 0.3):
        instruments.request("alpha", "standard", "byok", "complete", "200", seconds)
    instruments.request("", "", "", "refused", "400", 0.001)
    found = samples(instruments)

    labels = ("provider=alpha", "model=standard")
    assert 2 == found[("requests_total", *labels, "mode=byok", "outcome=complete", "code=200")]
    assert 1 == found[("requests_total", "provider=", "model=", "mode=", "outcome=refused", "code=400")]
    assert (1, 2) == (
        found[("request_seconds_bucket", *labels, "le=0.25")],
        found[("request_seconds_bucket", *labels, "le=0.5")],
    )
    assert 0.5 == found[("request_seconds_sum", *labels)]


def test_attempts_failovers_and_retries() -> None:
    """Each under its upstream; attempts by outcome, too."""
    instruments = Instruments("1")
    for outcome in ("served", "served", "timed_out"):
        instruments.attempt("alpha", "standard", outcome, 1.0)
    instruments.failover("alpha", "standard")
    instruments.retry("alpha", "standard")
    instruments.retry("alpha", "standard")
    instruments.first_token("alpha", "standard", 0.2)
    found = samples(instruments)

    labels = ("provider=alpha", "model=standard")
    assert {"served": 2, "timed_out": 1} == {
        outcome: found[("upstream_attempts_total", *labels, f"outcome={outcome}")]
        for outcome in ("served", "timed_out")
    }
    assert (3, 1, 2, 1) == (
        found[("upstream_seconds_count", *labels)],
        found[("failovers_total", *labels)],
        found[("retries_total", *labels)],
        found[("time_to_first_token_seconds_count", *labels)],
    )


def test_money_is_summed_exactly() -> None:
    """A hundred thousand times a tenth of a cent's thousandth is a whole number of it: no float is ever added."""
    instruments = Instruments("1")
    for _ in range(100_000):
        instruments.spend("alpha", "standard", "standard", 10, 0)
        instruments.upstream_cost("alpha", "standard", 7)
    instruments.spend("alpha", "standard", "byok", 1, 3)
    found = samples(instruments)

    labels = ("provider=alpha", "model=standard")
    assert 0.01 == found[("spend_usd_total", *labels, "mode=standard")]
    assert 1e-8 == found[("spend_usd_total", *labels, "mode=byok")]
    assert 0.007 == found[("upstream_cost_usd_total", *labels)]
    assert 3e-8 == found[("absorbed_usd_total", *labels)]


def test_what_is_held() -> None:
    """A number of dollars, or none where nobody knows it: an old number would be a lie."""
    instruments = Instruments("1")
    instruments.held(123_456_789)
    assert 1.23456789 == samples(instruments)[("holds_usd",)]
    instruments.held(None)
    assert math.isnan(samples(instruments)[("holds_usd",)])


def test_nothing_absorbed_is_no_line() -> None:
    """A family without an event has no sample, so that an alert on it fires for something."""
    instruments = Instruments("1")
    instruments.spend("alpha", "standard", "standard", 10, 0)

    assert [] == [name for name in samples(instruments) if name[0] == "absorbed_usd_total"]


def test_tokens_by_kind() -> None:
    """The parts beside their wholes, as the billing log has them."""
    instruments = Instruments("1")
    instruments.tokens("alpha", "standard", 100, 40, 50, 30)
    instruments.tokens("alpha", "standard", 1, 0, 2, 0)
    found = samples(instruments)

    labels = ("tokens_total", "provider=alpha", "model=standard")
    assert {"prompt": 101, "cached": 40, "completion": 52, "reasoning": 30} == {
        kind: found[(*labels, f"kind={kind}")] for kind in ("prompt", "cached", "completion", "reasoning")
    }


def test_circuits_are_read_where_they_are_kept() -> None:
    """A provider is up while none of its upstreams' circuits is open; every reading asks anew."""
    instruments = Instruments("1")
    circuits = {("alpha", "one"): True, ("alpha", "two"): True, ("beta", "three"): True}
    instruments.watch_circuits(lambda: iter(circuits.items()))
    before = samples(instruments)
    circuits[("alpha", "one")] = False
    after = samples(instruments)

    assert (1, 1) == (before[("provider_up", "provider=alpha")], after[("provider_up", "provider=beta")])
    assert 0 == after[("provider_up", "provider=alpha")]
    assert (1, 0) == (
        after[("circuit_state", "provider=alpha", "upstream_model=one")],
        after[("circuit_state", "provider=alpha", "upstream_model=two")],
    )


def test_gateways_in_one_process_do_not_mix() -> None:
    """Each has a registry of its own."""
    first, second = Instruments("1"), Instruments("1")
    first.rate_limited.inc()

    assert (1, 0) == (samples(first)[("rate_limited_total",)], samples(second)[("rate_limited_total",)])


def test_reports_of_usage_that_were_ignored_are_counted() -> None:
    """By provider, as many values as there were."""
    instruments = Instruments("1")
    instruments.usage_ignored("alpha", 2)
    instruments.usage_ignored("alpha", 1)

    assert 3 == samples(instruments)[("usage_ignored_total", "provider=alpha")]
