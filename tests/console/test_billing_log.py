"""The billing log over the API: every call once, by page, by filter, as a receipt and as CSV; nobody sees another's."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from billing.receipt import verify
from console.billing_log import COLUMNS
from storage.calls import insert_calls
from tests.gateway import Gateway


async def test_every_call_is_there_once(plane: Gateway, ask: Any) -> None:
    """Newest first, page by page, while calls go on; a row has every field and is what its headers said."""
    replies = [await plane.chat() for _ in range(5)]

    seen: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = (await ask("GET", f"/v1/user/billing-logs?limit=2{cursor}")).json
        seen += page["data"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
        await plane.chat()

    assert [reply.header("Request-Id") for reply in reversed(replies)] == [row["request_id"] for row in seen]
    assert [reply.header("Cost") for reply in reversed(replies)] == [row["cost"] for row in seen]
    assert set(COLUMNS) <= set(seen[0])
    assert ["alpha"] == [attempt["provider"] for attempt in seen[0]["attempts"]]


async def test_filters(plane: Gateway, ask: Any) -> None:
    """By time, model, provider, mode, key and status, alone and together."""
    own = {"provider_key": {"provider": "alpha", "api_key": "caller-own-key-0123456789"}}
    other = (await ask("POST", "/v1/user/keys", {"name": "other"})).json
    first = (await plane.chat()).header("Request-Id")
    second = (await plane.chat(model="lonely", **own)).header("Request-Id")
    third = (await plane.chat(headers={"Authorization": f"Bearer {other['key']}"})).header("Request-Id")
    created = plane.rows()[1].created
    instant = datetime.fromtimestamp(created // 10**6, UTC).replace(microsecond=created % 10**6).isoformat()
    today = datetime.now(UTC).date()

    for query, expected in (
        ("", [third, second, first]),
        ("?model=lonely", [second]),
        ("?mode=byok", [second]),
        ("?mode=standard&model=standard", [third, first]),
        ("?provider=beta", []),
        (f"?key={other['id']}", [third]),
        ("?status=200", [third, second, first]),
        ("?status=503", []),
        (f"?from={instant.replace('+', '%2B')}", [third, second]),
        (f"?to={instant.replace('+', '%2B')}", [first]),
        (f"?from={today}&to={today}", [third, second, first]),
        (f"?to={today - timedelta(days=1)}", []),
    ):
        found = await ask("GET", f"/v1/user/billing-logs{query}")
        assert expected == [row["request_id"] for row in found.json["data"]], query


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("status=ok", "status"),
        ("status=99", "status"),
        ("mode=free", "mode"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("from=yesterday", "from"),
        ("to=2026-02-30", "to"),
        ("user_id=acct_1", "user_id"),
        ("model=a&model=b", "model"),
        ("cursor=AAAA", "cursor"),
        ("model=%00", None),
    ],
)
async def test_a_filter_that_cannot_be_meant_is_refused(
    gateway: Gateway, ask_of: Any, query: str, param: str | None
) -> None:
    """By name, also one that does not exist: what is misspelled must not return everything."""
    refused = await ask_of(gateway)("GET", f"/v1/user/billing-logs?{query}")

    assert (400, "invalid_value", param) == (*refused.code, refused.error["param"]), refused.body


async def test_a_call_s_receipt_verifies(plane: Gateway, ask: Any) -> None:
    """What is downloaded is proved from the price book alone."""
    request_id = (await plane.chat()).header("Request-Id")

    receipt = await ask("GET", f"/v1/user/billing-logs/{request_id}")

    assert 200 == receipt.status
    assert [] == verify(receipt.json, plane.process.catalogue().price_book())
    assert plane.row().to_json()["cost"] == receipt.json["paid"]


async def test_nobody_reads_another_s_calls(plane: Gateway, ask: Any) -> None:
    """The same answer as for a call that does not exist, by every way there is."""
    _, stranger = plane.new_account("stranger")
    request_id = (await plane.chat()).header("Request-Id")

    for path in (f"/v1/user/billing-logs/{request_id}", f"/v1/generation?id={request_id}"):
        mine = await ask("GET", path)
        other = await ask("GET", path, key=stranger)
        missing = await ask("GET", path.replace("req_", "req_0"), key=stranger)
        assert (200, 404) == (mine.status, other.status)
        assert {**missing.error, "request_id": ""} == {**other.error, "request_id": ""}
    assert [] == (await ask("GET", "/v1/user/billing-logs", key=stranger)).json["data"]
    assert 1 == len((await ask("GET", "/v1/user/billing-logs.csv", key=stranger)).body.splitlines())


async def test_all_of_it_as_csv(plane: Gateway, ask: Any) -> None:
    """More than a page: every row once, in order, with the same values; no cell is taken for a formula."""
    await plane.chat()
    row = plane.row()
    evil = ("=1+1", "+1", "-1", "@SUM(A1)", "\tx", "plain, with a comma", 'and a "quote"')
    with plane.database.session() as connection:
        insert_calls(
            connection,
            [
                (replace(row, request_id=f"req_{number:028x}", requested_model=evil[number % len(evil)]), (), 0)
                for number in range(450)
            ],
        )

    page = await ask("GET", "/v1/user/billing-logs.csv")

    assert "text/csv" == page.headers["Content-Type"].partition(";")[0]
    lines = list(csv.reader(io.StringIO(page.body.decode())))
    assert (list(COLUMNS), 451) == (lines[0], len(lines) - 1)
    assert 451 == len({line[0] for line in lines[1:]})
    by_id = {line[0]: dict(zip(COLUMNS, line, strict=True)) for line in lines[1:]}
    assert {f"'{text}" for text in evil[:5]} | set(evil[5:]) | {"standard"} == {
        line["requested_model"] for line in by_id.values()
    }
    told = by_id[row.request_id]
    assert (row.to_json()["cost"], "200", "false", "") == (
        told["cost"],
        told["status"],
        told["streamed"],
        told["first_content_ms"] and "",
    )
    assert 1 == len((await ask("GET", "/v1/user/billing-logs.csv?status=503")).body.splitlines())
    assert 400 == (await ask("GET", "/v1/user/billing-logs.csv?status=x")).status


async def test_a_file_that_breaks_is_no_whole_file(plane: Gateway, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the books fail in the middle, the connection ends without a proper end."""
    await plane.chat()
    row = plane.row()
    with plane.database.session() as connection:
        insert_calls(connection, [(replace(row, request_id=f"req_{number:028x}"), (), 0) for number in range(250)])
    read, pages = plane.database.read, 0

    async def fail_later(query: Any, *arguments: Any) -> Any:
        nonlocal pages
        pages += "BillingLog" in getattr(query, "__qualname__", "")
        if pages > 1:
            raise ConnectionError("the database went away")
        return await read(query, *arguments)

    monkeypatch.setattr(plane.database, "read", fail_later)

    with pytest.raises(Exception, match=r"payload|Connection|disconnected"):
        await ask("GET", "/v1/user/billing-logs.csv")
