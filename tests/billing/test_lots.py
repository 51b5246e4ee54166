"""What is left of each lot: the rules one by one, and all of them at once against a model that counts single coins."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.lots import DAY_MICROSECONDS, Lot, Lots, Move, find_lots, makes_lot, spending

WINDOW = 14


def recharge(name: str, amount: int, created: int = 0) -> Move:
    return Move(name, "recharge", "stripe:clearing", name, amount, created)


def promotion(name: str, amount: int, created: int = 0) -> Move:
    return Move(name, "promotion", "promotion", name, amount, created)


def refund(purchase: str, amount: int) -> Move:
    return Move(f"refund:{purchase}", "refund", "stripe:clearing", purchase, -amount, 0)


def dispute(purchase: str, amount: int) -> Move:
    return Move(f"dispute:{purchase}", "dispute", "disputed:acct", purchase, -amount, 0)


def dispute_won(purchase: str, amount: int) -> Move:
    return Move(f"won:{purchase}", "dispute", "disputed:acct", purchase, amount, 0)


def expiry(amount: int, name: str = "expiry:acct:2026-11-27") -> Move:
    return Move(name, "expiry", "expired", name, -amount, 0)


def restore(amount: int, name: str = "expiry:acct:2026-11-27") -> Move:
    return Move(f"restore:{name}", "restore", "expired", name, amount, 0)


def adjustment(name: str, amount: int) -> Move:
    return Move(name, "adjustment", "promotion", name, amount, 0)


def rerated(amount: int) -> Move:
    return Move("rerate:r1", "adjustment", "revenue:usage", "r1", amount, 0)


def left(*moves: Move) -> dict[str, int]:
    """What is left of each lot, in spending order, and the debt where there is one."""
    found = find_lots(moves, WINDOW)
    return {lot.id: lot.left for lot in found.lots} | ({"debt": found.debt} if found.debt else {})


def test_spending_stands_for_calls() -> None:
    """An entry without a name of its own, to revenue; of the beginning unless said otherwise."""
    assert Move("", "usage", "revenue:usage", "", -6, 0) == spending(6)
    assert Move("", "usage", "revenue:usage", "", -6, 7) == spending(6, 7)


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        ([recharge("a", 10), promotion("p", 5), recharge("b", 20), spending(6)], {"p": 0, "a": 9, "b": 20}),
        # What was spent before a promotion came was not spent from it.
        ([recharge("a", 10), spending(6), promotion("p", 5)], {"p": 5, "a": 4}),
        # A refund takes from its own purchase, although an older one would be spent first.
        ([recharge("a", 10), recharge("b", 20), refund("b", 15)], {"a": 10, "b": 5}),
        # Pay 10, spend 6, refund 10: a debt of 6, and the next 10 leave 4.
        ([recharge("a", 10), spending(6), refund("a", 10)], {"a": 0, "debt": 6}),
        ([recharge("a", 10), spending(6), refund("a", 10), recharge("b", 10)], {"a": 0, "b": 4}),
        # What the purchase no longer has, the refund takes as spending does.
        ([recharge("a", 10), spending(6), promotion("p", 5), refund("a", 10)], {"p": 0, "a": 0, "debt": 1}),
        # Dispute, won, refund: 10, 0, 10, 0.
        ([recharge("a", 10), dispute("a", 10), dispute_won("a", 10)], {"a": 10}),
        ([recharge("a", 10), dispute("a", 10), dispute_won("a", 10), refund("a", 10)], {"a": 0}),
        # A won dispute gives back to whom it took from, not all to the purchase: promotional credit stays promotional.
        (
            [recharge("a", 10), spending(6), promotion("p", 5), dispute("a", 10), dispute_won("a", 10)],
            {"p": 5, "a": 4},
        ),
        # … and what a later recharge paid of it returns to that recharge.
        (
            [recharge("a", 10), spending(6), dispute("a", 10), recharge("b", 10), dispute_won("a", 10)],
            {"a": 4, "b": 10},
        ),
        ([promotion("p", 5), recharge("a", 10), expiry(15)], {"p": 0, "a": 0}),
        ([promotion("p", 5), recharge("a", 10), spending(7), expiry(8), restore(8)], {"p": 0, "a": 8}),
        # A gift taken back takes promotional credit first; a gift is promotional credit.
        ([promotion("p", 5), recharge("a", 10), adjustment("x", -6)], {"p": 0, "a": 9}),
        ([recharge("a", 10), adjustment("x", 3), spending(4)], {"x": 0, "a": 9}),
        # A price corrected: the call's money returns to where calls last took it, or calls take more.
        ([promotion("p", 5), recharge("a", 10), spending(7), rerated(4)], {"p": 2, "a": 10}),
        ([recharge("a", 10), spending(6), promotion("p", 5), rerated(1)], {"p": 5, "a": 5}),
        ([promotion("p", 5), recharge("a", 10), spending(4), rerated(-3)], {"p": 0, "a": 8}),
        ([recharge("a", 10), spending(3), spending(4), rerated(6)], {"a": 9}),
        # What nothing ever took is a gift.
        ([recharge("a", 10), rerated(2)], {"rerate:r1": 2, "a": 10}),
        # A credit whose clock ran late pays what was spent before it.
        ([spending(3), recharge("a", 10)], {"a": 7}),
    ],
)
def test_the_rules(moves: list[Move], expected: dict[str, int]) -> None:
    """Each on the smallest account that shows it."""
    assert expected == left(*moves)
    assert list(expected) == list(left(*moves))


def test_a_lot_knows_its_kind_and_its_day() -> None:
    """Gifts by correction are promotional; spending, refunds and what is given back open none."""
    found = find_lots([promotion("p", 5, 1), recharge("a", 10, 2), adjustment("x", 3)], WINDOW)

    assert [("p", "promotion", 1), ("x", "promotion", 0), ("a", "recharge", 2)] == [
        (lot.id, lot.kind, lot.created) for lot in found.lots
    ]
    kinds = [makes_lot(move) for move in (promotion("p", 1), recharge("a", 1), adjustment("x", 1))]
    assert ["promotion", "recharge", "promotion"] == kinds
    assert [None] * 4 == [makes_lot(move) for move in (spending(1), refund("a", 1), restore(1), adjustment("x", -1))]


def test_fourteen_days_oldest_first() -> None:
    """10 on day 0 and 20 on day 10, 12 spent: on day 13 the second is refundable to 18, on day 24 no more."""
    day = DAY_MICROSECONDS
    found = find_lots([recharge("a", 10, 0), recharge("b", 20, 10 * day), spending(12)], WINDOW)

    assert [14 * day, 24 * day] == [lot.refundable_until for lot in found.lots]
    assert {"b": 18} == found.refundable(0, 13 * day)
    assert {"b": 18} == found.refundable(0, 24 * day - 1)
    assert {} == found.refundable(0, 24 * day)


def test_the_first_purchase_leaves_its_window_by_the_minute() -> None:
    """Refundable a minute before its fourteenth day is over, not at its end; promotions never."""
    until = 14 * DAY_MICROSECONDS
    found = find_lots([promotion("p", 5), recharge("a", 10)], WINDOW)

    assert {"a": 10} == found.refundable(0, until - 60_000_000)
    assert {} == found.refundable(0, until)


def test_what_is_held_is_not_refundable() -> None:
    """It counts as spent, in spending order, so that a refund never leaves calls in flight unpaid."""
    found = find_lots([promotion("p", 5), recharge("a", 10), recharge("b", 20)], WINDOW)

    assert {"a": 10, "b": 20} == found.refundable(5, 1)
    assert {"a": 7, "b": 20} == found.refundable(8, 1)
    assert {"b": 18} == found.refundable(17, 1)
    assert {} == found.refundable(35, 1)


# --- all rules at once ---

NAMES = "abcd"


@st.composite
def histories(draw: st.DrawFn) -> list[Move]:
    """Any sequence of moves, also such as the ledger would refuse: the rules hold for all of them."""
    amounts = st.integers(1, 9)
    moves: list[Move] = []
    for number in range(draw(st.integers(0, 14))):
        kind = draw(st.sampled_from(["recharge", "promotion", "spend", "spend", "named", "expiry", "adjust", "rerate"]))
        amount, sign = draw(amounts), draw(st.sampled_from([1, -1]))
        names = [move.id for move in moves if makes_lot(move)] or ["nothing"]
        name = draw(st.sampled_from(names))
        signed = amount * sign
        moves.append(
            {
                "recharge": recharge(f"r{number}", amount, number),
                "promotion": promotion(f"p{number}", amount, number),
                "spend": spending(amount, number),
                "named": Move(
                    f"n{number}", "dispute", draw(st.sampled_from(["disputed:a", "stripe:clearing"])), name, signed, 0
                ),
                "expiry": Move(f"e{number}", "expiry", "expired", draw(st.sampled_from(["e1", "e2"])), signed, 0),
                "adjust": adjustment(f"x{number}", signed),
                "rerate": Move(f"rerate:{number}", "adjustment", "revenue:usage", "call", signed, 0),
            }[kind]
        )
    return moves


class Coin:
    """One unit of a lot, and who took it when."""

    def __init__(self, lot: str, kind: str, number: int) -> None:
        self.lot, self.kind, self.number = lot, kind, number
        self.taken: tuple[int, str] | None = None


class Coins:
    """The rules said once more, coin by coin and without any arithmetic."""

    def __init__(self) -> None:
        self.coins: list[Coin] = []
        self.owed: list[str] = []
        self.clock = 0

    def apply(self, move: Move) -> None:
        who = "calls" if move.counterpart.startswith("revenue:") else move.counterpart + " " + move.reference
        for _ in range(-move.amount):
            self.take(who, move.reference)
        kind = makes_lot(move)
        for _ in range(move.amount):
            if kind is not None:
                self.coins.append(Coin(move.id, kind, len(self.coins)))
            else:
                self.give(who, move.id)
        if move.amount > 0:
            owed, self.owed = self.owed, []
            for one in owed:
                self.take(one, "")

    def take(self, who: str, named: str) -> None:
        here = [coin for coin in self.coins if coin.taken is None]
        if not here:
            self.owed.append(who)
            return
        here.sort(key=lambda coin: (coin.lot != named, coin.kind != "promotion", coin.number))
        self.clock += 1
        here[0].taken = (self.clock, who)

    def give(self, who: str, move_id: str) -> None:
        if who in self.owed:
            del self.owed[len(self.owed) - 1 - self.owed[::-1].index(who)]
            return
        gone = [coin for coin in self.coins if coin.taken is not None and coin.taken[1] == who]
        if gone:
            max(gone, key=lambda coin: coin.taken or (0, "")).taken = None
        else:
            self.coins.append(Coin(move_id, "promotion", len(self.coins)))

    def left(self) -> dict[str, int]:
        lots = dict.fromkeys((coin.lot for coin in self.coins), 0)
        for coin in self.coins:
            lots[coin.lot] += coin.taken is None
        return lots


@given(histories())
def test_every_history_is_as_a_model_counts_it_coin_by_coin(moves: list[Move]) -> None:
    """Lots, what is left of each, and the debt."""
    model = Coins()
    for move in moves:
        model.apply(move)

    found = find_lots(moves, WINDOW)

    assert model.left() == {lot.id: lot.left for lot in found.lots}
    assert len(model.owed) == found.debt


@given(histories())
def test_what_is_left_is_the_balance(moves: list[Move]) -> None:
    """Σ left = max(balance, 0), debt = max(−balance, 0), and each lot lies between nothing and its amount."""
    found = find_lots(moves, WINDOW)
    balance = sum(move.amount for move in moves)

    assert (max(balance, 0), max(-balance, 0)) == (found.left, found.debt)
    assert all(0 <= lot.left <= lot.amount for lot in found.lots)
    assert 0 == found.left * found.debt


@given(histories())
def test_lots_come_in_spending_order(moves: list[Move]) -> None:
    """Promotions, then recharges, each as they came."""
    kinds = [lot.kind for lot in find_lots(moves, WINDOW).lots]

    assert ["promotion", "recharge"][: len(kinds)] == [kind for kind, _ in groupby(kinds)] or len(set(kinds)) < 2


@given(histories(), st.integers(1, 30), st.integers(0, 30))
def test_spending_takes_from_the_first_and_never_adds(moves: list[Move], amount: int, more: int) -> None:
    """A lot is touched only when those before it are empty; the more is spent, the less is left of each."""
    before, after = find_lots(moves, WINDOW), find_lots([*moves, spending(amount)], WINDOW)
    later = find_lots([*moves, spending(amount + more)], WINDOW)

    assert all(one.left >= two.left >= three.left for one, two, three in zip3(before, after, later))
    touched = [index for index, (one, two) in enumerate(zip(before.lots, after.lots, strict=True)) if one != two]
    assert all(lot.left == 0 for index in touched[-1:] for lot in after.lots[:index])


def zip3(one: Lots, two: Lots, three: Lots) -> Iterable[tuple[Lot, Lot, Lot]]:
    return zip(one.lots, two.lots, three.lots, strict=True)


@given(histories(), st.sampled_from(["promotion", "recharge"]), st.integers(1, 30))
def test_a_credit_takes_nothing_from_other_lots(moves: list[Move], kind: str, amount: int) -> None:
    """Whatever came before, a new lot leaves the others as they are; it holds its amount less the debt."""
    before = find_lots(moves, WINDOW)
    credit = recharge("new", amount) if kind == "recharge" else promotion("new", amount)
    after = find_lots([*moves, credit], WINDOW)

    assert before.lots == tuple(lot for lot in after.lots if lot.id != "new")
    assert [max(amount - before.debt, 0)] == [lot.left for lot in after.lots if lot.id == "new"]


@given(histories())
def test_an_undone_expiry_leaves_every_lot_as_it_was(moves: list[Move]) -> None:
    """What expired comes back to the lots it was taken from, so purchases stay purchases."""
    before = find_lots(moves, WINDOW)
    if not before.left:
        return
    expired = [*moves, expiry(before.left)]

    assert 0 == find_lots(expired, WINDOW).left
    assert before == find_lots([*expired, restore(before.left)], WINDOW)


@given(histories(), st.integers(1, 9), st.integers(1, 9))
def test_spending_may_be_told_after_a_recharge_that_followed_it(moves: list[Move], spent: int, amount: int) -> None:
    """Recharges are spent last, so whoever reads entries need not know on which side of one a call lies."""
    paid = recharge("new", amount)

    assert find_lots([*moves, spending(spent), paid], WINDOW) == find_lots([*moves, paid, spending(spent)], WINDOW)


@given(histories(), st.lists(st.integers(1, 9), max_size=5))
def test_calls_in_a_row_are_one_call(moves: list[Move], amounts: list[int]) -> None:
    """Their sum takes what each of them took, so sums are enough."""
    each = [spending(amount) for amount in amounts]
    total = [spending(sum(amounts))] if amounts else []

    assert find_lots([*moves, *each], WINDOW) == find_lots([*moves, *total], WINDOW)
