"""What is set aside is told as it stands: in figures, and by call."""

from __future__ import annotations

from collections.abc import Callable

from storage.database import Database
from storage.open_holds import HoldSums, OpenHold, list_holds, sum_holds
from storage.postings import Purpose, place_hold

AccountMaker = Callable[[Database], Callable[..., str]]


async def test_holds(sqlite_database: Database, account_maker_for: AccountMaker) -> None:
    """Of all accounts together, and of one by line, oldest first; none for an account without a call."""
    make = account_maker_for(sqlite_database)
    first, second, third = make(100), make(100), make()
    purpose = Purpose("key_1", "/v1/chat/completions", "standard", "credits", streamed=False, started=0)
    with sqlite_database.session() as connection:
        empty = sum_holds(connection, 10)
        place_hold(connection, "req_2", first, [30], None, "p", 60, 20, purpose)
        place_hold(connection, "req_1", first, [20], None, "p", 50, 10, purpose)
        place_hold(connection, "req_3", second, [5], None, "p", 90, 40, purpose)

        assert HoldSums(3, 55, 10, 1) == sum_holds(connection, 55)
        assert [
            OpenHold("req_1", 20, 10, 50, "standard"),
            OpenHold("req_2", 30, 20, 60, "standard"),
        ] == list_holds(connection, first, 10)
        assert 1 == len(list_holds(connection, first, 1))
        assert [] == list_holds(connection, third, 10)

    assert HoldSums(0, 0, None, 0) == empty
