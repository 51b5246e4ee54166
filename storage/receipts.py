"""What a receipt is made of: a call's line of the billing log and the entries that belong to it, found by the request id."""

# ruff: noqa: S608 - statements are put together from our own column names, never from a value
from __future__ import annotations

from typing import Any

from billing.money import format_usd
from billing.repricing import ADJUSTMENT, Moves
from billing.values import named_value
from storage.calls import CallRow, find_call, shown_instant
from storage.database import Connection

_FIND_ACCOUNT = "SELECT account_id FROM call WHERE request_id = ?"
ENTRY_COLUMNS = "id, debit, credit, amount, kind, reference, reason, created"
# The ids of a call's own entries are known, so its primary key finds them; adjustments have an index of their own.
_KINDS = tuple(Moves().by_kind())
_FIND_OWN = f"SELECT {ENTRY_COLUMNS} FROM entry WHERE id IN ({', '.join('?' * len(_KINDS))})"
_FIND_ADJUSTMENTS = f"SELECT {ENTRY_COLUMNS} FROM entry WHERE kind = '{ADJUSTMENT}' AND reference = ?"


@named_value
class EntryRow:
    """One line of the ledger; `created` in microseconds."""

    id: str
    debit: str
    credit: str
    amount: int
    kind: str
    reference: str
    reason: str
    created: int

    def to_json(self) -> dict[str, Any]:
        """The entry as a receipt shows it."""
        return {
            "id": self.id,
            "debit": self.debit,
            "credit": self.credit,
            "amount": format_usd(self.amount),
            "kind": self.kind,
            "reference": self.reference,
            "reason": self.reason,
            "created": shown_instant(self.created),
        }


def find_billed_call(connection: Connection, request_id: str) -> tuple[CallRow, list[EntryRow]] | None:
    """The call with its attempts and its entries, whoever's it is; None if it is not in the billing log."""
    if not request_id.isprintable():
        return None
    owner = connection.execute(_FIND_ACCOUNT, (request_id,)).fetchone()
    call = find_call(connection, owner[0], request_id) if owner is not None else None
    return (call, find_entries(connection, request_id)) if call is not None else None


def find_entries(connection: Connection, request_id: str) -> list[EntryRow]:
    """What the call's settlement posted, in the order of its kinds, and then its adjustments, oldest first."""
    own = connection.execute(_FIND_OWN, [f"{request_id}:{kind}" for kind in _KINDS]).fetchall()
    entries = sorted(map(read_entry, own), key=lambda entry: _KINDS.index(entry.kind))
    return entries + find_adjustments(connection, request_id)


def find_adjustments(connection: Connection, request_id: str) -> list[EntryRow]:
    """The call's adjustments, oldest first."""
    rows = connection.execute(_FIND_ADJUSTMENTS, (request_id,)).fetchall()
    return sorted(map(read_entry, rows), key=lambda entry: (entry.created, entry.id))


def read_entry(row: tuple[Any, ...]) -> EntryRow:
    """An entry out of its columns in the order of ENTRYENTRY_COLUMNS."""
    return EntryRow(**dict(zip(ENTRY_COLUMNS.split(", "), row, strict=True)))
