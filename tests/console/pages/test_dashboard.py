"""The dashboard and usage show what the account API tells, a page at a time, to nobody else."""

from __future__ import annotations

import re

from console.pages.dashboard import chart_of, dearest
from console.pages.rendering import usd
from tests.console.pages.parts import faults_of
from tests.console.pages.test_public import text_of
from tests.gateway import Gateway
from tests.visiting import Browser, sign_in


async def test_what_is_shown_is_what_the_api_tells(pages: Gateway, ada: Browser) -> None:
    """Balance, spending, the latest calls; one call with what it cost; from it a ticket."""
    await pages.chat()
    await pages.chat(model="dear", stream=True)
    rows = await pages.settled(2)

    dashboard = text_of(await ada.get("/my/dashboard"))
    usage = text_of(await ada.get("/my/usage"))
    call = await ada.get(f"/my/calls/{rows[1].request_id}")
    ticket = await ada.get(f"/my/tickets?request_id={rows[1].request_id}")

    spent = usd(str(sum(row.cost for row in rows) / 10**8))
    assert f"Spent in 30 days {usd(str(sum(row.cost for row in rows) / 10**8), 2)}" in dashboard
    assert f"2 calls for {spent}" in usage
    for row in rows:
        assert usd(row.to_json()["cost"]) in dashboard
    assert rows[1].request_id in text_of(call)
    assert [] == faults_of(call.body.decode())
    assert usd(rows[1].to_json()["cost"], 8) in text_of(call)
    assert f'value="{rows[1].request_id}"' in ticket.body.decode()


async def test_calls_page_by_page_and_by_filter(pages: Gateway, ada: Browser) -> None:
    """Every call once, the next page by a link that keeps the filter; what a filter cannot mean is said."""
    for _ in range(27):
        await pages.chat()
    await pages.chat(model="lonely")
    await pages.settled(28)

    first = await ada.get("/my/usage?model=standard&from=&to=&mode=&key=&status=")
    link = re.search(r'href="(/my/usage\?[^"]*)" rel="next"', first.body.decode())
    assert link is not None
    second = await ada.get(link[1].replace("&amp;", "&"))
    wrong = await ada.get("/my/usage?status=many")
    junk = await ada.get("/my/usage?cursor=junk")

    seen = [re.findall(r"/my/calls/(req_\w+)", reply.body.decode()) for reply in (first, second)]
    assert [25, 2] == [len(page) for page in seen]
    assert {row.request_id for row in pages.rows() if row.model == "standard"} == {*seen[0], *seen[1]}
    assert [400, 400] == [wrong.status, junk.status]


async def test_nobody_sees_anothers_calls(pages: Gateway) -> None:
    """Neither in the list nor by their id."""
    _, eve = sign_in(pages, "ada", "eve")
    await pages.chat()
    (row,) = await pages.settled(1)

    assert row.request_id.encode() not in (await eve.get("/my/dashboard")).body + (await eve.get("/my/usage")).body
    assert 404 == (await eve.get(f"/my/calls/{row.request_id}")).status


def test_days_without_calls_are_in_the_chart() -> None:
    """As bars of no height, in their places."""
    usage = {"from": "2026-02-27", "to": "2026-03-02", "by_day": [{"day": "2026-03-01", "cost": "0.5"}]}

    assert [("2026-02-27", "0.00"), ("2026-02-28", "0.00"), ("2026-03-01", "160.00"), ("2026-03-02", "0.00")] == [
        (bar.label, bar.height) for bar in chart_of(usage).bars
    ]


def test_the_dearest_come_first() -> None:
    """As amounts, not as texts."""
    rows = [{"cost": cost} for cost in ("9", "10", "0.00000001")]

    assert ["10", "9", "0.00000001"] == [row["cost"] for row in dearest(rows)]
