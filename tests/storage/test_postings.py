"""The ledger against a simple model of itself: any sequence of operations, every sum, after every step."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from storage.accounts import AccountInactive, UnknownAccount, create_account, find_account, set_status
from storage.audit import audit
from storage.batches import post_settlements
from storage.calls import CallRow
from storage.database import Connection, open_database
from storage.migrating import migrate
from storage.postings import (
    Balance,
    Held,
    InsufficientCredit,
    LedgerViolation,
    Settled,
    Settlement,
    find_balance,
    place_byok_hold,
    place_hold,
    post_credit,
    post_settlement,
    release_hold,
)

MakeSettlement = Callable[..., Settlement]
AMOUNTS = st.integers(0, 50)
FREE_CALLS = 2


@pytest.mark.parametrize(
    "change",
    [
        {"request_id": "r2"},
        {"account_id": "acct_2"},
        {"provider_cost": 4},
        {"provider_cost": -1},
        {"fee": 0},
        {"fee": -1},
        {"absorbed": 1},
        {"absorbed": -1},
    ],
)
def test_a_settlement_that_contradicts_its_row_cannot_be_made(
    make_settlement: MakeSettlement, change: dict[str, object]
) -> None:
    """Header, log and balance can only tell one story, and no part of it is negative."""
    with pytest.raises(LedgerViolation):
        replace(make_settlement("r1", "acct_1", 5, 1), **change)  # type: ignore[arg-type]


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A session on a database with the schema."""
    database = open_database(database_url)
    migrate(database)
    with database.session() as opened:
        yield opened


def test_refusals_are_returned_and_mistakes_are_raised(connection: Connection, make_settlement: MakeSettlement) -> None:
    """A refusal is an outcome among others; it must not cost its batch a second run."""
    idle = create_account(connection, "idle@example.com").id
    set_status(connection, idle, "deactivated")
    post_credit(connection, "c0", idle, 1, "promotion", "", 1)
    for account, refusal in ((idle, AccountInactive), ("acct_nobody", UnknownAccount)):
        assert isinstance(place_hold(connection, "r1", account, (1,), None, "p1", 1, 1), refusal)
        assert isinstance(place_byok_hold(connection, "r1", account, "2026-11", 1, 1, "p1", 1, 1), refusal)
    for mistake, call in (
        (UnknownAccount, lambda: find_balance(connection, "acct_nobody")),
        (UnknownAccount, lambda: post_credit(connection, "c1", "acct_nobody", 1, "promotion", "", 1)),
        (LedgerViolation, lambda: post_credit(connection, "c2", idle, 0, "promotion", "", 1)),
        (LedgerViolation, lambda: post_credit(connection, "c0", idle, 2, "promotion", "", 1)),
        (LedgerViolation, lambda: post_settlement(connection, make_settlement("r1", idle), 1)),
    ):
        with pytest.raises(mistake):
            call()


def test_a_payment_is_activity_and_a_gift_is_not(connection: Connection) -> None:
    """`last_active` moves with money that came in."""
    account = create_account(connection, "ann@example.com")
    post_credit(connection, "gift", account.id, 1, "promotion", "", 2**50)
    gift = find_account(connection, account.id)
    post_credit(connection, "payment", account.id, 1, "stripe:clearing", "", 2**51)
    payment = find_account(connection, account.id)

    assert gift is not None
    assert payment is not None
    assert (account.last_active, 2**51) == (gift.last_active, payment.last_active)


def _deliver(connection: Connection, made: Settlement, now: int) -> None:
    place_hold(connection, made.request_id, made.account_id, (0,), None, "p1", 1, 1)
    post_settlement(connection, made, now)


def _deliver_together(connection: Connection, made: Settlement, now: int) -> None:
    place_hold(connection, made.request_id, made.account_id, (0,), None, "p1", 1, 1)
    post_settlements(connection, [(made, now)])


def _pay(connection: Connection, made: Settlement, now: int) -> None:
    post_credit(connection, made.request_id, made.account_id, 1, "stripe:clearing", "", now)


