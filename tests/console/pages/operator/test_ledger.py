"""The ledger, anybody's receipt and the sums are shown as the books have them."""

from __future__ import annotations

import re

from console.pages.rendering import usd
from storage.corrections import post_adjustment
from tests.console.pages.parts import faults_of
from tests.console.pages.test_public import text_of
from tests.operating import Office


async def test_from_the_ledger_to_the_receipt_and_the_sums(office: Office) -> None:
    """By filter and by request id, a page at a time; what a filter cannot mean is said beside the form."""
    for _ in range(2):
        await office.gateway.chat()
    rows = await office.gateway.settled(2)
    row = rows[-1]
    with office.gateway.database.session() as connection:
        for number in range(48):
            post_adjustment(connection, f"a{number}", office.gateway.account_id, 1, "a test", number)

    first = await office.grace.get("/operator/ledger?account=ada%40example.com&kind=&from=&to=")
    link = re.search(r'href="(/operator/ledger\?[^"]*)" rel="next"', first.body.decode())
    assert link is not None
    second = await office.grace.get(link[1].replace("&amp;", "&"))
    fees = await office.grace.get("/operator/ledger?kind=fee&from=2020-01-01&to=2100-01-01")
    wrong = [
        await office.grace.get(f"/operator/ledger?{query}")
        for query in ("kind=gift", "from=soon", "account=nobody@example.com", "cursor=junk", "x=1", "account=%00")
    ]
    found = await office.grace.follow(await office.grace.get(f"/operator/calls?request_id=+{row.request_id}+"))
    nothing = await office.grace.follow(await office.grace.get("/operator/calls?request_id=../accounts"))
    empty = await office.grace.get("/operator/calls?request_id=")
    sums = await office.grace.get("/operator/report?by=provider")
    backwards = await office.grace.get("/operator/report?from=2026-02-02&to=2026-02-01")

    seen = [re.findall(r'href="/operator/calls/(req_\w+)"', page.body.decode()) for page in (first, second)]
    assert {one.request_id for one in rows} == {*seen[0], *seen[1]}
    assert [50, 3] == [page.body.count(b'<td class="nowrap">') for page in (first, second)]
    assert 2 == fees.body.count(b'<td class="nowrap">')
    assert [400] * 6 == [page.status for page in wrong]
    assert all(b'role="alert"' in page.body for page in wrong)
    for told in (row.request_id, "ada@example.com", usd(row.to_json()["cost"], 8), "alpha", "standard-upstream"):
        assert told in text_of(found), told
    assert [404, 303] == [nothing.status, empty.status]
    revenue = usd(f"{sum(one.cost for one in rows) / 10**8:.8f}")
    assert f"alpha 2 2 {revenue}" in text_of(sums)
    assert 400 == backwards.status
    assert [] == [fault for page in (first, found, sums, wrong[0]) for fault in faults_of(page.body.decode())]
