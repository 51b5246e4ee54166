"""A batch done together leaves the same books as its jobs done one after another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.accounts import UnknownAccount, create_account
from storage.audit import audit
from storage.batches import NotTogether, place_holds, post_settlements
from storage.connection import Conflict
from storage.database import Connection, Database
from storage.keys import KeyTerms, create_key
from storage.ledger import Ledger
from storage.limited_holds import place_limited_hold
from storage.postings import (
    UNTOLD,
    Balance,
    Held,
    InsufficientCredit,
    LedgerViolation,
    Purpose,
    Settled,
    Settlement,
    place_byok_hold,
    place_hold,
    post_credit,
    post_settlement,
)

MakeSettlement = Callable[..., Settlement]
NewAccount = Callable[..., str]

CREDIT = 100
TABLES = ("account", "hold", "entry", "call", "attempt", "byok_month")

accounts = st.integers(0, 2)
hold_plans = st.lists(st.tuples(accounts, st.integers(0, 60), st.booleans()), min_size=2, max_size=8)
"""Account, amount, and whether less than the amount would do."""
settle_plans = st.lists(
    st.tuples(accounts, st.integers(0, 20), st.integers(0, 20), st.booleans(), st.booleans()), min_size=2, max_size=8
)
"""Account, hold, cost, whether the caller pays with a key of its own, whether the answer was delivered."""

each_on_its_own = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


@contextmanager
def undone(database: Database) -> Iterator[tuple[Connection, list[str]]]:
    """Three accounts with credit, in a transaction that is undone at the end; always under the same ids."""

    class Undo(Exception):
        pass

    try:
        with database.session() as connection:
            ids = []
            for number in range(3):
                made = create_account(connection, f"undone{number}@example.com").id
                ids.append(f"acct_{number}")
                connection.execute(
                    "UPDATE account SET id = ?, created = 1, last_active = 1 WHERE id = ?", (ids[-1], made)
                )
                post_credit(connection, f"gift:{number}", ids[-1], CREDIT, "promotion", "a test", 1)
            yield connection, ids
            raise Undo
    except Undo:
        pass


def books(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table that a call touches, after the audit found nothing wrong with them."""
    assert [] == audit(connection)
    found = {}
    for table in TABLES:
        rows = connection.execute(f"SELECT * FROM {table}").fetchall()
        found[table] = sorted(rows, key=repr)
    return found


def amounts_of(outcomes: Sequence[object]) -> list[object]:
    return [outcome.amount if isinstance(outcome, Held) else type(outcome) for outcome in outcomes]


@each_on_its_own
@given(plans=hold_plans)
def test_holds_made_together_are_the_holds_made_singly(database: Database, plans: list[tuple[int, int, bool]]) -> None:
    """The same rows where the sum is covered; where it is not, the same as one after another within each account."""

    def orders(ids: list[str]) -> list[Any]:
        return [
            (f"r{number}", ids[account], (amount,), 1 if less_will_do else None, "p1", 10, 5, UNTOLD)
            for number, (account, amount, less_will_do) in enumerate(plans)
        ]

    with undone(database) as (connection, ids):
        together = amounts_of(place_holds(connection, orders(ids)))
        together_books = books(connection)
    with undone(database) as (connection, ids):
        singly = amounts_of([place_hold(connection, *order) for order in orders(ids)])
        assert (singly, books(connection)) == (together, together_books)


@each_on_its_own
@given(plans=settle_plans)
def test_settlements_made_together_are_the_settlements_made_singly(
    database: Database, make_settlement: MakeSettlement, plans: list[tuple[int, int, int, bool, bool]]
) -> None:
    """The same balances, entries, rows (the balance after each call included), attempts and free calls."""

    def prepare(connection: Connection, ids: list[str]) -> list[tuple[Settlement, int]]:
        orders = []
        for number, (account, hold, cost, byok, delivered) in enumerate(plans):
            name = f"r{number}"
            if byok:
                assert isinstance(place_byok_hold(connection, name, ids[account], "2026-11", 9, 0, "p1", 10, 5), Held)
                settlement = make_settlement(name, ids[account], byok=True, delivered=delivered)
            else:
                held = place_hold(connection, name, ids[account], (hold,), None, "p1", 10, 5)
                if not isinstance(held, Held):
                    continue
                paid = min(cost, hold)
                settlement = make_settlement(
                    name, ids[account], paid - paid // 3, paid // 3, absorbed=cost - paid, delivered=delivered
                )
            orders.append((settlement, 100 + number))
        return orders

    with undone(database) as (connection, ids):
        together = post_settlements(connection, prepare(connection, ids))
        together_books = books(connection)
    with undone(database) as (connection, ids):
        singly = [post_settlement(connection, *order) for order in prepare(connection, ids)]
        assert books(connection) == together_books
    assert [(one.balance.balance, one.cost) for one in singly] == [(one.balance.balance, one.cost) for one in together]


def test_outcomes_tell_the_account_as_it_is(database: Database, make_settlement: MakeSettlement) -> None:
    """Holds tell it as it is behind the batch; settlements count the balance down in turn, with what is held behind them all."""
    with undone(database) as (connection, ids):
        holds = [
            (f"r{number}", ids[0], (amount,), None, "p1", 10, 5, UNTOLD) for number, amount in enumerate((3, 4, 5))
        ]
        held = place_holds(connection, holds)
        settled = post_settlements(connection, [(make_settlement(f"r{number}", ids[0], 2), 5) for number in range(2)])

    assert [Held(amount, Balance(CREDIT, 12), free_byok=False) for amount in (3, 4, 5)] == held
    assert [Settled(Balance(CREDIT - 2, 5), 2), Settled(Balance(CREDIT - 4, 5), 2)] == settled