@pytest.mark.parametrize("act", [_deliver, _deliver_together, _pay])
def test_the_last_activity_never_moves_back(
    connection: Connection, make_settlement: MakeSettlement, act: Callable[[Connection, Settlement, int], None]
) -> None:
    """A node whose clock is behind does not bring an account's expiry nearer: the later of the two instants stays."""
    account = create_account(connection, "ann@example.com").id
    instants = []
    for number, now in enumerate((2**51, 2**50, 2**51 + 1)):
        act(connection, make_settlement(f"r{number}", account), now)
        found = find_account(connection, account)
        assert found is not None
        instants.append(found.last_active)

    assert [2**51, 2**51, 2**51 + 1] == instants


def test_asking_again_returns_the_first_outcome(connection: Connection) -> None:
    """Also when the first hold left too little for a second, and for a free call."""
    account = create_account(connection, "ann@example.com").id
    post_credit(connection, "gift", account, 10, "promotion", "", 1)

    first = [
        place_hold(connection, "r1", account, (8,), None, "p1", 1, 1),
        place_byok_hold(connection, "r2", account, "2026-11", 1, 9, "p1", 1, 1),
    ]
    again = [
        place_hold(connection, "r1", account, (8,), None, "p1", 1, 1),
        place_byok_hold(connection, "r2", account, "2026-11", 1, 9, "p1", 1, 1),
    ]

    assert [Held(8, Balance(10, 8), False), Held(0, Balance(10, 8), True)] == first == again


