"""The windows of spending limits, and the counters that are kept for them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.database import Database
from storage.identifiers import microseconds
from storage.key_spending import WINDOWS, begin_counting, find_allowance, period_of, window_end, window_start
from storage.keys import KeyTerms, create_key
from storage.postings import Purpose, place_hold, post_settlement, release_hold

NOON = microseconds(datetime(2026, 11, 27, 12, tzinfo=UTC))  # a Friday
INSTANTS = st.integers(0, microseconds(datetime(2500, 1, 1, tzinfo=UTC)))


@pytest.mark.parametrize(
    ("window", "period", "start", "end"),
    [
        ("daily", "daily:2026-11-27", "2026-11-27", "2026-11-28"),
        ("weekly", "weekly:2026-11-23", "2026-11-23", "2026-11-30"),
        ("monthly", "monthly:2026-11-01", "2026-11-01", "2026-12-01"),
        ("none", "none", "1970-01-01", None),
    ],
)
def test_windows(window: str, period: str, start: str, end: str | None) -> None:
    """Days, weeks from Monday on, months, or for ever; in UTC."""
    assert period == period_of(window, NOON)
    assert microseconds(datetime.fromisoformat(start).replace(tzinfo=UTC)) == window_start(window, NOON)
    assert (None if end is None else microseconds(datetime.fromisoformat(end).replace(tzinfo=UTC))) == window_end(
        window, NOON
    )


@given(INSTANTS, st.sampled_from(WINDOWS[:-1]))
def test_every_instant_lies_in_one_window(instant: int, window: str) -> None:
    """It begins at or before it and ends after it, and the next begins where it ends."""
    start, end = window_start(window, instant), window_end(window, instant)

    assert end is not None
    assert start <= instant < end
    assert end == window_start(window, end)
    assert {period_of(window, start)} == {period_of(window, instant), period_of(window, end - 1)}
    assert period_of(window, instant) != period_of(window, end)


def purpose(key_id: str, started: int = NOON) -> Purpose:
    return Purpose(key_id, "/v1/chat/completions", "deepseek-chat", "credits", streamed=False, started=started)


async def test_a_limit_that_is_new_counts_what_was_before(
    database: Database, new_account: Callable[..., str], make_settlement: Callable[..., object]
) -> None:
    """Settled and in flight, of this key and this window; holds it adopts are counted off when they end."""
    account = new_account(1000)
    with database.session() as connection:
        key, _ = create_key(connection, account, "x", "sk-ft_", terms=KeyTerms(spend_limit=500, spend_window="daily"))
        other, _ = create_key(connection, account, "y", "sk-ft_")
        for number, (key_id, created) in enumerate([(key.key_id, NOON), (key.key_id, 1), (other.key_id, NOON)]):
            place_hold(connection, f"r{number}", account, (100,), None, "p", 0, created, purpose(key_id, created))
            settled = make_settlement(f"r{number}", account, 40, 2, key_id=key_id, created=created)
            post_settlement(connection, settled, NOON)  # type: ignore[arg-type]
        place_hold(connection, "flying", account, (70,), None, "p", 0, NOON, purpose(key.key_id))

    with database.session() as connection:
        begin_counting(connection, account, key.key_id, "daily", NOON)
        begun = find_allowance(connection, key.key_id, NOON)
        tomorrow = find_allowance(connection, key.key_id, NOON + 86_400_000_000)
        begin_counting(connection, account, key.key_id, "daily", NOON, (NOON + 1, 7))
        known = find_allowance(connection, key.key_id, NOON)
        release_hold(connection, "flying", account)
        ended = find_allowance(connection, key.key_id, NOON)
        free = find_allowance(connection, other.key_id, NOON)

    assert begun is not None
    assert tomorrow is not None
    assert known is not None
    assert ended is not None
    assert (42, 70, 388) == (begun.spent, begun.held, begun.remaining)
    assert (0, 0) == (tomorrow.spent, tomorrow.held)
    assert (7, 70) == (known.spent, known.held)
    assert (7, 0) == (ended.spent, ended.held)
    assert free is None


async def test_a_hold_of_another_window_stays_there(database: Database, new_account: Callable[..., str]) -> None:
    """A limit that becomes weekly takes over the holds of the week, and those that end later are counted off once."""
    account = new_account(1000)
    with database.session() as connection:
        key, _ = create_key(connection, account, "x", "sk-ft_", terms=KeyTerms(spend_limit=500, spend_window="daily"))
        for name, started in (("monday", NOON - 4 * 86_400_000_000), ("today", NOON), ("long ago", 5)):
            place_hold(connection, name, account, (10,), None, "p", 0, NOON, purpose(key.key_id, started))
        begin_counting(connection, account, key.key_id, "daily", NOON)
        begin_counting(connection, account, key.key_id, "weekly", NOON)
        rows = connection.execute("SELECT period, spent, held FROM key_spending ORDER BY period").fetchall()
        for name in ("monday", "today", "long ago"):
            release_hold(connection, name, account)
        after = connection.execute("SELECT period, spent, held FROM key_spending ORDER BY period").fetchall()

    assert [("daily:2026-11-27", 0, 0), ("weekly:2026-11-23", 0, 20)] == rows
    assert [("daily:2026-11-27", 0, 0), ("weekly:2026-11-23", 0, 0)] == after
