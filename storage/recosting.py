"""What the calls of the billing log would have cost at other prices: a sum for each model, nothing is written.

Both sides are taken without regard to holds: what a call came to at its price, and what it would have come to. With dearer
prices more would have been held, too.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from billing.price_book import PriceBook
from billing.repricing import NotPriced, reprice
from storage.calls import CallRow
from storage.database import Connection
from storage.rerating import Books, each_page, facts_of, right_price


@dataclass(slots=True)
class Recosted:
    """The calls of one model; amounts in 10⁻⁸ USD."""

    calls: int = 0
    cost: int = 0
    new_cost: int = 0


@dataclass(slots=True)
class Recosting:
    """The result: by model, and why calls were left out."""

    models: dict[str, Recosted] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)


def recost(books: Books, book: PriceBook, since: int) -> Recosting:
    """All paid calls from ``since`` (microseconds) on, at the prices of ``book``."""
    result = Recosting()

    def add(_connection: Connection, _account_id: str, page: list[CallRow]) -> bool:
        for row in page:
            _add(result, row, book)
        return True

    for _ in each_page(books, add, model=None, since=since, until=None, read_only=True):
        pass
    return result


def _add(result: Recosting, row: CallRow, book: PriceBook) -> None:
    if not row.price_version:
        return
    try:
        facts = facts_of(row)
        if not facts.paid:
            return
        again = reprice(right_price(book, row), facts, capped=False)
    except NotPriced as error:
        result.left_out[str(error)] += 1
        return
    recosted = result.models.setdefault(str(row.model), Recosted())
    recosted.calls += 1
    recosted.cost += row.cost + row.absorbed
    recosted.new_cost += again.charge.cost
