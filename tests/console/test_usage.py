"""Usage over the API: sums by day, model and key that add up to the billing log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from billing.money import format_usd
from tests.gateway import Gateway


async def test_sums_are_those_of_the_log(plane: Gateway, ask: Any) -> None:
    """Each breakdown adds up to the totals, and the totals to the rows; the range is the last thirty days."""
    other = (await ask("POST", "/v1/user/keys", {"name": "other"})).json
    for fields in ({}, {"model": "lonely"}, {"headers": {"Authorization": f"Bearer {other['key']}"}}):
        assert 200 == (await plane.chat(**fields)).status

    shown = (await ask("GET", "/v1/user/usage")).json

    rows = plane.rows()
    today = datetime.now(UTC).date()
    assert (str(today - timedelta(days=29)), str(today)) == (shown["from"], shown["to"])
    assert (3, 3000, format_usd(sum(row.cost for row in rows))) == tuple(
        shown["totals"][name] for name in ("calls", "prompt_tokens", "cost")
    )
    assert [(str(today), 3)] == [(one["day"], one["calls"]) for one in shown["by_day"]]
    assert [("lonely", 1), ("standard", 2)] == [(one["model"], one["calls"]) for one in shown["by_model"]]
    assert {rows[0].key_id: 2, other["id"]: 1} == {one["key_id"]: one["calls"] for one in shown["by_key"]}


async def test_a_range_of_days(plane: Gateway, ask: Any) -> None:
    """Both ends included; nobody else's calls are in it."""
    _, stranger = plane.new_account("stranger")
    await plane.chat()
    today = datetime.now(UTC).date()
    yesterday = today - timedelta(days=1)

    for query, calls in ((f"?from={today}", 1), (f"?from={yesterday}&to={today}", 1), (f"?to={yesterday}", 0)):
        assert calls == (await ask("GET", f"/v1/user/usage{query}")).json["totals"]["calls"], query
    assert 0 == (await ask("GET", "/v1/user/usage", key=stranger)).json["totals"]["calls"]


@pytest.mark.parametrize("query", ["from=2026-01-02&to=2026-01-01", "from=2020-01-01&to=2022-01-01", "to=x", "by=day"])
async def test_a_range_that_cannot_be_meant_is_refused(gateway: Gateway, ask_of: Any, query: str) -> None:
    """A 400 that names the parameter."""
    refused = await ask_of(gateway)("GET", f"/v1/user/usage?{query}")

    assert (400, "invalid_value") == refused.code
    assert refused.error["param"] in query
