"""What is left of each credit of an account, as a pure function of its entries: no state is kept about it anywhere.

Every recharge and every promotion is a lot. The rules, entry by entry, in order of time:

* Spending takes promotional lots first, then recharges; of each kind the oldest first.
* What names a lot (a refund or a dispute names the recharge) takes from that lot first, the rest as spending does.
* An expiry, and a gift taken back, take as spending does.
* What finds nothing left is a debt. Whatever comes in next pays it, as if it had been taken from there.
* What is given back (a dispute won, an expiry undone, part of a call's cost) returns to where it was last taken from by the
  same thing; a part that nothing ever took becomes a promotional lot of its own.

So at any moment the lots' `left` less the debt is the balance, and nothing is left of any lot while there is a debt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from billing.money import Money
from billing.values import named_value, value

LotKind = Literal["promotion", "recharge"]

DAY_MICROSECONDS: Final = 86_400_000_000


@value
class Move:
    """An entry as one account sees it: `amount` above zero came in, below zero went out; `counterpart` is the other side.

    `reference` names what the entry is about: the id of a lot, of an expiry, of a call.
    """

    id: str
    kind: str
    counterpart: str
    reference: str
    amount: Money
    created: int


@named_value
class Lot:
    """One credit and what is left of it; `created` and `refundable_until` in microseconds."""

    id: str
    kind: LotKind
    amount: Money
    left: Money
    created: int
    refundable_until: int | None
    """Until when the owner may have back what is left; None for what can never be refunded."""


@value
class Lots:
    """All lots of an account in spending order, and what it owes; one of the two is always nothing."""

    lots: tuple[Lot, ...]
    debt: Money

    @property
    def left(self) -> Money:
        """What is left of all lots together: the balance, or nothing while there is a debt."""
        return sum(lot.left for lot in self.lots)

    def refundable(self, held: Money, now: int) -> dict[str, Money]:
        """What may be refunded of each lot at that instant, by lot id: what is left of it were all that is held spent.

        Lots of which nothing may be refunded are not in it.
        """
        found: dict[str, Money] = {}
        for lot in self.lots:
            kept = min(lot.left, held)
            held -= kept
            if lot.left > kept and lot.refundable_until is not None and now < lot.refundable_until:
                found[lot.id] = lot.left - kept
        return found


def makes_lot(move: Move) -> LotKind | None:
    """The kind of lot that an entry opens, None if it opens none. A gift by adjustment is a promotion."""
    if move.amount < 0:
        return None
    if move.kind == "recharge":
        return "recharge"
    return "promotion" if move.counterpart == "promotion" else None


def spending(amount: Money, created: int = 0) -> Move:
    """A move that stands for any number of calls' entries one after another: together they take what each took."""
    return Move("", "usage", "revenue:usage", "", -amount, created)


def find_lots(moves: Iterable[Move], refund_window_days: int) -> Lots:
    """The lots of an account after these moves, which are in order of time.

    Spending may be told later than it happened as long as only recharges lie between: they are spent last, so it makes
    no difference.
    """
    books = _Books()
    for move in moves:
        books.apply(move)
    window = refund_window_days * DAY_MICROSECONDS
    lots = tuple(
        Lot(
            id=lot.id,
            kind=lot.kind,
            amount=lot.amount,
            left=lot.left,
            created=lot.created,
            refundable_until=lot.created + window if lot.kind == "recharge" else None,
        )
        for lot in books.in_spending_order()
    )
    return Lots(lots, sum(debt.amount for debt in books.debts))


@dataclass(slots=True)
class _OpenLot:
    """A lot while its moves are applied."""

    id: str
    kind: LotKind
    amount: Money
    left: Money
    created: int


@dataclass(slots=True)
class _Debt:
    """What could not be taken from any lot, and by what."""

    taker: str
    amount: Money


@dataclass(slots=True)
class _Taking:
    """An amount that went out of a lot."""

    lot: _OpenLot
    amount: Money


class _Books:
    """The lots, debts and takings between one move and the next."""

    def __init__(self) -> None:
        self.debts: list[_Debt] = []
        self._promotions: list[_OpenLot] = []
        self._recharges: list[_OpenLot] = []
        self._by_id: dict[str, _OpenLot] = {}
        self._takings: dict[str, list[_Taking]] = {}

    def in_spending_order(self) -> Iterator[_OpenLot]:
        """Promotions, then recharges, each in the order they came."""
        yield from self._promotions
        yield from self._recharges

    def apply(self, move: Move) -> None:
        """One move; see the rules at the top."""
        taker = _taker(move)
        if move.amount < 0:
            self._take(taker, -move.amount, self._by_id.get(move.reference))
            return
        kind = makes_lot(move)
        if kind is not None:
            self._open(move, kind, move.amount)
        elif rest := self._return(taker, move.amount):
            self._open(move, "promotion", rest)
        self._pay_debts()

    def _open(self, move: Move, kind: LotKind, amount: Money) -> None:
        lot = _OpenLot(move.id, kind, amount, amount, move.created)
        (self._promotions if kind == "promotion" else self._recharges).append(lot)
        self._by_id[move.id] = lot

    def _take(self, taker: str, amount: Money, named: _OpenLot | None = None) -> None:
        """Take from the named lot, then in spending order; what is not there becomes a debt."""
        if named is not None:
            amount -= self._take_from(named, taker, amount)
        for lot in self.in_spending_order():
            if not amount:
                return
            amount -= self._take_from(lot, taker, amount)
        if amount:
            self.debts.append(_Debt(taker, amount))

    def _take_from(self, lot: _OpenLot, taker: str, amount: Money) -> Money:
        """Take what is left of a lot, at most `amount`, and remember who took it. Returns what was taken."""
        part = min(lot.left, amount)
        if not part:
            return 0
        lot.left -= part
        takings = self._takings.setdefault(taker, [])
        if takings and takings[-1].lot is lot:
            takings[-1].amount += part
        else:
            takings.append(_Taking(lot, part))
        return part

    def _return(self, taker: str, amount: Money) -> Money:
        """Undo what `taker` took, the last first, beginning with what it still owes. Returns what it never took."""
        for debt in reversed(self.debts):
            if debt.taker == taker:
                part = min(debt.amount, amount)
                debt.amount -= part
                amount -= part
        self.debts = [debt for debt in self.debts if debt.amount]
        takings = self._takings.get(taker, [])
        while amount and takings:
            last = takings[-1]
            part = min(last.amount, amount)
            last.lot.left += part
            last.amount -= part
            amount -= part
            if not last.amount:
                takings.pop()
        return amount

    def _pay_debts(self) -> None:
        """The oldest debt first, from what came in."""
        debts, self.debts = self.debts, []
        for debt in debts:
            self._take(debt.taker, debt.amount)


def _taker(move: Move) -> str:
    """What a taking is remembered under, and found again by what gives back: calls are one taker, with whatever corrects
    their cost; everything else is known by its counterpart and what it is about."""
    if move.counterpart.startswith("revenue:"):
        return "calls"
    return f"{move.counterpart} {move.reference}"
