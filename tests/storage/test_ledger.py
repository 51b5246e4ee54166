"""The ledger: never more than there is, exactly once, and nothing left behind, whoever leaves and whatever breaks."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

import storage.connection
from storage.accounts import create_account, set_status
from storage.audit import audit
from storage.batches import HoldOrder, SettleOrder, place_holds, post_settlements
from storage.calls import list_calls
from storage.database import Connection, Database, StorageUnavailable, open_database
from storage.ledger import (
    AccountInactive,
    Balance,
    Held,
    InsufficientCredit,
    Ledger,
    LedgerViolation,
    Purpose,
    Settled,
    Settlement,
    UnknownAccount,
    post_credit,
)
from storage.postings import Refusal, place_byok_hold

NewAccount = Callable[..., str]
MakeSettlement = Callable[..., Settlement]
DOLLAR = 10**8
DEADLINE = 2_000_000_000_000_000


def rows(database: Database, sql: str) -> list[tuple[object, ...]]:
    with database.session(snapshot=True) as connection:
        return connection.execute(sql).fetchall()


def disagreements(database: Database) -> list[str]:
    with database.session(snapshot=True) as connection:
        return [found.sentence for found in audit(connection)]


async def test_a_hold_sets_money_aside_and_settling_takes_the_cost_only(
    database: Database, ledger: Ledger, new_account: NewAccount, make_settlement: MakeSettlement
) -> None:
    """Hold 3, cost 1.1: the rest is available again, and the row, its entries and its attempts are there."""
    account = new_account(10 * DOLLAR)

    held = await ledger.hold("r1", account, (3 * DOLLAR,), deadline=DEADLINE)
    settled = await ledger.settle(make_settlement("r1", account, 100_000_000, 10_000_000))

    assert Held(3 * DOLLAR, Balance(10 * DOLLAR, 3 * DOLLAR), free_byok=False) == held
    assert 7 * DOLLAR == held.balance.available
    assert Balance(890_000_000, 0) == settled.balance == await ledger.balance(account)
    assert 110_000_000 == settled.cost
    customer = f"customer:{account}"
    assert [
        ("r1:fee", customer, "revenue:fee", 10_000_000),
        ("r1:usage", customer, "revenue:usage", 100_000_000),
    ] == rows(database, "SELECT id, debit, credit, amount FROM entry WHERE reference = 'r1' ORDER BY id")
    calls, _ = await database.read(list_calls, account)
    assert [("r1", 110_000_000, 890_000_000, 1)] == [
        (call.request_id, call.cost, call.balance_after, len(call.attempts)) for call in calls
    ]
    assert [] == disagreements(database)


async def test_the_first_amount_that_fits_is_held(ledger: Ledger, new_account: NewAccount) -> None:
    """Candidates the balance cannot cover are passed over; exactly what is there is enough."""
    account = new_account(5)

    held = await ledger.hold("r1", account, (9, 6, 5, 2), deadline=DEADLINE)

    assert (5, 0) == (held.amount, held.balance.available)


async def test_what_is_there_is_held_when_it_is_enough_for_a_shorter_answer(
    ledger: Ledger, new_account: NewAccount
) -> None:
    """Between `at_least` and the amounts, the hold is the whole available balance; below it there is none."""
    account = new_account(7)

    held = await ledger.hold("r1", account, (9, 8), at_least=7, deadline=DEADLINE)
    await ledger.release("r1", account)
    with pytest.raises(InsufficientCredit) as refused:
        await ledger.hold("r2", account, (9, 8), at_least=8, deadline=DEADLINE)

    assert (7, 0) == (held.amount, held.balance.available)
    assert (7, 8) == (refused.value.available, refused.value.required)


async def test_a_hold_that_nothing_covers_says_what_is_missing(ledger: Ledger, new_account: NewAccount) -> None:
    """The smallest amount that would do, and what is available beside other holds."""
    account = new_account(10)
    await ledger.hold("r1", account, (4,), deadline=DEADLINE)

    with pytest.raises(InsufficientCredit) as refused:
        await ledger.hold("r2", account, (9, 7), deadline=DEADLINE)

    assert (6, 7) == (refused.value.available, refused.value.required)
    assert Balance(10, 4) == await ledger.balance(account)


@pytest.mark.parametrize("amounts", [(), (-1,), (5, -1)])
async def test_a_hold_of_nothing_sensible_is_a_mistake(
    ledger: Ledger, new_account: NewAccount, amounts: tuple[int, ...]
) -> None:
    """No amount, or a negative one."""
    with pytest.raises(ValueError, match="at least 0"):
        await ledger.hold("r1", new_account(10), amounts, deadline=DEADLINE)


async def test_nobody_holds_on_an_account_that_is_deactivated_or_unknown(
    database: Database, ledger: Ledger, new_account: NewAccount
) -> None:
    """Standard and BYOK alike, and nothing is written."""
    account = new_account(10)
    with database.session() as connection:
        set_status(connection, account, "deactivated")

    for name, refusal in ((account, AccountInactive), ("acct_nobody", UnknownAccount)):
        with pytest.raises(refusal):
            await ledger.hold("r1", name, (1,), deadline=DEADLINE)
        with pytest.raises(refusal):
            await ledger.hold_byok("r2", name, month="2026-11", free_requests=1, fee_bound=0, deadline=DEADLINE)
    for request in (ledger.balance("acct_nobody"), ledger.release("r1", "acct_nobody")):
        with pytest.raises(UnknownAccount):
            await request
    assert [] == rows(database, "SELECT * FROM hold")
    assert [] == rows(database, "SELECT * FROM byok_month")


async def test_holding_twice_under_one_id_holds_once(
    database: Database, ledger: Ledger, new_account: NewAccount, make_settlement: MakeSettlement
) -> None:
    """Whether the money would do for a second hold or not, the first outcome is returned; after settling none is made."""
    account = new_account(10)
    for amount in (6, 2, 6):
        held = await ledger.hold("r1", account, (amount,), deadline=DEADLINE)
        assert Held(6, Balance(10, 6), free_byok=False) == held

    await ledger.settle(make_settlement("r1", account, 5))
    with pytest.raises(LedgerViolation):
        await ledger.hold("r1", account, (1,), deadline=DEADLINE)

    assert Balance(5, 0) == await ledger.balance(account)
    assert [] == disagreements(database)


async def test_settling_twice_charges_once(
    database: Database, ledger: Ledger, new_account: NewAccount, make_settlement: MakeSettlement
) -> None:
    """Whatever the later ones say, they return what stands."""
    account = new_account(10)
    await ledger.hold("r1", account, (6,), deadline=DEADLINE)

    settled = await asyncio.gather(*[ledger.settle(make_settlement("r1", account, cost)) for cost in (4, 5, 4)])

    assert [Settled(Balance(6, 0), 4)] * 3 == settled
    assert [] == disagreements(database)


async def test_a_settlement_above_its_hold_is_refused_whole(
    database: Database, ledger: Ledger, new_account: NewAccount, make_settlement: MakeSettlement
) -> None:
    """The hold is a promise to the account; it stands until it is settled rightly. No hold: no settlement."""
    account = new_account(10)
    await ledger.hold("r1", account, (6,), deadline=DEADLINE)

    for request_id, cost in (("r1", 7), ("r2", 0)):
        with pytest.raises(LedgerViolation):
            await ledger.settle(make_settlement(request_id, account, cost))

    assert Balance(10, 6) == await ledger.balance(account)
    assert Settled(Balance(4, 0), 6) == await ledger.settle(make_settlement("r1", account, 5, 1))
    assert [] == disagreements(database)


async def test_nobody_settles_or_releases_another_account_s_hold(
    ledger: Ledger, new_account: NewAccount, make_settlement: MakeSettlement
) -> None:
    """The account is part of what a hold is found by."""
    owner, other = new_account(10), new_account(10)
    await ledger.hold("r1", owner, (6,), deadline=DEADLINE)

    with pytest.raises(LedgerViolation):
        await ledger.settle(make_settlement("r1", other, 1))
    with pytest.raises(LedgerViolation):
        await ledger.hold("r1", other, (1,), deadline=DEADLINE)
    assert Balance(10, 0) == await ledger.release("r1", other)
    assert Balance(10, 6) == await ledger.balance(owner)


async def test_what_exceeds_the_hold_is_absorbed(
    database: Database, ledger: Ledger, new_account: NewAccount, make_settlement: MakeSettlement
) -> None:
    """The operator's loss is an entry of its own, and the account pays the hold at most."""
    account = new_account(10)
    await ledger.hold("r1", account, (6,), deadline=DEADLINE)

    settled = await ledger.settle(make_settlement("r1", account, 5, 1, absorbed=100, anomalous=True))

    assert Settled(Balance(4, 0), 6) == settled
    assert [("absorbed", "revenue:usage", 100)] == rows(
        database, "SELECT debit, credit, amount FROM entry WHERE id = 'r1:absorbed'"
    )
    assert [] == disagreements(database)


