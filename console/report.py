"""A report of what was earned and what it cost in the words of our JSON, for `find-token report` and the pages for operators."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

from billing.money import format_usd

if TYPE_CHECKING:  # only for annotations, so that asking for help waits for no database driver
    from storage.report import Figures, Report

DAYS_BY_DEFAULT: Final = 30
FIRST_DAY: Final = date(1970, 1, 1)
COUNTS: Final = ("calls", "attempts")
AMOUNTS: Final = ("cost", "revenue", "fee", "absorbed", "failed_attempt_cost", "margin")


def report_as_json(made: Report, groups: tuple[str, ...]) -> dict[str, Any]:
    """The report with decimal strings for amounts."""
    lines = [
        {**{name: _shown(name, part) for name, part in zip(groups, line.group, strict=True)}, **_figures(line.figures)}
        for line in made.lines
    ]
    return {"by": list(groups), "data": lines, "truncated": made.truncated, "totals": _figures(made.totals)}


def _figures(figures: Figures) -> dict[str, Any]:
    counts = {name: getattr(figures, name) for name in COUNTS}
    return counts | {name: format_usd(getattr(figures, name)) for name in AMOUNTS}


def _shown(name: str, part: int | str | None) -> str | None:
    if name == "day":
        assert isinstance(part, int), "every call has a day"
        return (FIRST_DAY + timedelta(days=part)).isoformat()
    return None if part is None else str(part)
