"""The books as a witness sees them who has a connection of its own: what must be true of them, and of their every line.

The rules: start balance − Σ costs in the billing log = balance, Σ entries = balance, and nothing is held. One line for each
call that came to a provider, none for the others, and what a line says is what its caller was told.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from billing.matrix import Ending
from billing.money import Money
from storage.accounts import create_account
from storage.audit import audit
from storage.calls import LARGEST_PAGE, CallRow, list_calls
from storage.database import open_database
from storage.identifiers import now_microseconds
from storage.keys import create_key
from storage.ledger import Balance, find_balance, post_credit
from storage.migrating import migrate
from tests.journeys.mix import Arrivals, Told

PAID = ("complete", "client_left")
"""The endings that an account pays for."""


class Books:
    """The database as a witness: a connection of its own, beside the gateway's."""

    def __init__(self, database_url: str) -> None:
        self.database = open_database(database_url)
        migrate(self.database)
        self.account_id = ""
        self.credit: Money = 0

    def open_account(self, credit: Money, keys: int = 1) -> list[tuple[str, str]]:
        """An account with this credit and so many keys; returns the keys with their ids."""
        with self.database.session() as connection:
            account = create_account(connection, "grace@example.com")
            post_credit(connection, "gift", account.id, credit, "promotion", "test", now_microseconds())
            made = [create_key(connection, account.id, f"key {number}", "sk-ft_") for number in range(keys)]
        self.account_id, self.credit = account.id, credit
        return [(record.key_id, key) for record, key in made]

    def balance(self) -> Balance:
        """What is on the account now."""
        with self.database.session(snapshot=True) as connection:
            return find_balance(connection, self.account_id)

    def rows(self) -> list[CallRow]:
        """The billing log, newest first."""
        rows: list[CallRow] = []
        cursor: str | None = None
        with self.database.session(snapshot=True) as connection:
            while True:
                page, cursor = list_calls(connection, self.account_id, limit=LARGEST_PAGE, cursor=cursor)
                rows += page
                if cursor is None:
                    return rows

    def holds(self) -> list[str]:
        """The request ids that money is held for."""
        with self.database.session(snapshot=True) as connection:
            return [row[0] for row in connection.execute("SELECT request_id FROM hold").fetchall()]

    def movements(self) -> Iterator[tuple[str, Money]]:
        """Every entry as what it did to each of the two ledger accounts it names."""
        with self.database.session(snapshot=True) as connection:
            entries = connection.execute("SELECT debit, credit, amount FROM entry").fetchall()
        for debit, credit, amount in entries:
            yield debit, -amount
            yield credit, amount

    async def until_nothing_is_held(self, seconds: float = 15, *, look_seconds: float = 0.05) -> None:
        """Calls whose callers left end a little later than their callers, those of a dead process later still."""
        async with asyncio.timeout(seconds):
            while self.holds():
                await asyncio.sleep(look_seconds)

    def free_calls_used(self) -> int:
        """How many of the month's free BYOK calls are taken."""
        with self.database.session(snapshot=True) as connection:
            row = connection.execute("SELECT COALESCE(SUM(used), 0) FROM byok_month").fetchone()
        assert row is not None
        return int(row[0])

    def prove(self) -> Money:
        """Start balance − Σ costs = balance, Σ entries = balance, nothing is held; returns Σ costs."""
        spent = sum(row.cost for row in self.rows())
        balance = self.balance()
        totals: Counter[str] = Counter()
        for name, amount in self.movements():
            totals[name] += amount
        assert (self.credit - spent, 0) == (balance.balance, balance.held)
        assert self.credit - spent == totals[f"customer:{self.account_id}"]
        assert spent == totals["revenue:usage"] + totals["revenue:fee"]
        assert 0 == sum(totals.values())
        delivered = [row for row in self.rows() if row.mode == "byok" and row.billing_outcome in PAID]
        assert len(delivered) == self.free_calls_used()
        with self.database.session(snapshot=True) as connection:
            assert [] == audit(connection)
        return spent

    def prove_calls(self, told: Sequence[Told], arrivals: Arrivals, lost: Collection[int] = ()) -> None:
        """One line of the log for each call that came to a provider, none for the others; it says what its caller was told.

        ``lost``: calls of a gateway that was killed; their line may say so, and then it knows of no attempt.
        """
        rows = self.rows()
        by_key = {row.key_id: row for row in rows}
        assert len(by_key) == len(rows) == len({row.request_id for row in rows})
        assert by_key.keys() <= {one.planned.key_id for one in told}
        for one in told:
            call, row = one.planned, by_key.get(one.planned.key_id)
            if row is None:
                assert not arrivals[call.number], one
                continue
            if row.billing_outcome == Ending.GATEWAY_DIED.value:
                assert (True, None, 0, ()) == (call.number in lost, one.cost, row.cost, row.attempts), one
                continue
            assert call.kind.refused is None, one
            # Whoever leaves at once may be gone between the decision to ask a provider and the asking.
            assert call.kind.leaves == "at once" or arrivals[call.number] > 0, one
            assert arrivals[call.number] <= len(row.attempts), one
            assert one.request_id in (None, row.request_id), one
            assert one.cost in (None, row.cost), one
            assert (row.cost > 0) == (row.billing_outcome in PAID and row.mode == "standard"), row