async def test_releasing_gives_everything_back_once(
    database: Database, ledger: Ledger, new_account: NewAccount
) -> None:
    """No entry, no row; again changes nothing, and so does releasing what never was."""
    account = new_account(10)
    await ledger.hold("r1", account, (6,), deadline=DEADLINE)

    balances = [await ledger.release(request_id, account) for request_id in ("r1", "r1", "r9")]

    assert [Balance(10, 0)] * 3 == balances
    assert [] == rows(database, "SELECT * FROM entry WHERE reference = 'r1'")


async def test_a_delivered_call_is_activity_and_another_is_not(
    database: Database, ledger: Ledger, new_account: NewAccount, make_settlement: MakeSettlement
) -> None:
    """`last_active` moves when something was delivered."""
    account = new_account(10)
    find = f"SELECT last_active FROM account WHERE id = '{account}'"
    [(before,)] = rows(database, find)
    await ledger.hold("r1", account, (1,), deadline=DEADLINE)
    await ledger.settle(make_settlement("r1", account, delivered=False))
    [(failed,)] = rows(database, find)
    await ledger.hold("r2", account, (1,), deadline=DEADLINE)
    await ledger.settle(make_settlement("r2", account))
    [(delivered,)] = rows(database, find)

    assert before == failed
    assert int(str(delivered)) > int(str(before))


