"""Bars as high as they say, none above the top, and none lost."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from console.pages.chart import HEIGHT, WIDTH, draw, round_up

AMOUNTS = st.integers(0, 10**14).map(lambda units: Decimal(units).scaleb(-8))


@given(st.lists(AMOUNTS, min_size=1, max_size=40))
def test_bars_stand_in_the_picture(values: list[Decimal]) -> None:
    """Each in its place, from its top down to the bottom; what is not nothing can be seen, nothing cannot."""
    chart = draw([(str(number), value) for number, value in enumerate(values)])

    assert len(values) == len(chart.bars)
    assert all(value <= chart.top for value in values)
    right = Decimal(0)
    for value, bar in zip(values, chart.bars, strict=True):
        assert Decimal(HEIGHT) == Decimal(bar.y) + Decimal(bar.height)
        assert right <= Decimal(bar.x)
        right = Decimal(bar.x) + Decimal(bar.width)
        assert (value > 0) == (Decimal(bar.height) >= 1)
    assert right <= WIDTH


def test_a_bar_is_as_high_as_its_value() -> None:
    """Half of the top is half of the height."""
    assert ["80.00", "160.00", "0.00"] == [
        bar.height for bar in draw([("a", Decimal("0.5")), ("b", Decimal(1)), ("c", Decimal(0))]).bars
    ]


@given(AMOUNTS.filter(bool))
def test_the_top_is_a_round_number(value: Decimal) -> None:
    """One digit and zeros, at most twice what it must cover."""
    top = round_up(value)

    assert value <= top <= 2 * value
    assert 1 == len(top.normalize().as_tuple().digits)


def test_nothing_spent() -> None:
    """No bars, and a top all the same."""
    assert (Decimal(1), ()) == (draw([]).top, draw([]).bars)
