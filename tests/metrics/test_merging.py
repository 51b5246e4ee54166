"""Several workers' pages become one that tells of all of them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from metrics.instruments import Instruments
from metrics.merging import merge


def page(calls: int, *, open_circuit: bool, good: bool) -> str:
    """The page of a worker that served so many calls."""
    instruments = Instruments("1.0")
    for number in range(calls):
        instruments.request("alpha", "standard", "standard", "complete", "200", 0.01 * number)
    instruments.streams_open.set(calls)
    instruments.config_is_good(good=good)
    instruments.held(7 * 10**8)
    instruments.watch_circuits(lambda: iter([(("alpha", "one"), not open_circuit)]))
    return generate_latest(instruments.registry).decode()


def values(text: str) -> dict[str, float]:
    """Samples by name; those of one name added up."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


def test_counts_are_sums_and_states_are_the_worst() -> None:
    """Calls and open streams add up; a circuit that one of them opened is open; the books are read once."""
    merged = values(merge([page(3, open_circuit=False, good=True), page(5, open_circuit=True, good=False)]).decode())

    assert 8 == merged["findtoken_requests_total"]
    assert 8 == merged["findtoken_request_seconds_count"]
    assert math.isclose(0.01 * (3 + 10), merged["findtoken_request_seconds_sum"])
    assert 8 == merged["findtoken_streams_open"]
    assert (1, 0) == (merged["findtoken_circuit_state"], merged["findtoken_provider_up"])
    assert 0 == merged["findtoken_config_last_reload_successful"]
    assert 7 == merged["findtoken_holds_usd"]
    assert 1 == merged["findtoken_build_info"]


def test_one_page_stays_what_it_was() -> None:
    """Every family, with its text and its kind; when counting began is left out, because several began at several times."""
    alone = page(4, open_circuit=False, good=True)

    assert [line for line in alone.splitlines() if "_created" not in line] == merge([alone]).decode().splitlines()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4))
@settings(max_examples=15, deadline=None)
def test_the_order_of_the_workers_does_not_matter(calls: list[int]) -> None:
    """However many there are."""
    pages = [page(number, open_circuit=number > 3, good=number != 2) for number in calls]

    assert values(merge(pages).decode()) == pytest.approx(values(merge(pages[::-1]).decode()))


def test_a_page_of_another_kind_is_refused() -> None:
    """A worker that answers something else is no worker of ours."""
    with pytest.raises(ValueError, match=r"."):
        merge(["<html>"])
