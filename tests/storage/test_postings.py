"""The ledger against a simple model of itself: any sequence of operations, every sum, after every step."""

from __future__ import annotations

import re
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
from storage.batches import place_holds, post_settlements
from storage.calls import CallRow
from storage.database import Connection, open_database
from storage.migrating import migrate
from storage.postings import (
    Balance,
    Held,
    InsufficientCredit,
    LedgerViolation,
    Purpose,
    Settled,
    Settlement,
    find_balance,
    find_total_held,
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
    ("change", "told"),
    [
        ({"provider_cost": 4}, "r1: 6 is not 4 + 1"),
        ({"provider_cost": -1, "cost": 0}, "r1: an amount is negative"),
        ({"fee": 0}, "r1: 6 is not 5 + 0"),
        ({"fee": -1, "cost": 4}, "r1: an amount is negative"),
        ({"cost": 5}, "r1: 5 is not 5 + 1"),
        ({"absorbed": -1}, "r1: an amount is negative"),
    ],
)
def test_a_settlement_with_amounts_that_cannot_be_is_not_made(
    make_settlement: MakeSettlement, change: dict[str, object], told: str
) -> None:
    """The row's amounts are what is moved: its parts add up, and none is negative."""
    row = make_settlement("r1", "acct_1", 5, 1).row
    with pytest.raises(LedgerViolation, match=f"^{re.escape(told)}$"):
        Settlement(replace(row, **change), (), delivered=True)


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A session on a database with the schema."""
    database = open_database(database_url)
    migrate(database)
    with database.session() as opened:
        yield opened


def test_refusals_are_returned_and_mistakes_are_raised(connection: Connection, make_settlement: MakeSettlement) -> None:
    """A refusal is an outcome among others; it must not cost its batch a second run."""
    idle, ann = (create_account(connection, f"{name}@example.com").id for name in ("idle", "ann"))
    set_status(connection, idle, "deactivated")
    post_credit(connection, "c0", idle, 1, "promotion", "", 1)
    post_credit(connection, "gift", ann, 7, "promotion", "", 1)
    place_hold(connection, "r2", ann, (5,), None, "p1", 1, 1)
    place_hold(connection, "r3", ann, (1,), None, "p1", 1, 1)
    post_settlement(connection, make_settlement("r3", ann), 1)
    for account, amounts, least, kind, sentence in (
        (idle, (1,), None, AccountInactive, f"account {idle} is deactivated"),
        ("acct_nobody", (1,), None, UnknownAccount, "there is no account acct_nobody"),
        (ann, (9, 4), None, InsufficientCredit, "2 units are available, 4 are required"),
        (ann, (9, 4), 3, InsufficientCredit, "2 units are available, 3 are required"),
    ):
        refusals = [place_hold(connection, "r1", account, amounts, least, "p1", 1, 1)]
        if least is None:
            refusals.append(place_byok_hold(connection, "r1", account, "2026-11", 0, amounts[-1], "p1", 1, 1))
        assert {(kind, sentence)} == {(type(refusal), str(refusal)) for refusal in refusals}
    for mistake, sentence, call in (
        (UnknownAccount, "there is no account acct_nobody", lambda: find_balance(connection, "acct_nobody")),
        (
            UnknownAccount,
            "there is no account acct_nobody",
            lambda: post_credit(connection, "c1", "acct_nobody", 1, "promotion", "", 1),
        ),
        (
            LedgerViolation,
            "c2: an entry moves more than nothing, not 0",
            lambda: post_credit(connection, "c2", idle, 0, "promotion", "", 1),
        ),
        (
            LedgerViolation,
            "there is another entry with the id c0",
            lambda: post_credit(connection, "c0", idle, 2, "promotion", "", 1),
        ),
        (
            LedgerViolation,
            "r1 cannot be settled: it has no hold",
            lambda: post_settlement(connection, make_settlement("r1", idle), 1),
        ),
        (
            LedgerViolation,
            "r3 cannot be settled: it has no hold",  # Somebody else's call, settled before.
            lambda: post_settlement(connection, make_settlement("r3", idle), 1),
        ),
        (
            LedgerViolation,
            "r3 was settled before, or belongs to another account",
            lambda: place_hold(connection, "r3", ann, (1,), None, "p1", 1, 1),
        ),
        (
            LedgerViolation,
            "r2 cannot be settled: it costs 6, and 5 were held",
            lambda: post_settlement(connection, make_settlement("r2", ann, 6), 1),
        ),
    ):
        with pytest.raises(mistake, match=f"^{sentence}$"):
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


def test_what_is_held_is_told_of_all_accounts_together(connection: Connection) -> None:
    """Nothing where nothing is held."""
    assert 0 == find_total_held(connection)
    for name, amount in (("ann", 3), ("bob", 4)):
        account = create_account(connection, f"{name}@example.com").id
        post_credit(connection, f"gift:{name}", account, 10, "promotion", "", 1)
        place_hold(connection, name, account, (amount,), None, "p1", 1, 1)

    assert 7 == find_total_held(connection)


def everything(connection: Connection) -> dict[str, list[tuple[object, ...]]]:
    """Every row that calls touch, by its table."""
    tables = ("account", "hold", "byok_month", "entry", "call")
    return {table: sorted(connection.execute(f"SELECT * FROM {table}").fetchall(), key=repr) for table in tables}


def test_what_is_done_for_one_touches_nothing_of_others(
    connection: Connection, make_settlement: MakeSettlement
) -> None:
    """Not other accounts, nor other calls, months and holds of the same one: every row that is not meant stays as it is."""
    ann, bob = (create_account(connection, f"{name}@example.com").id for name in ("ann", "bob"))
    for account in (ann, bob):
        post_credit(connection, f"gift:{account}", account, 100, "promotion", "", 1)
        for name, month in (("old", "2026-10"), ("now", "2026-11")):
            place_byok_hold(connection, f"{name}:{account}", account, month, 9, 5, "p1", 9, 9)
        place_hold(connection, f"open:{account}", account, (7,), None, "p1", 9, 9)
        place_hold(connection, f"over:{account}", account, (8,), None, "p1", 9, 9)
        post_settlement(connection, make_settlement(f"over:{account}", account, 3, 1), 9)
    before = everything(connection)

    place_hold(connection, "r1", ann, (60, 20), 1, "p2", 99, 99)
    place_hold(connection, "r2", ann, (600,), 1, "p2", 99, 99)
    assert find_balance(connection, ann) == Balance(96, 96)
    release_hold(connection, "r2", ann)
    place_byok_hold(connection, "r3", ann, "2026-11", 9, 5, "p2", 99, 99)
    post_settlement(connection, make_settlement("r3", ann, byok=True, delivered=False), 99)
    place_byok_hold(connection, "r4", ann, "2026-11", 0, 5, "p2", 99, 99)
    assert find_balance(connection, ann) == Balance(96, 72)
    post_settlement(connection, make_settlement("r4", ann, 0, 5, byok=True), 2**52)
    post_settlement(connection, make_settlement("r1", ann, 20, 1), 2**52 + 1)
    post_credit(connection, "payment", ann, 30, "stripe:clearing", "", 2**52 + 2)

    after = everything(connection)
    changed = {table: set(after[table]) ^ set(before[table]) for table in after}
    assert {"entry": 4, "call": 3, "account": 2, "hold": 0, "byok_month": 0} == {
        table: len(rows) for table, rows in changed.items()
    }
    assert all(ann in row for row in changed["account"] | changed["call"])
    assert (Balance(100, 7), Balance(96, 7)) == (find_balance(connection, ann), find_balance(connection, bob))


PURPOSE = Purpose("key_7", "/v1/chat/completions", "deepseek-chat", "provider_key", streamed=True, started=77)


def test_a_hold_remembers_what_it_was_told(connection: Connection) -> None:
    """Each fact in its own column, with and without a purpose, made singly, in a batch and for a caller's own key."""
    account = create_account(connection, "ann@example.com").id
    post_credit(connection, "gift", account, 100, "promotion", "", 1)
    place_hold(connection, "r1", account, (5,), None, "p1", 8, 9, PURPOSE)
    place_hold(connection, "r2", account, (6,), None, "p1", 8, 9)
    place_holds(connection, [("r3", account, (7,), None, "p2", 8, 9, PURPOSE)])
    place_byok_hold(connection, "r4", account, "2026-11", 1, 5, "p1", 8, 9, PURPOSE)
    place_byok_hold(connection, "r5", account, "2026-11", 1, 5, "p1", 8, 9)

    told = ("key_7", "/v1/chat/completions", "deepseek-chat", "provider_key", True)
    untold = ("", "", "", "credits", False)
    assert [
        ("r1", account, 5, None, "p1", 8, 77, *told),
        ("r2", account, 6, None, "p1", 8, 9, *untold),
        ("r3", account, 7, None, "p2", 8, 77, *told),
        ("r4", account, 0, "2026-11", "p1", 8, 77, *told),
        ("r5", account, 5, None, "p1", 8, 9, *untold),
    ] == connection.execute(
        """SELECT request_id, account_id, amount, byok_month, owner, deadline, created, key_id, path, requested_model,
            payer, streamed FROM hold ORDER BY request_id"""
    ).fetchall()