class Books(RuleBasedStateMachine):
    """Holds, settlements, releases, credits and BYOK calls in any order, each also tried twice."""

    def __init__(self) -> None:
        super().__init__()
        self.resources = ExitStack()
        folder = Path(self.resources.enter_context(tempfile.TemporaryDirectory()))
        database = open_database(f"sqlite:///{folder}/books.db")
        migrate(database)
        self.connection: Connection = self.resources.enter_context(database.session())
        self.balance = 0
        self.free_used = 0
        self.holds: dict[str, tuple[int, bool]] = {}
        self.settled: dict[str, int] = {}
        self.count = 0

    def teardown(self) -> None:
        self.resources.close()

    @initialize(credit=AMOUNTS)
    def open_account(self, credit: int) -> None:
        self.account = create_account(self.connection, "a@example.com").id
        self.credit(credit + 1)

    @property
    def available(self) -> int:
        return self.balance - sum(amount for amount, _ in self.holds.values())

    def next_id(self) -> str:
        self.count += 1
        return f"r{self.count}"

    @rule(amount=st.integers(1, 50))
    def credit(self, amount: int) -> None:
        entry_id = self.next_id()
        for _ in range(2):
            post_credit(self.connection, entry_id, self.account, amount, "promotion", "", 1)
        self.balance += amount

    @rule(amounts=st.lists(AMOUNTS, min_size=1, max_size=3).map(lambda some: sorted(some, reverse=True)))
    def hold(self, amounts: list[int]) -> None:
        self._hold(amounts, None)

    @rule(amounts=st.lists(AMOUNTS, min_size=1, max_size=3).map(lambda some: sorted(some, reverse=True)), least=AMOUNTS)
    def hold_at_least(self, amounts: list[int], least: int) -> None:
        self._hold(amounts, least)

    def _hold(self, amounts: list[int], least: int | None) -> None:
        request_id, available = self.next_id(), self.available
        outcome = place_hold(self.connection, request_id, self.account, amounts, least, "p1", 1, 1)
        expected = next((amount for amount in amounts if amount <= available), None)
        if expected is None and least is not None and least <= available:
            expected = available
        if expected is None:
            assert isinstance(outcome, InsufficientCredit)
            assert available == outcome.available < outcome.required
            return
        assert isinstance(outcome, Held)
        assert expected == outcome.amount
        self.holds[request_id] = (expected, False)
        again = place_hold(self.connection, request_id, self.account, [expected + 1], None, "p1", 1, 1)
        assert outcome == again

    @rule(fee=AMOUNTS)
    def hold_byok(self, fee: int) -> None:
        request_id, available = self.next_id(), self.available
        outcome = place_byok_hold(self.connection, request_id, self.account, "2026-11", FREE_CALLS, fee, "p1", 1, 1)
        if self.free_used < FREE_CALLS:
            self.free_used += 1
            self.holds[request_id] = (0, True)
        elif fee <= available:
            self.holds[request_id] = (fee, False)
        else:
            assert isinstance(outcome, InsufficientCredit)
            return
        assert isinstance(outcome, Held)
        assert self.holds[request_id] == (outcome.amount, outcome.free_byok)

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), delivered=st.booleans(), absorbed=AMOUNTS, byok=st.booleans())
    def settle(self, data: st.DataObject, delivered: bool, absorbed: int, byok: bool) -> None:
        request_id = data.draw(st.sampled_from(sorted(self.holds)))
        amount, free = self.holds.pop(request_id)
        cost = data.draw(st.integers(0, amount))
        fee = data.draw(st.integers(0, cost))
        if free and not delivered:
            self.free_used -= 1
        self.balance -= cost
        self.settled[request_id] = cost
        for _ in range(2):
            settled = self._settle(request_id, cost - fee, fee, absorbed=absorbed, byok=byok, delivered=delivered)
            assert (self.balance, self.available) == (settled.balance.balance, settled.balance.available)
            assert cost == settled.cost

    def _settle(
        self, request_id: str, provider_cost: int, fee: int, *, absorbed: int, byok: bool, delivered: bool
    ) -> Settled:
        row = CallRow(
            request_id=request_id,
            created=1,
            account_id=self.account,
            key_id="k",
            path="/",
            requested_model="m",
            model="m",
            provider="p",
            mode="standard",
            payer="auto",
            streamed=False,
            status=200,
            billing_outcome="complete",
            usage_source="provider",
            provider_cost=provider_cost,
            fee=fee,
            cost=provider_cost + fee,
            absorbed=absorbed,
        )
        settlement = Settlement(
            request_id=request_id,
            account_id=self.account,
            provider_cost=provider_cost,
            fee=fee,
            absorbed=absorbed,
            byok=byok,
            delivered=delivered,
            row=row,
            attempts=(),
        )
        return post_settlement(self.connection, settlement, 2)

    @precondition(lambda self: self.holds)
    @rule(data=st.data())
    def settle_too_much(self, data: st.DataObject) -> None:
        request_id = data.draw(st.sampled_from(sorted(self.holds)))
        with pytest.raises(LedgerViolation), self.connection.savepoint():
            self._settle(request_id, self.holds[request_id][0] + 1, 0, absorbed=0, byok=False, delivered=True)

    @precondition(lambda self: self.holds or self.settled)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        request_id = data.draw(st.sampled_from(sorted({*self.holds, *self.settled})))
        _, free = self.holds.pop(request_id, (0, False))
        if free:
            self.free_used -= 1
        release_hold(self.connection, request_id, self.account)

    @precondition(lambda self: self.settled)
    @rule(data=st.data())
    def hold_what_was_settled(self, data: st.DataObject) -> None:
        request_id = data.draw(st.sampled_from(sorted(self.settled)))
        with pytest.raises(LedgerViolation), self.connection.savepoint():
            place_hold(self.connection, request_id, self.account, [0], None, "p1", 1, 1)

    @invariant()
    def the_books_agree(self) -> None:
        if not hasattr(self, "account"):
            return
        assert [] == audit(self.connection)
        balance = find_balance(self.connection, self.account)
        assert (self.balance, self.available) == (balance.balance, balance.available)
        assert 0 <= balance.held <= balance.balance
        used = self.connection.execute("SELECT COALESCE(SUM(used), 0) FROM byok_month").fetchone()
        assert (self.free_used,) == used


Books.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None, print_blob=True)
TestBooks = Books.TestCase
