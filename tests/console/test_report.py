"""A report leaves with decimal strings and days, whoever asked for it."""

from __future__ import annotations

from console.report import report_as_json
from storage.report import Figures, Line, Report


def test_a_report_in_our_json() -> None:
    """Groups in their order, what is not known as null, the margin worked out."""
    figures = Figures(2, 3, 150_000_000, 250_000_000, 10_000_000, 1, 2)

    made = report_as_json(Report((Line((20_000, None), figures),), truncated=False, totals=figures), ("day", "model"))

    told = {"calls": 2, "attempts": 3, "cost": "1.5", "revenue": "2.5", "fee": "0.1", "absorbed": "0.00000001"}
    told |= {"failed_attempt_cost": "0.00000002", "margin": "1"}
    line = {"day": "2024-10-04", "model": None, **told}
    assert {"by": ["day", "model"], "data": [line], "truncated": False, "totals": told} == made