def test_every_change_is_an_entry_that_says_what_moved(connection: Connection, make_settlement: MakeSettlement) -> None:
    """From where to where, how much, of what kind, what it is about, why, and when; nothing for what moves nothing."""
    account = create_account(connection, "ann@example.com").id
    post_credit(connection, "gift", account, 100, "promotion", "welcome", 1)
    post_credit(connection, "payment", account, 50, "stripe:clearing", "paid", 2)
    for number, settlement in enumerate(
        [
            make_settlement("r1", account, 7, 2, absorbed=3),
            make_settlement("r2", account, 7, 0),
            make_settlement("r3", account, 0, 2, byok=True),
            make_settlement("r4", account, delivered=False),
        ]
    ):
        place_hold(connection, settlement.request_id, account, (9,), None, "p1", 8, 9)
        assert settlement.cost == post_settlement(connection, settlement, 10 + number).cost

    customer = f"customer:{account}"
    assert [
        ("gift", "promotion", customer, 100, "promotion", "gift", "welcome", 1),
        ("payment", "stripe:clearing", customer, 50, "recharge", "payment", "paid", 2),
        ("r1:absorbed", "absorbed", "revenue:usage", 3, "absorbed", "r1", "", 10),
        ("r1:fee", customer, "revenue:fee", 2, "fee", "r1", "", 10),
        ("r1:usage", customer, "revenue:usage", 7, "usage", "r1", "", 10),
        ("r2:usage", customer, "revenue:usage", 7, "usage", "r2", "", 11),
        ("r3:byok", customer, "revenue:byok", 2, "byok", "r3", "", 12),
    ] == connection.execute(
        "SELECT id, debit, credit, amount, kind, reference, reason, created FROM entry ORDER BY id"
    ).fetchall()


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
            mode="byok" if byok else "standard",
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
        return post_settlement(self.connection, Settlement(row, (), delivered), 2)

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
