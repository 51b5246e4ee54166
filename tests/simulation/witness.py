"""What must be true of the books after every commit, seen from a connection of its own, and remembered for the end."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.simulation.clock import Process

_BOOKS = """SELECT a.id, a.balance, a.held, a.status,
    COALESCE((SELECT SUM(amount) FROM hold WHERE account_id = a.id), 0),
    COALESCE((SELECT SUM(amount) FROM entry WHERE credit = 'customer:' || a.id), 0)
    - COALESCE((SELECT SUM(amount) FROM entry WHERE debit = 'customer:' || a.id), 0) FROM account a ORDER BY a.id"""
_HOLDS = "SELECT request_id, key_id, amount, owner, byok_month, account_id FROM hold ORDER BY request_id"
_CALLS = "SELECT request_id, key_id, billing_outcome, cost FROM call ORDER BY request_id"
_TICKETS = "SELECT COALESCE(SUM(used), 0) FROM byok_month"


class Witness:
    """Every invariant that can be seen in one state of the books."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.owners: dict[str, Process] = {}
        self.holds: dict[str, tuple[int, str, bool]] = {}
        """By key id: the amount held, its owner, whether it took a free BYOK call."""
        self.inactive: set[str] = set()
        self.in_doubt: set[str] = set()
        """Key ids whose row came with a commit whose answer was lost."""
        self.rows: dict[str, tuple[str, str, int]] = {}
        self.violations: list[str] = []

    def check(self, lost: bool) -> str:
        """Look at the books; a line for the trace."""
        seen = []
        for account, balance, held, _status, holds, entries in self.connection.execute(_BOOKS).fetchall():
            seen.append((balance, held))
            self._must(balance >= 0, f"{account}: the balance is {balance}")
            self._must(held == holds, f"{account}: held is {held}, its holds sum to {holds}")
            self._must(balance == entries, f"{account}: the balance is {balance}, its entries sum to {entries}")
            self._must(held <= balance, f"{account}: {held} held of {balance}, overspent")
        free = self._look_at_holds() + self._look_at_calls(lost)
        (used,) = self.connection.execute(_TICKETS).fetchone()
        self._must(used == free, f"{used} free BYOK calls are counted, {free} were used")
        return f"{seen} {used}"

    def _look_at_holds(self) -> int:
        free = 0
        for _request, key_id, amount, owner, month, account in self.connection.execute(_HOLDS).fetchall():
            new = key_id not in self.holds
            self._must(not (new and account in self.inactive), f"{key_id}: a hold on a deactivated account")
            self._must(new or self.holds[key_id][0] == amount, f"{key_id}: its hold changed")
            self.holds[key_id] = (amount, owner, month is not None)
            free += month is not None
        return free

    def _look_at_calls(self, lost: bool) -> int:
        free = 0
        rows = self.connection.execute(_CALLS).fetchall()
        for request, key_id, outcome, cost in rows:
            if key_id not in self.rows:
                self._must(key_id in self.holds, f"{key_id}: a bill without a hold")
                if lost:
                    self.in_doubt.add(key_id)
                if outcome == "gateway_died" and key_id in self.holds:
                    owner = self.owners[self.holds[key_id][1]]
                    self._must(owner.dead, f"{key_id}: swept, but {owner.name} lives")
            before = self.rows.setdefault(key_id, (request, outcome, cost))
            self._must(before == (request, outcome, cost), f"{key_id}: a second or another bill")
            free += outcome in ("complete", "client_left") and self.holds.get(key_id, (0, "", False))[2]
        return free

    def _must(self, holds: bool, sentence: str) -> None:
        if not holds:
            self.violations.append(sentence)
