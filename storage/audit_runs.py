"""The last audit: when the books were proved, and what came of it. One row, written by `find-token audit`, so that the pages for
operators can say how old the proof is."""

from __future__ import annotations

from typing import Final

from billing.values import value
from storage.connection import Connection

LONGEST_SENTENCE: Final = 500

_RECORD: Final = """INSERT INTO last_audit (id, finished, disagreements, sentence) VALUES (1, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET finished = excluded.finished, disagreements = excluded.disagreements,
    sentence = excluded.sentence WHERE last_audit.finished <= excluded.finished"""
_FIND: Final = "SELECT finished, disagreements, sentence FROM last_audit WHERE id = 1"


@value
class LastAudit:
    """When it was finished (microseconds), how many disagreements it found, and the first of them."""

    finished: int
    disagreements: int
    sentence: str


def record_audit(connection: Connection, finished: int, sentences: list[str]) -> None:
    """An audit has found these disagreements; one that was finished later stays."""
    first = sentences[0][:LONGEST_SENTENCE] if sentences else ""
    connection.execute(_RECORD, (finished, len(sentences), first))


def find_last_audit(connection: Connection) -> LastAudit | None:
    """The last one, or None if none was ever made."""
    row = connection.execute(_FIND).fetchone()
    return None if row is None else LastAudit(*row)
