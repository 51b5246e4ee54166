"""A bar chart as the numbers of an SVG: places and heights, computed here so that the template only writes them down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 160
_GAP: Final = Decimal("0.25")
"""The part of a bar's place that is left free."""
_STEPS: Final = tuple(map(Decimal, (1, 2, 3, 4, 5, 6, 8, 10)))


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, from its upper left corner; `label` and `value` are what it stands for."""

    x: str
    y: str
    width: str
    height: str
    label: str
    value: Decimal


@dataclass(frozen=True, slots=True)
class Chart:
    """All bars, and the value that the top stands for."""

    bars: tuple[Bar, ...]
    top: Decimal
    width: int = WIDTH
    height: int = HEIGHT


def draw(values: Sequence[tuple[str, Decimal]]) -> Chart:
    """Bars side by side, the top a round number that none exceeds; what is not nothing is at least a line high."""
    top = round_up(max((value for _, value in values), default=Decimal(0)))
    place = Decimal(WIDTH) / max(len(values), 1)
    bars = []
    for number, (label, value) in enumerate(values):
        height = max(value / top * HEIGHT, Decimal(1)) if value > 0 else Decimal(0)
        corner = number * place + place * _GAP / 2
        x, y, width, tall = (f"{one:.2f}" for one in (corner, HEIGHT - height, place * (1 - _GAP), height))
        bars.append(Bar(x, y, width, tall, label, value))
    return Chart(tuple(bars), top)


def round_up(value: Decimal) -> Decimal:
    """The next number of one digit and zeros; 1 for nothing."""
    if value <= 0:
        return Decimal(1)
    scale = Decimal(1).scaleb(value.adjusted())
    step = next(step for step in _STEPS if step * scale >= value)
    return (step * scale).quantize(Decimal(1).scaleb(min(value.adjusted(), 0)), ROUND_CEILING)
