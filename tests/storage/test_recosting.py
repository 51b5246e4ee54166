"""What calls would have cost at other prices is told by model, and nothing is written."""

from __future__ import annotations

from decimal import Decimal
from random import Random

from billing.price_book import PriceBook
from storage.accounts import create_account
from storage.audit import summary
from storage.database import open_database
from storage.identifiers import microseconds
from storage.ledger import post_credit
from storage.migrating import migrate
from storage.recosting import recost
from tests.billed import BEGIN, priced_catalogue, random_settlement, settle


def test_calls_are_costed_again_by_model(database_url: str) -> None:
    """At the same prices they cost what they cost; at others what the new prices say; what has no price is counted."""
    random, catalogue = Random(8), priced_catalogue()
    database = open_database(database_url)
    migrate(database)
    with database.session() as connection:
        account = create_account(connection, "ada@example.com").id
        post_credit(connection, "gift", account, 10**14, "promotion", "test", 1)
        made = [random_settlement(random, number, account, catalogue) for number in range(200)]
        for settlement in made:
            settle(connection, settlement)
        before = summary(connection)
    paid = [one.row for one in made if one.delivered]

    same = recost(database, catalogue.price_book(), microseconds(BEGIN))
    free = priced_catalogue(various=[{"from": "2026-01-01T00:00:00Z", "input": Decimal(0), "output": Decimal(0)}])
    other = recost(database, free.price_book(), microseconds(BEGIN))
    none = recost(database, PriceBook({}), microseconds(BEGIN))
    later = recost(database, catalogue.price_book(), max(row.created for row in paid) + 1)

    for name, recosted in same.models.items():
        rows = [row for row in paid if row.model == name]
        assert (len(rows), sum(row.cost + row.absorbed for row in rows)) == (recosted.calls, recosted.new_cost)
        assert recosted.cost == recosted.new_cost
    assert (0, same.models["other"].cost) == (other.models["various"].new_cost, other.models["other"].new_cost)
    assert ({}, len(paid)) == (none.models, none.left_out.total())
    assert {} == later.models
    with database.session(snapshot=True) as connection:
        assert before == summary(connection)
