"""Which gateways are alive, and giving back what the dead ones held.

Each process writes a heartbeat. One that fell silent cannot end its holds, so another process releases them, and so
are holds whose deadline has passed. Such a call is free, because nobody knows what its caller received, and it gets its
row in the billing log, because it may have reached a provider. Time is told by the database's clock where it has one, so
that nodes whose clocks differ do not bury each other.
"""

from __future__ import annotations

from typing import Any

from billing.matrix import Ending
from storage.calls import CallRow, insert_call
from storage.database import Connection
from storage.postings import release_hold

_BEAT = """INSERT INTO process (id, started, heartbeat, revision)
    VALUES (?, ?, ?, (SELECT number FROM revision WHERE id = 1)) ON CONFLICT (id) DO UPDATE SET heartbeat = ?"""
_ORPHANS = """SELECT hold.request_id, hold.account_id FROM hold
    LEFT JOIN process ON process.id = hold.owner
    WHERE process.heartbeat IS NULL OR process.heartbeat < ? OR hold.deadline < ?
    ORDER BY hold.account_id, hold.request_id LIMIT ?"""
_ORPHAN = """SELECT hold.created, key_id, path, requested_model, payer, streamed
    FROM hold LEFT JOIN process ON process.id = hold.owner
    WHERE hold.request_id = ? AND (process.heartbeat IS NULL OR process.heartbeat < ? OR hold.deadline < ?)"""
_SHIFT = "UPDATE hold SET deadline = deadline + ? WHERE owner = ?"
_NOBODY_FROM_LATER = "UPDATE process SET heartbeat = ? WHERE heartbeat > ?"
_BURY = "DELETE FROM process WHERE heartbeat < ? AND NOT EXISTS (SELECT 1 FROM hold WHERE hold.owner = process.id)"

SWEEP_LIMIT = 10_000
"""Holds looked at in one sweep; the next sweep sees the rest."""


def beat(connection: Connection, process_id: str) -> int:
    """Say that this process lives; the first time, that it keeps nothing it looked up before. Returns the instant."""
    now = connection.now()
    connection.execute(_BEAT, (process_id, now, now, now))
    return now


def follow_clock(connection: Connection, process_id: str, step: int, now: int) -> None:
    """The clock was set by `step` microseconds and says `now`: the deadlines of this process's holds go with it.

    So do heartbeats that have come to lie in the future, or a process that dies would be taken for alive until then.
    """
    connection.execute(_SHIFT, (step, process_id))
    connection.execute(_NOBODY_FROM_LATER, (now, now))


def find_orphans(connection: Connection, silent_since: int) -> list[tuple[str, str]]:
    """Request id and account id of each hold whose owner is unknown or has not been heard since that instant, or whose
    deadline is earlier."""
    parameters = (silent_since, silent_since, SWEEP_LIMIT)
    return [(row[0], row[1]) for row in connection.execute(_ORPHANS, parameters).fetchall()]


def release_orphan(connection: Connection, request_id: str, account_id: str, silent_since: int) -> bool:
    """Release a hold if its owner is dead still, and write the call's row. Returns whether it was released."""
    orphan = connection.execute(_ORPHAN, (request_id, silent_since, silent_since)).fetchone()
    if orphan is None:
        return False
    balance = release_hold(connection, request_id, account_id)
    insert_call(connection, _row(request_id, account_id, orphan), (), balance_after=balance.balance)
    return True


def _row(request_id: str, account_id: str, orphan: tuple[Any, ...]) -> CallRow:
    """What is known of a call whose process died: all that its hold remembers."""
    created, key_id, path, requested_model, payer, streamed = orphan
    return CallRow(
        request_id=request_id,
        created=created,
        account_id=account_id,
        key_id=key_id,
        path=path,
        requested_model=requested_model,
        model=None,
        provider=None,
        mode="byok" if payer == "provider_key" else "standard",
        payer=payer,
        streamed=bool(streamed),
        status=500,
        billing_outcome=Ending.GATEWAY_DIED.value,
        usage_source=None,
    )


def bury(connection: Connection, silent_since: int) -> None:
    """Forget processes that are dead and hold nothing."""
    connection.execute(_BURY, (silent_since,))