async def test_credit_is_posted_once_under_its_id(database: Database, ledger: Ledger, new_account: NewAccount) -> None:
    """Twenty deliveries of one payment are one payment; the same id for something else is refused."""
    account = new_account()

    balances = await asyncio.gather(
        *[ledger.credit("pay_1", account, 500, source="stripe:clearing", reason="paid") for _ in range(20)]
    )
    with pytest.raises(LedgerViolation):
        await ledger.credit("pay_1", account, 600, source="stripe:clearing", reason="paid")
    with pytest.raises(LedgerViolation):
        await ledger.credit("pay_2", account, 0, source="promotion", reason="nothing")
    with pytest.raises(UnknownAccount):
        await ledger.credit("pay_3", "acct_nobody", 500, source="promotion", reason="lost")

    assert [Balance(500, 0)] * 20 == balances
    assert [("pay_1", "recharge")] == rows(database, "SELECT id, kind FROM entry")
    assert [] == disagreements(database)


async def test_entries_refuse_to_be_changed_or_deleted(database: Database, new_account: NewAccount) -> None:
    """By the database itself, whoever asks."""
    new_account(500)

    for sql in ("UPDATE entry SET amount = amount + 1", "DELETE FROM entry"):
        with pytest.raises(Exception, match="never changed"), database.session() as connection:
            connection.execute(sql)

    assert [(500,)] == rows(database, "SELECT amount FROM entry")


# --- BYOK -----------------------------------------------------------------------------------------------------------------


async def byok(ledger: Ledger, request_id: str, account: str, *, free: int = 10, fee: int = 5) -> Held:
    return await ledger.hold_byok(
        request_id, account, month="2026-11", free_requests=free, fee_bound=fee, deadline=DEADLINE
    )


async def test_exactly_the_free_byok_calls_are_free(
    database: Database, ledger: Ledger, new_account: NewAccount, make_settlement: MakeSettlement
) -> None:
    """At the edge, 10 of 20 concurrent calls are free and 10 hold the fee; each pays what it held for."""
    account = new_account(1000)

    held = await asyncio.gather(*[byok(ledger, f"r{number}", account) for number in range(20)])
    for number, hold in enumerate(held):
        await ledger.settle(make_settlement(f"r{number}", account, 0, 0 if hold.free_byok else 5, byok=True))

    assert [(0, True)] * 10 + [(5, False)] * 10 == sorted((hold.amount, hold.free_byok) for hold in held)
    assert Balance(950, 0) == await ledger.balance(account)
    assert [(10,)] == rows(database, "SELECT used FROM byok_month")
    assert [("revenue:byok", 10)] == rows(
        database, "SELECT credit, COUNT(*) FROM entry WHERE kind = 'byok' GROUP BY credit"
    )
    assert [] == disagreements(database)


async def test_a_byok_call_that_was_not_delivered_does_not_count(
    database: Database, ledger: Ledger, new_account: NewAccount, make_settlement: MakeSettlement
) -> None:
    """Settled as not delivered, or released: the free call can be used again; no balance is needed for it."""
    account = new_account()
    await byok(ledger, "r1", account, free=1)
    await ledger.settle(make_settlement("r1", account, byok=True, delivered=False))
    await byok(ledger, "r2", account, free=1)
    await ledger.release("r2", account)

    held = await byok(ledger, "r3", account, free=1)

    assert held.free_byok
    assert [(1,)] == rows(database, "SELECT used FROM byok_month")


async def test_a_byok_call_beyond_the_free_ones_needs_the_fee(
    database: Database, ledger: Ledger, new_account: NewAccount
) -> None:
    """Not covered: refused, with nothing left behind. A fee of nothing is always covered. A negative one is a mistake."""
    account = new_account(4)

    with pytest.raises(InsufficientCredit) as refused:
        await byok(ledger, "r1", account, free=0)
    held = [await byok(ledger, "r2", account, free=0, fee=0), await byok(ledger, "r3", account, free=0, fee=4)]
    with pytest.raises(ValueError, match="at least 0"):
        await byok(ledger, "r4", account, fee=-1)

    assert (4, 5) == (refused.value.available, refused.value.required)
    assert [(0, False), (4, False)] == [(hold.amount, hold.free_byok) for hold in held]
    assert [("r2",), ("r3",)] == rows(database, "SELECT request_id FROM hold ORDER BY request_id")


async def test_a_byok_hold_twice_under_one_id_takes_one_free_call(
    database: Database, ledger: Ledger, new_account: NewAccount
) -> None:
    """The first outcome is returned, free or not."""
    account = new_account(50)

    free = [await byok(ledger, "r1", account, free=1) for _ in range(2)]
    paid = [await byok(ledger, "r2", account, free=1) for _ in range(2)]

    assert free[0] == free[1] == Held(0, Balance(50, 0), free_byok=True)
    assert paid[0] == paid[1] == Held(5, Balance(50, 5), free_byok=False)
    assert [(1,)] == rows(database, "SELECT used FROM byok_month")


