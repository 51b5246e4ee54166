"""The last audit is known, whoever made it."""

from __future__ import annotations

from storage.audit_runs import LONGEST_SENTENCE, LastAudit, find_last_audit, record_audit
from storage.database import Database


async def test_the_last_one_stays(sqlite_database: Database) -> None:
    """Whichever was finished last, with its first disagreement."""
    with sqlite_database.session() as connection:
        before = find_last_audit(connection)
        record_audit(connection, 10, [])
        clean = find_last_audit(connection)
        record_audit(connection, 20, ["x" * 1_000, "y"])
        record_audit(connection, 15, [])

        assert LastAudit(20, 2, "x" * LONGEST_SENTENCE) == find_last_audit(connection)
    assert (None, LastAudit(10, 0, "")) == (before, clean)
