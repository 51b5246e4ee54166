"""What a wrong price took is given back, once, to the last unit; the books agree and receipts show it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from random import Random

import pytest

from billing.money import format_usd
from billing.price_book import PriceBook
from billing.receipt import digest, make_receipt, verify
from providers.catalogue import Catalogue
from storage.accounts import create_account
from storage.audit import audit, summary
from storage.calls import CallRow
from storage.database import Connection, Database, open_database
from storage.identifiers import microseconds
from storage.ledger import find_balance, place_hold, post_credit
from storage.lots import read_credits
from storage.migrating import migrate
from storage.receipts import find_billed_call
from storage.rerating import (
    CHARGED_MORE,
    GIVEN_BACK,
    NOT_COVERED,
    NOT_RATED,
    TOO_CHEAP,
    UNCHANGED,
    Correction,
    Wish,
    rerate,
)
from tests.billed import BEGIN, priced_catalogue, random_settlement, settle

SEED = 4711
CALLS = 300
SINCE, UNTIL = microseconds(BEGIN), microseconds(BEGIN + timedelta(days=59))
WRONG = {"from": "2026-01-01T00:00:00Z", "input": Decimal("0.30"), "output": Decimal("1.20")}
LATER = {"from": "2026-03-01T00:00:00Z", "input": Decimal("0.17"), "output": Decimal("0.57")}


def corrected(input: str, output: str, revision: int = 2) -> Catalogue:
    """The wrong price book with a correction of its first price."""
    right = {**WRONG, "input": Decimal(input), "output": Decimal(output), "revision": revision}
    return priced_catalogue(various=[WRONG, right, LATER])


CHEAPER, DEARER = corrected("0.15", "0.60"), corrected("0.60", "2.40")


@pytest.fixture
def database(database_url: str) -> Database:
    """Two accounts with calls of every kind, charged at the wrong prices."""
    print("seed", SEED)
    random, wrong = Random(SEED), priced_catalogue(various=[WRONG, LATER])
    opened = open_database(database_url)
    migrate(opened)
    with opened.session() as connection:
        accounts = [create_account(connection, f"{name}@example.com").id for name in ("ada", "bob")]
        for account in accounts:
            post_credit(connection, f"gift:{account}", account, 10**11, "promotion", "test", 1)
        for number in range(CALLS):
            settle(connection, random_settlement(random, number, random.choice(accounts), wrong))
    return opened


def wish(book: Catalogue | PriceBook, **fields: bool) -> Wish:
    """All calls of the model while the wrong price was in force."""
    prices = book if isinstance(book, PriceBook) else book.price_book()
    return Wish(book=prices, model="various", since=SINCE, until=UNTIL, reason="the price was wrong", **fields)


def outcomes(corrections: list[Correction]) -> dict[str, int]:
    """How many calls each outcome has."""
    return {name: sum(one.outcome == name for one in corrections) for name in {one.outcome for one in corrections}}


def balances(connection: Connection) -> dict[str, int]:
    """What each account has, which its lots agree with."""
    rows = connection.execute("SELECT id, balance FROM account").fetchall()
    for account, balance in rows:
        assert balance == sum(lot.left for lot in read_credits(connection, account, 14).lots.lots)
    return dict(rows)


def receipts(connection: Connection, book: PriceBook) -> list[dict[str, object]]:
    """The receipt of every call, proved against the book."""
    made = []
    for number in range(CALLS):
        found = find_billed_call(connection, f"req_{number:06d}")
        assert found is not None
        made.append(make_receipt(found[0].to_json(), [entry.to_json() for entry in found[1]], book))
        assert [] == verify(json.loads(json.dumps(made[-1])), book)
    return made


def rows(connection: Connection) -> list[CallRow]:
    """The billing log."""
    found = [find_billed_call(connection, f"req_{number:06d}") for number in range(CALLS)]
    return [one[0] for one in found if one is not None]


def test_too_much_is_given_back_once(database: Database) -> None:
    """Each account gets the sum of the differences; a second time changes nothing; lines stay; receipts and audit agree."""
    with database.session(snapshot=True) as connection:
        before, lines, figures = balances(connection), rows(connection), summary(connection)

    told = list(rerate(database, wish(CHEAPER), 1_800_000_000_000_001))
    again = list(rerate(database, wish(CHEAPER), 1_800_000_000_000_002))

    assert {GIVEN_BACK, UNCHANGED} >= {one.outcome for one in told} - {"rebooked"}
    assert outcomes(told)[GIVEN_BACK] > 20
    assert {UNCHANGED} == {one.outcome for one in again}
    with database.session(snapshot=True) as connection:
        after = balances(connection)
        assert [] == audit(connection)
        for account, balance in after.items():
            assert balance - before[account] == -sum(one.difference for one in told if one.account_id == account)
        assert lines == rows(connection)
        back = sum(after.values()) - sum(before.values())
        now = summary(connection)
        assert (figures.revenue - back, figures.charged) == (now.revenue, now.charged)
        made = receipts(connection, CHEAPER.price_book())
        adjusted = [one for one in made if one["paid"] != one["call"]["cost"]]  # type: ignore[index]
        assert outcomes(told)[GIVEN_BACK] == len(adjusted)
        untold = """SELECT COUNT(*) FROM entry LEFT JOIN entry_balance ON entry_balance.entry_id = entry.id
            WHERE kind = 'adjustment' AND substr(credit, 1, 9) = 'customer:' AND entry_balance.entry_id IS NULL"""
        assert (0,) == connection.execute(untold).fetchone(), "lots are told by the balance before each of them"


def test_a_dry_run_tells_the_same_and_writes_nothing(database: Database) -> None:
    """Call by call."""
    with database.session(snapshot=True) as connection:
        before = summary(connection)
    tried = list(rerate(database, wish(CHEAPER, dry_run=True), 1))
    with database.session(snapshot=True) as connection:
        assert before == summary(connection)

    assert tried == list(rerate(database, wish(CHEAPER), 1_800_000_000_000_001))


def test_too_little_is_not_charged_more_by_itself(database: Database) -> None:
    """It is named, and nothing is written; asked for, it is taken, and receipts and audit agree."""
    with database.session(snapshot=True) as connection:
        before = balances(connection)
    named = [one for one in rerate(database, wish(DEARER), 1) if one.outcome == TOO_CHEAP]
    assert len(named) > 20
    with database.session(snapshot=True) as connection:
        assert before == balances(connection)

    told = list(rerate(database, wish(DEARER, charge_more=True), 1_800_000_000_000_001))

    assert {one.request_id for one in named} == {one.request_id for one in told if one.outcome == CHARGED_MORE}
    with database.session(snapshot=True) as connection:
        after = balances(connection)
        assert sum(before.values()) - sum(after.values()) == sum(one.difference for one in named)
        assert [] == audit(connection)
        receipts(connection, DEARER.price_book())


def test_more_is_taken_only_as_far_as_it_is_available(database: Database) -> None:
    """What calls in flight hold stays; the rest is named, and taken when there is credit again."""
    with database.session() as connection:
        for account, balance in balances(connection).items():
            place_hold(connection, f"hold:{account}", account, (balance - 20_000,), None, "p", 0, 1)

    told = list(rerate(database, wish(DEARER, charge_more=True), 1_800_000_000_000_001))

    found = outcomes(told)
    assert (found[CHARGED_MORE] > 0, found[NOT_COVERED] > 0) == (True, True)
    with database.session() as connection:
        for account in balances(connection):
            assert 0 <= find_balance(connection, account).available < 20_000
            post_credit(connection, f"more:{account}", account, 10**10, "promotion", "test", 1_800_000_000_000_002)
        assert [] == audit(connection)
    later = outcomes(list(rerate(database, wish(DEARER, charge_more=True), 1_800_000_000_000_003)))
    assert found[NOT_COVERED] == later[CHARGED_MORE]
    with database.session(snapshot=True) as connection:
        assert [] == audit(connection)


def test_a_correction_may_be_corrected(database: Database) -> None:
    """Relative to what the call has come to; and nobody goes back to a price that was posted before under its name."""
    second = priced_catalogue(
        various=[
            WRONG,
            {**WRONG, "input": Decimal("0.15"), "output": Decimal("0.60"), "revision": 2},
            {**WRONG, "input": Decimal("0.10"), "output": Decimal("0.40"), "revision": 3},
            LATER,
        ]
    )
    list(rerate(database, wish(CHEAPER), 1_800_000_000_000_001))
    told = outcomes(list(rerate(database, wish(second), 1_800_000_000_000_002)))
    back = [
        one
        for one in rerate(database, wish(CHEAPER, charge_more=True), 1_800_000_000_000_003)
        if one.outcome not in (UNCHANGED, NOT_RATED)
    ]

    assert told[GIVEN_BACK] > 20
    assert [] == back
    with database.session(snapshot=True) as connection:
        assert [] == audit(connection)
        receipts(connection, second.price_book())


def test_a_changed_adjustment_is_caught_in_the_receipt(database: Database) -> None:
    """Its amount, its direction and its price, although the digest was made anew."""
    book = CHEAPER.price_book()
    list(rerate(database, wish(CHEAPER), 1_800_000_000_000_001))
    with database.session(snapshot=True) as connection:
        receipt = next(one for one in receipts(connection, book) if one["paid"] != one["call"]["cost"])  # type: ignore[index]
    entries = receipt["entries"]
    assert isinstance(entries, list)
    index = next(index for index, entry in enumerate(entries) if entry["kind"] == "adjustment")
    entry = entries[index]
    for change in (
        {"amount": format_usd(1)},
        {"debit": entry["credit"], "credit": entry["debit"]},
        {"id": entry["id"].replace(".2:", ".3:")},
        {"reference": "req_other"},
        {"kind": "usage"},
    ):
        other = {**receipt, "entries": [*entries[:index], {**entry, **change}, *entries[index + 1 :]]}
        assert verify({**other, "digest": digest(other)}, book), change


def test_what_cannot_be_rated_is_named(database: Database) -> None:
    """Lines from before fees were kept, and upstreams for which the catalogue has no price; free calls are left alone."""
    with database.session() as connection:
        connection.execute("UPDATE call SET price_rule = NULL WHERE request_id < 'req_000050'")
    told = list(rerate(database, wish(CHEAPER), 1_800_000_000_000_001))
    assert {"the line was written before hold and fee were kept in it"} == {
        one.sentence for one in told if one.outcome == NOT_RATED
    }
    unknown = [
        one for one in rerate(database, wish(PriceBook({})), 1) if one.sentence.startswith("the catalogue has no")
    ]
    assert unknown


def test_other_models_and_moments_are_not_touched(database: Database) -> None:
    """Only what was asked for is looked at."""
    told = list(rerate(database, wish(CHEAPER), 1_800_000_000_000_001))
    with database.session(snapshot=True) as connection:
        lines = {row.request_id: row for row in rows(connection)}

    assert {"various"} == {lines[one.request_id].model for one in told}
    assert all(SINCE <= lines[one.request_id].created < UNTIL for one in told)
    assert [] == list(rerate(database, replace(wish(CHEAPER), model="gone"), 1))
