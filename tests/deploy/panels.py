"""Whether every panel of a dashboard shows something: its queries are asked of a Prometheus that scraped a gateway."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.fakes.prometheus import Prometheus

RANGE = "1m"
"""What stands for the dashboard's own stretches of time: longer than a test."""


def panels_of(dashboard: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every panel but the rows, also of rows that are folded."""
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            yield panel
        yield from panels_of({"panels": panel.get("panels") or []})


async def faults_of(dashboard: Mapping[str, Any], prometheus: Prometheus) -> list[str]:
    """A sentence for every query that is wrong, has no answer or no number, or whose legend names a label that is not there."""
    asked = [(panel["title"], target) for panel in panels_of(dashboard) for target in panel["targets"]]
    found = [await _fault_of(target["expr"], target["legendFormat"], prometheus) for _, target in asked]
    return [f"{title}: {fault}: {target['expr']}" for (title, target), fault in zip(asked, found, strict=True) if fault]


async def _fault_of(expression: str, legend: str, prometheus: Prometheus) -> str:
    asked = re.sub(r"\$__(rate_interval|range|interval)", RANGE, expression).replace("$instance", ".+")
    if "$" in asked:
        return "a variable that the dashboard does not have"
    try:
        series = await prometheus.query(asked)
    except ValueError as error:
        return str(error)
    if not any(math.isfinite(float(one["value"][1])) for one in series):
        return "no number"
    labels = re.findall(r"{{(\w+)}}", legend)
    missing = sorted({label for label in labels for one in series if label not in one["metric"]})
    return f"no label {', '.join(missing)}" if missing else ""