# --- many at once ---------------------------------------------------------------------------------------------------------


async def test_three_hundred_race_for_a_hundred_places(
    database: Database, ledger: Ledger, new_account: NewAccount
) -> None:
    """Exactly as many as the balance covers; the rest are refused."""
    account = new_account(700)

    outcomes = await asyncio.gather(
        *[ledger.hold(f"r{number}", account, (7,), deadline=DEADLINE) for number in range(300)], return_exceptions=True
    )

    assert 100 == sum(isinstance(outcome, Held) for outcome in outcomes)
    assert 200 == sum(isinstance(outcome, InsufficientCredit) for outcome in outcomes)
    assert Balance(700, 700) == await ledger.balance(account)


async def test_cancelled_holds_are_given_back_and_others_are_never_lost(
    database: Database, ledger: Ledger, new_account: NewAccount
) -> None:
    """1000 holds, half of them cancelled at any moment, among jobs that fail: holds in the books = holds acknowledged."""
    account, chance = new_account(10**12), random.Random(7)
    acknowledged: set[str] = set()
    for turn in range(5):
        tasks = {
            f"r{turn}-{number}": asyncio.create_task(ledger.hold(f"r{turn}-{number}", account, (7,), deadline=DEADLINE))
            for number in range(200)
        }
        poison = [asyncio.create_task(database.run(_break, key=account)) for _ in range(5)]
        for victim in chance.sample(list(tasks), 100):
            if chance.random() < 0.3:
                await asyncio.sleep(0)
            tasks[victim].cancel()
        outcomes = await asyncio.gather(*tasks.values(), return_exceptions=True)
        failures = await asyncio.gather(*poison, return_exceptions=True)

        assert ["poison"] * 5 == [str(failure) for failure in failures]
        acknowledged |= {name for name, outcome in zip(tasks, outcomes, strict=True) if isinstance(outcome, Held)}
    await asyncio.sleep(0)
    await database.run(_nothing)
    await ledger.close()

    assert 0 == ledger.in_background
    assert acknowledged == {name for (name,) in rows(database, "SELECT request_id FROM hold")}
    assert Balance(10**12, 7 * len(acknowledged)) == await ledger.balance(account)
    assert [] == disagreements(database)


def _break(connection: Connection) -> None:
    connection.execute("UPDATE account SET held = held + 1000")
    raise LookupError("poison")


def _nothing(_connection: Connection) -> None:
    return None


async def test_a_cancelled_hold_that_was_refused_leaves_nothing_to_give_back(
    database: Database, ledger: Ledger, new_account: NewAccount
) -> None:
    """Nobody waits, nothing was held, nothing is done."""
    account = new_account(5)
    waiter = asyncio.create_task(ledger.hold("r1", account, (6,), deadline=DEADLINE))
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    await database.run(_nothing)
    await asyncio.sleep(0)

    assert 0 == ledger.in_background
    assert Balance(5, 0) == await ledger.balance(account)


async def test_a_cancelled_byok_hold_gives_its_free_call_back(
    database: Database, ledger: Ledger, new_account: NewAccount
) -> None:
    """Whether the waiter left before the outcome or in the turn in which it came."""
    account = new_account(100)
    for number in range(4):
        waiter = asyncio.create_task(byok(ledger, f"r{number}", account, free=2))
        await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        await database.run(_nothing)
        await asyncio.sleep(0)  # What nobody waits for is told behind those who wait.
    await ledger.close()

    assert [] == rows(database, "SELECT * FROM hold")
    assert [(0,)] == rows(database, "SELECT used FROM byok_month")
    assert Balance(100, 0) == await ledger.balance(account)


@pytest.mark.parametrize("committed", [False, True])
async def test_a_hold_in_doubt_is_given_back(
    database: Database,
    ledger: Ledger,
    new_account: NewAccount,
    monkeypatch: pytest.MonkeyPatch,
    committed: bool,
) -> None:
    """The answer to its commit is lost, whether it was carried out or not: nothing stays held, no free call stays taken."""
    account = new_account(100)
    commit, lost = Connection.commit, 0

    def lose(connection: Connection) -> None:
        nonlocal lost
        lost += 1
        monkeypatch.setattr(Connection, "commit", commit)
        if committed:
            commit(connection)
        raise StorageUnavailable("the line went dead", outcome_unknown=True)

    for hold in (
        lambda: ledger.hold("r1", account, (60,), deadline=DEADLINE),
        lambda: byok(ledger, "r2", account, free=1),
    ):
        monkeypatch.setattr(Connection, "commit", lose)
        with pytest.raises(StorageUnavailable):
            await hold()
        await database.run(_nothing)
    await ledger.close()

    assert 2 == lost
    assert [] == rows(database, "SELECT * FROM hold")
    assert [(0,)] == rows(database, "SELECT COALESCE(SUM(used), 0) FROM byok_month")
    assert Balance(100, 0) == await ledger.balance(account)