def test_settlements_count_for_their_keys(database: Database, make_settlement: MakeSettlement) -> None:
    """Each in the counter that its hold is in; a key without a limit has none."""
    with undone(database) as (connection, ids):
        made = {}
        for name in ("one", "other"):
            terms = KeyTerms(spend_limit=50, spend_window="none")
            made[name] = create_key(connection, ids[0], name, "sk-ft_", terms=terms)[0].key_id
        for number, (name, amount) in enumerate((("one", 7), ("other", 20), ("one", 9))):
            purpose = Purpose(made[name], "/v1/chat/completions", "m", "credits", streamed=False, started=5)
            place_limited_hold(connection, f"r{number}", ids[0], (amount,), None, "p1", 10, 5, purpose)
        place_hold(connection, "r3", ids[0], (3,), None, "p1", 10, 5)
        costs = {"r0": 4, "r1": 11, "r3": 3}
        settlements = [(make_settlement(name, ids[0], cost), 5) for name, cost in costs.items()]
        post_settlements(connection, settlements)
        counted = connection.execute("SELECT key_id, spent, held FROM key_spending").fetchall()

    assert {(made["one"], 4, 9), (made["other"], 11, 0)} == set(counted)


def test_holds_that_are_not_the_usual_case_are_left_to_singles(
    database: Database, make_settlement: MakeSettlement
) -> None:
    """A call that was settled before, and one id on two accounts."""
    with undone(database) as (connection, ids):
        place_hold(connection, "r1", ids[0], (5,), None, "p1", 10, 5)
        post_settlement(connection, make_settlement("r1", ids[0], 1), 5)
        rest = (None, "p1", 10, 5, UNTOLD)
        for orders in (
            [("r1", ids[0], (1,), *rest), ("r9", ids[0], (1,), *rest)],
            [("r8", ids[1], (1,), *rest), ("r8", ids[0], (10**6,), *rest)],
        ):
            with pytest.raises(NotTogether), connection.savepoint():
                place_holds(connection, orders)


@pytest.mark.parametrize(
    ("request_id", "account", "cost"), [("r2", 0, 6), ("r3", 0, 1), ("r1", 0, 1), ("r7", 0, 1), ("r4", 1, 1)]
)
def test_settlements_that_are_not_the_usual_case_are_left_to_singles(
    database: Database, make_settlement: MakeSettlement, request_id: str, account: int, cost: int
) -> None:
    """A cost above its hold, a hold of somebody else, a call settled before, one without a hold, and one twice."""
    with undone(database) as (connection, ids):
        for name, owner in (("r1", 0), ("r2", 0), ("r3", 1), ("r4", 1)):
            place_hold(connection, name, ids[owner], (5,), None, "p1", 10, 5)
        post_settlement(connection, make_settlement("r1", ids[0], 1), 5)
        usual = (make_settlement("r4", ids[1], 5), 5)

        with pytest.raises(NotTogether), connection.savepoint():
            post_settlements(connection, [usual, (make_settlement(request_id, ids[account], cost), 5)])
        with pytest.raises(NotTogether), connection.savepoint():
            post_settlements(connection, [(make_settlement(request_id, ids[account], cost), 5), usual])
        assert [5] == [one.cost for one in post_settlements(connection, [usual])]


async def test_an_id_that_is_held_already_is_not_held_twice(
    database: Database, ledger: Ledger, new_account: NewAccount
) -> None:
    """The schema refuses the second row, and the writer then does each job by itself: all return the hold as it stands."""
    account = new_account(10)
    with undone(database) as (connection, ids):
        order = ("r1", ids[0], (0,), None, "p1", 10, 5, UNTOLD)
        place_hold(connection, *order)
        with pytest.raises(Conflict):
            place_holds(connection, [order, ("r2", *order[1:])])

    held = await asyncio.gather(*[ledger.hold("r1", account, (4,), deadline=10**17) for _ in range(5)])

    assert [4] * 5 == [one.amount for one in held]
    assert Balance(10, 4) == await ledger.balance(account)


async def test_a_batch_mixes_what_can_and_what_cannot_be_done_together(
    database: Database, ledger: Ledger, new_account: NewAccount, make_settlement: MakeSettlement
) -> None:
    """Everything at once, over two accounts and one that does not exist: each job has its own outcome."""
    rich, poor = new_account(1000), new_account(10)
    await asyncio.gather(*[ledger.hold(f"a{number}", rich, (10,), deadline=10**17) for number in range(6)])

    outcomes = await asyncio.gather(
        *[ledger.settle(make_settlement(f"a{number}", rich, number)) for number in range(4)],
        ledger.settle(make_settlement("a0", rich, 9)),
        ledger.settle(make_settlement("a4", rich, 11)),
        *[ledger.hold(f"b{number}", poor, (4,), deadline=10**17) for number in range(3)],
        *[ledger.hold(f"c{number}", rich, (4,), deadline=10**17) for number in range(3)],
        ledger.hold("d", "acct_nobody", (1,), deadline=10**17),
        ledger.release("a5", rich),
        return_exceptions=True,
    )

    assert [0, 1, 2, 3] == [outcome.cost for outcome in outcomes[:4] if isinstance(outcome, Settled)]
    assert isinstance(outcomes[4], Settled)
    assert isinstance(outcomes[5], LedgerViolation)
    assert 1 == sum(isinstance(outcome, InsufficientCredit) for outcome in outcomes[6:9])
    assert [4, 4, 4] == [outcome.amount for outcome in outcomes[9:12] if isinstance(outcome, Held)]
    assert isinstance(outcomes[12], UnknownAccount)
    assert Balance(994, 22) == await ledger.balance(rich)
    assert Balance(10, 8) == await ledger.balance(poor)
    with database.session() as connection:
        assert [] == audit(connection)
