"""Which gateways are alive, and giving back what the dead ones held.

Each process writes a heartbeat. One that fell silent cannot end its holds, so another process releases them. Time is
told by the database's clock where it has one, so that nodes whose clocks differ do not bury each other.
"""

from __future__ import annotations

from storage.database import Connection
from storage.postings import release_hold

_BEAT = """INSERT INTO process (id, started, heartbeat) VALUES (?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET heartbeat = ?"""
_ORPHANS = """SELECT hold.request_id, hold.account_id FROM hold
    LEFT JOIN process ON process.id = hold.owner
    WHERE process.heartbeat IS NULL OR process.heartbeat < ? ORDER BY hold.account_id, hold.request_id LIMIT ?"""
_OWNER_IS_DEAD = """SELECT 1 FROM hold LEFT JOIN process ON process.id = hold.owner
    WHERE hold.request_id = ? AND (process.heartbeat IS NULL OR process.heartbeat < ?)"""
_BURY = "DELETE FROM process WHERE heartbeat < ? AND NOT EXISTS (SELECT 1 FROM hold WHERE hold.owner = process.id)"

SWEEP_LIMIT = 10_000
"""Holds looked at in one sweep; the next sweep sees the rest."""


def beat(connection: Connection, process_id: str) -> int:
    """Say that this process lives. Returns the instant it was said at."""
    now = connection.now()
    connection.execute(_BEAT, (process_id, now, now, now))
    return now


def find_orphans(connection: Connection, silent_since: int) -> list[tuple[str, str]]:
    """Request id and account id of each hold whose owner is unknown or has not been heard since that instant."""
    return [(row[0], row[1]) for row in connection.execute(_ORPHANS, (silent_since, SWEEP_LIMIT)).fetchall()]


def release_orphan(connection: Connection, request_id: str, account_id: str, silent_since: int) -> bool:
    """Release a hold if its owner is dead still. Returns whether it was released."""
    if connection.execute(_OWNER_IS_DEAD, (request_id, silent_since)).fetchone() is None:
        return False
    release_hold(connection, request_id, account_id)
    return True


def bury(connection: Connection, silent_since: int) -> None:
    """Forget processes that are dead and hold nothing."""
    connection.execute(_BURY, (silent_since,))
