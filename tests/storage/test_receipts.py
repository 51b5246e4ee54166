"""What a receipt is made of is found by the request id, and a thousand receipts of real settlements prove themselves."""

from __future__ import annotations

import json
from random import Random

from billing.receipt import make_receipt, verify
from billing.receipt_form import parse
from storage.accounts import create_account
from storage.audit import audit
from storage.database import open_database
from storage.ledger import post_credit
from storage.migrating import migrate
from storage.receipts import find_billed_call
from tests.billed import priced_catalogue, random_settlement, settle

SEED = 20261127


def test_the_receipts_of_a_thousand_calls_agree(database_url: str) -> None:
    """Paid, free, cut, estimated, on own keys and beyond their hold: each is computed again from its receipt alone."""
    print("seed", SEED)
    random, catalogue = Random(SEED), priced_catalogue()
    book = catalogue.price_book()
    database = open_database(database_url)
    migrate(database)
    with database.session() as connection:
        account = create_account(connection, "ada@example.com").id
        post_credit(connection, "gift", account, 10**15, "promotion", "test", 1)
        for number in range(1000):
            settle(connection, random_settlement(random, number, account, catalogue))

    receipts = []
    with database.session(snapshot=True) as connection:
        assert [] == audit(connection)
        for number in range(1000):
            found = find_billed_call(connection, f"req_{number:06d}")
            assert found is not None
            receipts.append(make_receipt(found[0].to_json(), [entry.to_json() for entry in found[1]], book))

    assert [] == [fault for receipt in receipts for fault in verify(parse(json.dumps(receipt)), book)]
    calls = [receipt["call"] for receipt in receipts]
    assert {"plain", "tier:50000", "window:09:00-12:00@Asia/Shanghai"} == {call["price_rule"] for call in calls}
    assert {True, False} == {call["anomalous"] for call in calls}
    assert {"provider", "estimated", "bounded"} == {call["usage_source"] for call in calls}


def test_a_call_that_is_not_there_has_no_receipt(database_url: str) -> None:
    """Nor has a name that no call can have."""
    database = open_database(database_url)
    migrate(database)
    with database.session(snapshot=True) as connection:
        assert find_billed_call(connection, "req_none") is None
        assert find_billed_call(connection, "req\x00") is None
