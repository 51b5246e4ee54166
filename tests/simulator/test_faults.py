"""simulator/faults.py: orders are understood or refused with a sentence, and carried out in sequence."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.faults import KINDS, MalformedOrder, Order, Orders, order_in, read_order


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("reset", "object"),
        ({}, "None"),
        ({"kind": "explode"}, "explode"),
        ({"kind": ["hang"]}, "hang"),
        ({"kind": "reset_after", "count": 3}, "count"),
        ({"kind": "reset_after", "chunks": -1}, "chunks"),
        ({"kind": "status", "status": 99}, "status"),
        ({"kind": "status", "name": "tired"}, "name"),
        ({"kind": "status", "retry_after": "1\r\nX: y"}, "retry_after"),
        ({"kind": "hang", "times": 1.5}, "times"),
        ({"kind": "hang", "probability": 2}, "probability"),
        ({"kind": "echo_key", "split": 1}, "split"),
        ({"kind": "raw", "headers": {"a": 1}}, "headers"),
        ({"kind": "raw", "steps": [{"text": 1}]}, "steps"),
        ({"kind": "raw", "steps": [{"base64": "!"}]}, "steps"),
        ({"kind": "raw", "steps": [{"base64": 1}]}, "steps"),
        ({"kind": "raw", "ending": "boom"}, "ending"),
    ],
)
def test_what_cannot_be_understood_is_named(value: Any, named: str) -> None:
    """The sentence says which word was not understood."""
    with pytest.raises(MalformedOrder, match=named):
        read_order(value)


FIELD_NAMES = ["kind", "chunks", "status", "steps", "headers", "times", "name", "usage", "model"]
VALUES = st.sampled_from([*KINDS]) | st.none() | st.integers() | st.floats() | st.text()


@settings(deadline=None, print_blob=True, max_examples=300)
@given(st.dictionaries(st.sampled_from(FIELD_NAMES), VALUES | st.lists(VALUES, max_size=2), max_size=4))
def test_any_object_is_read_or_refused(value: Any) -> None:
    """No order, however strange, raises anything else."""
    try:
        order = read_order(value)
    except MalformedOrder:
        return
    assert order.kind in KINDS


def test_fields_are_read() -> None:
    """Common fields and the kind's own are kept apart; the default of `chunks` is three."""
    order = read_order({"kind": "cut_after", "chunks": 5, "model": "m", "times": 0, "latency_seconds": 1})
    assert order == Order("cut_after", {"chunks": 5}, model="m", times=0, latency_seconds=1)
    assert order.chunks == 5
    assert read_order({"kind": "cut_after"}).chunks == 3
    raw = {"steps": [{"base64": "/w==", "times": 2}, {"text": "x", "seconds": 1}], "headers": {"A": "b"}}
    assert read_order({"kind": "raw", **raw}).options == raw


def test_an_order_in_a_prompt_is_found() -> None:
    """Text around it does not matter, and it stands for every time the prompt is sent unless it says otherwise."""
    assert order_in('Please SIM:{"kind":"hang"} thank you') == Order("hang", times=0)
    assert order_in('SIM:{"kind":"hang","times":2}') == Order("hang", times=2)
    assert order_in("Tell me about SIM: cards") is None
    assert order_in("SIM:cards") is None
    assert order_in("") is None


def test_a_broken_order_in_a_prompt_is_refused() -> None:
    """Half a JSON object, or nothing but brackets."""
    for text in ('SIM:{"kind":', "SIM:{" + '"a":[' * 5000):
        with pytest.raises(MalformedOrder, match="SIM"):
            order_in(text)


def taken(orders: Orders, count: int, model: str = "m", key: str = "sk-1") -> list[str]:
    """The kinds of fault the next calls get."""
    found = [orders.take("kimi", model, key) for _ in range(count)]
    return [order.kind if order is not None else "" for order in found]


def test_orders_are_used_up_in_sequence() -> None:
    """Each as often as it says, then all is well."""
    orders = Orders()
    orders.add([Order("hang", times=2), Order("none"), Order("reset")])
    assert taken(orders, 5) == ["hang", "hang", "none", "reset", ""]
    assert len(orders) == 0


def test_an_order_of_zero_times_stands_until_cleared() -> None:
    """And hides those behind it."""
    orders = Orders()
    orders.add([Order("hang", times=0), Order("reset")])
    assert taken(orders, 3) == ["hang", "hang", "hang"]
    orders.clear()
    assert taken(orders, 1) == [""]


def test_an_order_waits_for_the_call_it_is_for() -> None:
    """By model and by the end of the key; other calls go on to the next order."""
    orders = Orders()
    orders.add([Order("hang", model="a"), Order("reset", key="99"), Order("status", provider="qwen")])
    assert taken(orders, 1, model="b", key="sk-1") == [""]
    assert taken(orders, 1, model="b", key="sk-99") == ["reset"]
    assert taken(orders, 2, model="a", key="sk-99") == ["hang", ""]
    assert len(orders) == 1


def test_probability_draws_the_same_in_every_run() -> None:
    """About as often as it says, and not otherwise the next time."""
    runs = []
    for _ in range(2):
        orders = Orders()
        orders.add([Order("reset", times=0, probability=0.3)])
        runs.append(taken(orders, 1000))
    assert runs[0] == runs[1]
    assert 250 < runs[0].count("reset") < 350


def test_too_many_orders_are_refused() -> None:
    """The queue has a bound."""
    orders = Orders()
    with pytest.raises(MalformedOrder, match="10000"):
        orders.add([Order("hang")] * 10_001)
    assert len(orders) == 0