async def test_a_hold_says_what_it_is_for(database: Database, ledger: Ledger, new_account: NewAccount) -> None:
    """Its row tells the call apart, should this process never end it; a free call and one of nothing say it, too."""
    account, purpose = (
        new_account(100),
        Purpose("key_1", "/v1/chat/completions", "m", "credits", streamed=True, started=7),
    )

    assert 0 == (await ledger.hold("r1", account, (0,), deadline=DEADLINE, purpose=purpose)).amount
    await ledger.hold_byok(
        "r2", account, month="2026-11", free_requests=1, fee_bound=0, deadline=DEADLINE, purpose=purpose
    )

    said = "owner, deadline, created, key_id, path, requested_model, payer, streamed"
    told = rows(database, f"SELECT {said} FROM hold ORDER BY request_id")
    assert [("p1", DEADLINE, 7, "key_1", "/v1/chat/completions", "m", "credits", True)] * 2 == told


async def test_work_that_gathered_is_done_together_in_one_order(
    ledger: Ledger, new_account: NewAccount, make_settlement: MakeSettlement, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch has one call for its holds and one for its settlements, and whatever it does goes through accounts in order:
    several processes that did not would stop each other."""
    accounts = sorted((new_account(100) for _ in range(5)), reverse=True)
    seen: list[list[str]] = []
    singly: list[str] = []

    def holds(connection: Connection, orders: Sequence[HoldOrder]) -> list[Held | Refusal]:
        seen.append([order[1] for order in orders])
        return place_holds(connection, orders)

    def settlements(connection: Connection, orders: Sequence[SettleOrder]) -> list[Settled]:
        seen.append([order[0].account_id for order in orders])
        return post_settlements(connection, orders)

    def free(connection: Connection, request_id: str, account_id: str, *rest: Any) -> Held | Refusal:
        singly.append(account_id)
        return place_byok_hold(connection, request_id, account_id, *rest)

    monkeypatch.setattr("storage.ledger.place_holds", holds)
    monkeypatch.setattr("storage.ledger.post_settlements", settlements)
    monkeypatch.setattr("storage.ledger.place_byok_hold", free)
    await asyncio.gather(*[ledger.hold(f"r{one}", one, (1,), deadline=DEADLINE) for one in accounts])
    await asyncio.gather(*[ledger.settle(make_settlement(f"r{one}", one, 1)) for one in accounts])
    await asyncio.gather(*[byok(ledger, f"b{one}", one) for one in accounts])

    assert [sorted(accounts)] * 2 == seen
    assert sorted(accounts) == singly


PROCESS = """
import asyncio, random, sys
from storage.database import open_database
from storage.ledger import InsufficientCredit, Ledger, Settlement
from storage.calls import CallRow

async def main(url, name, accounts):
    database = open_database(url)
    await database.start()
    ledger = Ledger(database, name)
    await ledger.heartbeat()
    chance = random.Random(name)

    async def call(number):
        account, request_id = chance.choice(accounts), f"{name}-{number}"
        try:
            await ledger.hold(request_id, account, (50, 20), deadline=1)
        except InsufficientCredit:
            return 0
        if chance.random() < 0.2:
            await ledger.release(request_id, account)
            return 0
        cost = chance.randrange(20)
        row = CallRow(
            request_id=request_id, created=number, account_id=account, key_id="k", path="/", requested_model="m",
            model="m", provider="p", mode="standard", payer="auto", streamed=False, status=200,
            billing_outcome="complete", usage_source="provider", provider_cost=cost, fee=0, cost=cost,
        )
        await ledger.settle(Settlement(row, (), delivered=True))
        return cost

    costs = await asyncio.gather(*[call(number) for number in range(150)])
    await ledger.close()
    await database.close()
    print(sum(costs))

asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
"""


async def test_three_processes_on_one_database_keep_exact_books(
    database_url: str, database: Database, new_account: NewAccount
) -> None:
    """Real processes over the same 30 accounts: no deadlock reaches anybody, and every sum is exact."""
    accounts = [new_account(2_000) for _ in range(30)]
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROCESS, database_url, name, *accounts, stdout=subprocess.PIPE
        )
        for name in ("p1", "p2", "p3")
    ]

    printed = [(await process.communicate())[0] for process in processes]

    assert [0, 0, 0] == [process.returncode for process in processes]
    [(balances, held)] = rows(database, "SELECT SUM(balance), SUM(held) FROM account")
    assert (30 * 2_000 - sum(map(int, printed)), 0) == (int(str(balances)), int(str(held)))
    assert [] == disagreements(database)


# --- when things break ----------------------------------------------------------------------------------------------------


class CuttingProxy:
    """Between us and PostgreSQL: cuts the connection when COMMIT comes by, before or after the server has seen it."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self.cut: str | None = None
        self.cuts = 0
        self.url = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[CuttingProxy]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.url = f"postgresql://{self._target.username}@127.0.0.1:{port}{self._target.path}?{self._target.query}"
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection(self._target.hostname, self._target.port)
        answers = asyncio.create_task(self._pass_on(server, to_client))
        try:
            while data := await client.read(65536):
                commits = b"COMMIT\x00" in data  # not the COMMITTED of an isolation level
                if commits and self.cut == "before":
                    break
                if commits and self.cut == "after":
                    answers.cancel()
                    await asyncio.wait({answers})
                    to_server.write(data)
                    await server.read(65536)
                    break
                to_server.write(data)
            else:
                return
            self.cut = None
            self.cuts += 1
        finally:
            answers.cancel()
            await asyncio.wait({answers})
            to_server.close()
            to_client.close()

    async def _pass_on(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        while data := await server.read(65536):
            to_client.write(data)


@pytest.fixture
async def cut_ledger(
    postgres_database: Database, postgres_database_url: str
) -> AsyncIterator[tuple[CuttingProxy, Ledger]]:
    """A ledger whose connection to PostgreSQL can be cut at COMMIT."""
    async with CuttingProxy(postgres_database_url).serving() as proxy:
        database = open_database(proxy.url)
        await database.start()
        ledger = Ledger(database, "p1")
        await ledger.heartbeat()
        yield proxy, ledger
        await ledger.close()
        await database.close()


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_hold_whose_commit_was_cut_is_given_back(
    cut_ledger: tuple[CuttingProxy, Ledger],
    postgres_database: Database,
    account_maker_for: Callable[[Database], NewAccount],
    moment: str,
) -> None:
    """The caller is told that the database is away; whatever was held is released without anybody asking."""
    proxy, ledger = cut_ledger
    account = account_maker_for(postgres_database)(100)

    proxy.cut = moment
    with pytest.raises(StorageUnavailable) as told:
        await ledger.hold("r1", account, (60,), deadline=DEADLINE)
    proxy.cut = moment
    with pytest.raises(StorageUnavailable):
        await ledger.hold_byok("r2", account, month="2026-11", free_requests=1, fee_bound=1, deadline=DEADLINE)
    await ledger.close()

    assert told.value.outcome_unknown
    assert 2 <= proxy.cuts
    assert Balance(100, 0) == await ledger.balance(account)
    assert [] == rows(postgres_database, "SELECT * FROM hold")
    assert [(0,)] == rows(postgres_database, "SELECT COALESCE(SUM(used), 0) FROM byok_month")


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_settlement_whose_commit_was_cut_is_posted_once(
    cut_ledger: tuple[CuttingProxy, Ledger],
    postgres_database: Database,
    account_maker_for: Callable[[Database], NewAccount],
    make_settlement: MakeSettlement,
    moment: str,
) -> None:
    """Tried again under the same id, by the caller or in the background, it charges exactly once."""
    proxy, ledger = cut_ledger
    account = account_maker_for(postgres_database)(100)
    for request_id in ("r1", "r2"):
        await ledger.hold(request_id, account, (50,), deadline=DEADLINE)

    proxy.cut = moment
    with pytest.raises(StorageUnavailable):
        await ledger.settle(make_settlement("r1", account, 10))
    await ledger.settle(make_settlement("r1", account, 10))
    proxy.cut = moment
    ledger.settle_in_background(make_settlement("r2", account, 5))
    assert 1 == ledger.in_background
    await ledger.close()

    assert Balance(85, 0) == await ledger.balance(account)
    assert [] == disagreements(postgres_database)


async def test_what_is_released_in_the_background_is_released(ledger: Ledger, new_account: NewAccount) -> None:
    """For those who cannot wait."""
    account = new_account(10)
    await ledger.hold("r1", account, (6,), deadline=DEADLINE)

    ledger.release_in_background("r1", account)
    await ledger.close()

    assert Balance(10, 0) == await ledger.balance(account)


async def test_a_broken_rule_in_the_background_is_logged_and_not_repeated(
    ledger: Ledger, new_account: NewAccount, make_settlement: MakeSettlement, caplog: pytest.LogCaptureFixture
) -> None:
    """There is nobody to tell, and trying again would not help."""
    ledger.settle_in_background(make_settlement("r9", new_account(10), 1))
    await ledger.close()

    assert "r9 cannot be settled: it has no hold" in caplog.text


async def test_closing_does_not_wait_for_ever(
    sqlite_database: Database,
    account_maker_for: Callable[[Database], NewAccount],
    make_settlement: MakeSettlement,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A database that stays away: what could not be ended is logged, and left for the sweep."""
    ledger = Ledger(sqlite_database, "p1")
    account = account_maker_for(sqlite_database)(10)
    await ledger.hold("r1", account, (6,), deadline=DEADLINE)
    await sqlite_database.close()

    ledger.settle_in_background(make_settlement("r1", account, 1))
    await ledger.close(timeout_seconds=0.2)

    assert 0 == ledger.in_background
    assert "could not be ended before closing" in caplog.text


# --- the sweep ------------------------------------------------------------------------------------------------------------


def set_heartbeat(database: Database, process: str, microseconds: int) -> None:
    with database.session() as connection:
        connection.execute("UPDATE process SET heartbeat = heartbeat + ? WHERE id = ?", (microseconds, process))


SECOND = 1_000_000


async def test_the_holds_of_a_dead_process_are_swept(
    database: Database, ledger: Ledger, new_account: NewAccount
) -> None:
    """Silent for 31 seconds, or never heard of: released, its free BYOK call too, and the process is forgotten."""
    account = new_account(100)
    dead, unheard = Ledger(database, "p2"), Ledger(database, "p3")
    await dead.heartbeat()
    await dead.hold("r1", account, (10,), deadline=DEADLINE)
    await byok(dead, "r2", account)
    await unheard.hold("r3", account, (10,), deadline=DEADLINE)
    await ledger.hold("r4", account, (10,), deadline=DEADLINE)
    set_heartbeat(database, "p2", -31 * SECOND)

    released = await ledger.sweep()

    assert ["r1", "r2", "r3"] == sorted(released)
    assert Balance(100, 10) == await ledger.balance(account)
    assert [(0,)] == rows(database, "SELECT used FROM byok_month")
    assert [("p1",)] == rows(database, "SELECT id FROM process")
    assert [] == await ledger.sweep()


async def test_two_who_sweep_at_once_release_once(database: Database, ledger: Ledger, new_account: NewAccount) -> None:
    """Each hold is told by one of them."""
    account = new_account(100)
    unheard = Ledger(database, "p2")
    for number in range(5):
        await unheard.hold(f"r{number}", account, (10,), deadline=DEADLINE)

    released = await asyncio.gather(ledger.sweep(), ledger.sweep())

    assert [f"r{number}" for number in range(5)] == sorted(released[0] + released[1])
    assert Balance(100, 0) == await ledger.balance(account)


async def test_the_holds_of_a_living_process_are_never_swept(
    database: Database, ledger: Ledger, new_account: NewAccount
) -> None:
    """Until their deadline; and a process that speaks up in time keeps its holds."""
    account = new_account(100)
    slow = Ledger(database, "p2")
    await slow.heartbeat()
    await slow.hold("r1", account, (10,), deadline=DEADLINE)
    set_heartbeat(database, "p2", -29 * SECOND)

    assert [] == await ledger.sweep()
    set_heartbeat(database, "p2", -2 * SECOND)
    await slow.heartbeat()

    assert [] == await ledger.sweep()
    assert Balance(100, 10) == await ledger.balance(account)


class SetClock:
    """The clock of a machine, which somebody sets. Stands for `time` where a database without a clock of its own reads it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead_seconds = 0
        monkeypatch.setattr(storage.connection, "time", self)

    def time_ns(self) -> int:
        """As `time.time_ns` on that machine."""
        return time.time_ns() + self.ahead_seconds * 10**9


@pytest.mark.parametrize("step_seconds", [3600, -3600, 400 * 86_400])
async def test_a_clock_that_is_set_frees_no_hold_of_a_living_process(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch, step_seconds: int
) -> None:
    """Neither a sweep before the next heartbeat nor one long after it, though the deadline was a day away."""
    clock, ledger = SetClock(monkeypatch), Ledger(sqlite_database, "p1")
    with sqlite_database.session() as connection:
        account = create_account(connection, "clock@example.com").id
        post_credit(connection, "gift", account, 100, "promotion", "test", 1)
    await ledger.heartbeat()
    [(began,)] = rows(sqlite_database, "SELECT heartbeat FROM process")
    await ledger.hold("r1", account, (10,), deadline=int(str(began)) + 86_400 * SECOND)

    clock.ahead_seconds = step_seconds
    before_beat = await ledger.sweep()
    await ledger.heartbeat()
    after_beat = await ledger.sweep()
    clock.ahead_seconds += 31
    await ledger.heartbeat()
    later = await ledger.sweep(int(str(began)) + (step_seconds + 31) * SECOND)

    assert ([], [], []) == (before_beat, after_beat, later)
    assert Balance(100, 10) == await ledger.balance(account)


class StoppedClock:
    """A clock that moves when it is told to, in microseconds; stands where `SetClock` does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_800_000_000 * SECOND
        monkeypatch.setattr(storage.connection, "time", self)

    def time_ns(self) -> int:
        """As `time.time_ns`."""
        return self.now * 1000


@pytest.mark.parametrize("step_seconds", [3600, -3600])
async def test_deadlines_move_by_what_the_clock_was_set_by(
    sqlite_database: Database,
    account_maker_for: Callable[[Database], NewAccount],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step_seconds: int,
) -> None:
    """And not by the time that passed meanwhile; those of other processes stay, and the log tells of it."""
    clock, loop = StoppedClock(monkeypatch), asyncio.get_running_loop()
    ledger, other = Ledger(sqlite_database, "p1"), Ledger(sqlite_database, "p2")
    account = account_maker_for(sqlite_database)(100)
    await ledger.heartbeat()
    began = loop.time()
    for number, owner in enumerate((ledger, other)):
        await owner.hold(f"r{number}", account, (1,), deadline=DEADLINE)

    await asyncio.sleep(0.2)
    clock.now += step_seconds * SECOND
    await ledger.heartbeat()

    [(moved,), (stayed,)] = rows(sqlite_database, "SELECT deadline FROM hold ORDER BY request_id")
    assert step_seconds - (loop.time() - began) == pytest.approx((int(str(moved)) - DEADLINE) / SECOND, abs=0.15)
    assert DEADLINE == stayed
    assert f"the clock was set by {step_seconds} seconds" in caplog.text


async def test_a_late_heartbeat_is_a_silence_and_no_set_clock(
    sqlite_database: Database,
    account_maker_for: Callable[[Database], NewAccount],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From a microsecond over fifteen seconds on; the deadlines move only if that was not the time that passed."""
    clock, loop = StoppedClock(monkeypatch), asyncio.get_running_loop()
    account = account_maker_for(sqlite_database)(100)
    await Ledger(sqlite_database, "unheard").hold("r1", account, (1,), deadline=DEADLINE)
    silent, in_time = Ledger(sqlite_database, "p1"), Ledger(sqlite_database, "p2")
    told = loop.time
    await silent.heartbeat()
    await in_time.heartbeat()
    await silent.hold("r2", account, (1,), deadline=DEADLINE)

    clock.now += 15 * SECOND
    await in_time.heartbeat()
    clock.now += 1
    monkeypatch.setattr(loop, "time", lambda: told() + 15)
    await silent.heartbeat()

    assert [] == await silent.sweep()
    assert [(DEADLINE,)] == rows(sqlite_database, "SELECT deadline FROM hold WHERE request_id = 'r2'")
    assert ["r1"] == await in_time.sweep()


async def test_the_dead_are_dead_after_thirty_seconds(
    sqlite_database: Database,
    account_maker_for: Callable[[Database], NewAccount],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And a microsecond; and whoever has not spoken itself for so long by this clock calls nobody dead."""
    clock = StoppedClock(monkeypatch)
    ledger, dead = Ledger(sqlite_database, "p1"), Ledger(sqlite_database, "p2")
    account = account_maker_for(sqlite_database)(100)
    await dead.heartbeat()
    await dead.hold("r1", account, (1,), deadline=DEADLINE)
    clock.now += 1
    await ledger.heartbeat()

    clock.now += 30 * SECOND - 1
    nobody = await ledger.sweep()
    clock.now += 2
    silent_itself = await ledger.sweep()
    clock.now -= 1

    assert ([], [], ["r1"]) == (nobody, silent_itself, await ledger.sweep())


async def test_a_silence_is_over_after_thirty_seconds(
    sqlite_database: Database,
    account_maker_for: Callable[[Database], NewAccount],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To the microsecond."""
    clock, ledger = StoppedClock(monkeypatch), Ledger(sqlite_database, "p1")
    account = account_maker_for(sqlite_database)(100)
    await Ledger(sqlite_database, "unheard").hold("r1", account, (1,), deadline=DEADLINE)
    await ledger.heartbeat()
    clock.now += 16 * SECOND
    await ledger.heartbeat()
    clock.now += 30 * SECOND - 1

    still = await ledger.sweep()
    clock.now += 1

    assert ([], ["r1"]) == (still, await ledger.sweep())


async def test_who_died_before_the_clock_was_put_back_is_not_waited_for_until_then(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last heartbeat lies an hour ahead and would keep its hold for so long."""
    clock = SetClock(monkeypatch)
    ledger, dead = Ledger(sqlite_database, "p1"), Ledger(sqlite_database, "p2")
    with sqlite_database.session() as connection:
        account = create_account(connection, "clock@example.com").id
        post_credit(connection, "gift", account, 100, "promotion", "test", 1)
    clock.ahead_seconds = 3600
    await ledger.heartbeat()
    await dead.heartbeat()
    await dead.hold("r1", account, (10,), deadline=DEADLINE)

    clock.ahead_seconds = 0
    await ledger.heartbeat()
    at_once = await ledger.sweep()
    clock.ahead_seconds = 14
    await ledger.heartbeat()
    clock.ahead_seconds = 28
    await ledger.heartbeat()
    clock.ahead_seconds = 42
    await ledger.heartbeat()

    assert ([], ["r1"]) == (at_once, await ledger.sweep())


async def test_a_process_that_was_silent_itself_gives_the_others_time(
    database: Database, ledger: Ledger, new_account: NewAccount
) -> None:
    """The database was away for everybody: nobody is called dead until they had the time to speak."""
    account = new_account(100)
    other = Ledger(database, "p2")
    await other.heartbeat()
    await other.hold("r1", account, (10,), deadline=DEADLINE)
    set_heartbeat(database, "p2", -60 * SECOND)
    await ledger.heartbeat(silent_after_seconds=0)
    [(now,)] = rows(database, "SELECT heartbeat FROM process WHERE id = 'p1'")

    at_once = await ledger.sweep()
    later = await ledger.sweep(int(str(now)) + 31 * SECOND)

    assert ([], ["r1"]) == (at_once, later)
