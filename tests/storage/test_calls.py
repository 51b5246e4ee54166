"""The billing log: what was written comes back, newest first, page by page, for its own account only."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.calls import AttemptRow, CallRow, InvalidCursor, find_call, insert_call, list_calls
from storage.connection import Conflict
from storage.database import Connection, Database, open_database
from storage.ledger import Settlement
from storage.migrating import migrate

MakeSettlement = Callable[..., Settlement]


@pytest.fixture
def quiet(database_url: str) -> Database:
    """A database with the schema, without threads."""
    opened = open_database(database_url)
    migrate(opened)
    return opened


def attempt(number: int, **facts: object) -> AttemptRow:
    row = AttemptRow(
        number=number,
        provider="kimi",
        model="kimi-k2",
        upstream_model="kimi-k2-0905",
        outcome="upstream_busy",
        status=503,
        code=None,
        latency_ms=7,
    )
    return replace(row, **facts)  # type: ignore[arg-type]


@pytest.fixture
def row(make_settlement: MakeSettlement) -> CallRow:
    """A call with every field set."""
    return make_settlement(
        "r1",
        "acct_1",
        123_456_789,
        11,
        absorbed=5,
        created=1_700_000_000_000_042,
        streamed=True,
        estimated=True,
        anomalous=True,
        prompt_tokens=1,
        cached_tokens=2,
        completion_tokens=3,
        reasoning_tokens=4,
        price_version="2026-11",
        latency_ms=9,
        first_content_ms=8,
    ).row


def store(database: Database, rows: list[CallRow]) -> None:
    with database.session() as connection:
        for one in rows:
            insert_call(connection, one, one.attempts, balance_after=77)


def test_a_call_comes_back_as_it_was_written(quiet: Database, row: CallRow) -> None:
    """With its attempts in order and the balance the ledger put in; for its own account only, and once."""
    written = replace(row, attempts=(attempt(1), attempt(2, status=None, code="x", outcome="ok", borne_by="account")))
    store(quiet, [written])

    with quiet.session() as connection:
        assert replace(written, balance_after=77) == find_call(connection, "acct_1", "r1")
        assert find_call(connection, "acct_2", "r1") is None
        assert find_call(connection, "acct_1", "r\x00") is None
    with pytest.raises(Conflict):
        store(quiet, [written])


def test_a_call_is_shown_with_decimal_strings(row: CallRow) -> None:
    """The contract's fields, money as decimal strings, the instant in ISO 8601, attempts as a list."""
    shown = json.loads(json.dumps(replace(row, attempts=(attempt(1, upstream_cost=150_000_000),)).to_json()))

    assert ("1.23456789", "0.00000011", "1.234568", "0.00000005") == (
        shown["provider_cost"],
        shown["fee"],
        shown["cost"],
        shown["absorbed"],
    )
    assert "2023-11-14T22:13:20.000042Z" == shown["created"]
    assert [("kimi", 503, "1.5", "nobody")] == [
        (one["provider"], one["status"], one["upstream_cost"], one["borne_by"]) for one in shown["attempts"]
    ]
    assert (True, True, True) == (shown["streamed"], shown["estimated"], shown["anomalous"])
    wanted = """request_id created requested_model model provider mode payer streamed status billing_outcome usage_source
        estimated anomalous prompt_tokens cached_tokens completion_tokens reasoning_tokens provider_cost fee cost
        price_version attempts key_id latency_ms first_content_ms"""
    assert set(wanted.split()) <= set(shown)


def test_pages_are_newest_first_and_miss_nothing(quiet: Database, row: CallRow) -> None:
    """Rows of one instant included; the last page has no cursor."""
    rows = [
        replace(row, request_id=f"r{number:02d}", created=number // 3, attempts=(attempt(1),)) for number in range(10)
    ]
    store(quiet, [*rows, replace(row, request_id="other", account_id="acct_2")])

    seen, cursor, pages = [], None, 0
    with quiet.session() as connection:
        while pages == 0 or cursor is not None:
            page, cursor = list_calls(connection, "acct_1", limit=4, cursor=cursor)
            seen += page
            pages += 1

    assert [f"r{number:02d}" for number in reversed(range(10))] == [one.request_id for one in seen]
    assert [1] * 10 == [len(one.attempts) for one in seen]
    assert 3 == pages


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "cba"),
        ({"model": "m2"}, "b"),
        ({"provider": "p2"}, "c"),
        ({"mode": "byok"}, "b"),
        ({"key_id": "k2"}, "c"),
        ({"status": 502}, "a"),
        ({"since": 2}, "cb"),
        ({"until": 3}, "ba"),
        ({"since": 2, "until": 3, "mode": "byok"}, "b"),
        ({"model": "none"}, ""),
    ],
)
def test_filters_leave_what_they_name(quiet: Database, row: CallRow, filters: dict[str, object], expected: str) -> None:
    """Each alone and together; `since` is included, `until` is not."""
    store(
        quiet,
        [
            replace(row, request_id="a", created=1, status=502),
            replace(row, request_id="b", created=2, model="m2", mode="byok"),
            replace(row, request_id="c", created=3, provider="p2", key_id="k2"),
        ],
    )

    with quiet.session() as connection:
        page, cursor = list_calls(connection, "acct_1", **filters)  # type: ignore[arg-type]

    assert (expected, None) == ("".join(one.request_id for one in page), cursor)


@pytest.mark.parametrize("arguments", [{"limit": 0}, {"limit": 1001}, {"model": "\x00"}, {"status": 2**63}])
def test_what_no_page_can_answer_is_refused(quiet: Database, arguments: dict[str, object]) -> None:
    """Before it reaches the database."""
    with quiet.session() as connection, pytest.raises(ValueError, match=r"page|no call"):
        list_calls(connection, "acct_1", **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("cursor", ["x", "é", "AAAA", "LTEgcg", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OSBy", "MSAA"])
def test_a_cursor_that_is_not_ours_is_refused(quiet: Database, cursor: str) -> None:
    """Not base64, no number, a negative or an enormous one, a NUL in the id."""
    with quiet.session() as connection, pytest.raises(InvalidCursor):
        list_calls(connection, "acct_1", cursor=cursor)


class _Unused(Connection):
    """A connection that would fail if anything were asked of it."""

    def __init__(self) -> None:
        pass


@settings(deadline=None, print_blob=True)
@given(st.text())
def test_any_text_as_a_cursor_is_read_or_refused(cursor: str) -> None:
    """It never fails in another way; one that reads as ours gets as far as the database."""
    with pytest.raises((InvalidCursor, AttributeError)):
        list_calls(_Unused(), "acct_1", cursor=cursor)
