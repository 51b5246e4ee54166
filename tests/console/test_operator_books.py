"""What operators see is what the books say; what cannot be meant is refused by name."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from pydantic import ValidationError

from console.operator_books import AccountPage, EntryPage, OperatorBooks, ReportRange
from console.report import FIRST_DAY, report_as_json
from console.slow_reads import SlowReads
from middlewares.errors import Refusal
from storage.audit_runs import record_audit
from storage.identifiers import now_microseconds
from storage.report import MICROSECONDS_PER_DAY, make_report
from tests.gateway import Gateway


async def test_what_the_books_say(gateway: Gateway) -> None:
    """Accounts, one of them, its entries, a receipt, sums, attempts, and what needs attention."""
    await gateway.chat()
    (row,) = await gateway.settled(1)
    with gateway.database.session() as connection:
        record_audit(connection, connection.now() - 3 * MICROSECONDS_PER_DAY, ["a row disagrees"])
        day = now_microseconds() // MICROSECONDS_PER_DAY
        made = make_report(connection, day * MICROSECONDS_PER_DAY, (day + 1) * MICROSECONDS_PER_DAY, ("model",))
    parts = gateway.process._account_parts()
    database = parts.database
    books = OperatorBooks(
        database, SlowReads(database), parts.catalogue, parts.key_prefix, parts.expiry_and_refund_days
    )
    today = datetime.now(UTC).date().isoformat()

    (listed,), _ = await books.accounts(AccountPage(q="ADA"))
    account = await books.account(gateway.account_id)
    entries = [(await books.entries(EntryPage(account=name)))[0] for name in ("Ada@example.com", gateway.account_id)]
    receipt = await books.receipt(row.request_id)
    report = await books.report(ReportRange.model_validate({"from": today, "to": today, "by": "model"}))
    attempts = await books.attempts_today()
    attention = await books.attention()
    late = OperatorBooks(
        database,
        SlowReads(database, patience_seconds=0),
        parts.catalogue,
        parts.key_prefix,
        parts.expiry_and_refund_days,
    )

    assert (None, None) == ((await late.attention())["report"], await late.attempts_today())
    assert gateway.account_id == listed["id"]
    assert listed == account["account"]
    assert [row.to_json()] == account["calls"]
    assert account["keys"][0]["last_four"] == gateway.key[-4:]
    assert gateway.key not in str(account)
    assert entries[0] == entries[1]
    assert {"promotion", "usage", "fee"} == {entry["kind"] for entry in entries[0]}
    assert ("ada@example.com", row.to_json()["cost"]) == (receipt["email"], receipt["paid"])
    assert {**report_as_json(made, ("model",)), "from": today, "to": today} == report
    assert attempts is not None
    assert 1 == attempts["alpha", "standard-upstream"].attempts
    assert (3, 1, "a row disagrees") == tuple(
        attention["audit"][name] for name in ("days", "disagreements", "sentence")
    )
    assert 1 == attention["report"]["totals"]["calls"]
    for asking in (
        books.account("acct_none"),
        books.account("\0"),
        books.receipt("req_none"),
        books.ticket("ticket_none"),
        books.entries(EntryPage(account="nobody@example.com")),
        books.entries(EntryPage(cursor="junk")),
        books.accounts(AccountPage(cursor="junk")),
    ):
        with pytest.raises(Refusal):
            await asking


def test_days_of_a_report() -> None:
    """Thirty days up to today where nothing is said; both ends are in it; not the wrong way round."""
    today = datetime.now(UTC).date()
    behind = (today - FIRST_DAY).days + 1

    assert (behind - 30, behind) == ReportRange().days()
    assert (0, 2) == ReportRange.model_validate({"from": "1970-01-01", "to": "1970-01-02"}).days()
    assert 0 == ReportRange.model_validate({"to": "1970-01-03"}).days()[0]
    for begin, end in ((today, today - timedelta(days=1)), (date(1969, 12, 31), today)):
        with pytest.raises(Refusal):
            ReportRange.model_validate({"from": begin, "to": end}).days()


def test_a_kind_is_one_of_the_ledger() -> None:
    """Or none."""
    assert "restore" == EntryPage(kind="restore").kind
    with pytest.raises(ValidationError, match="expected one of usage"):
        EntryPage(kind="gift")
