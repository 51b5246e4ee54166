"""Usage is summed exactly, and a day that is final is read once."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from storage.calls import insert_calls
from storage.database import Database
from storage.usage import DAY_MICROSECONDS, UsageSums, open_since

TODAY = 20_000
NOW = TODAY * DAY_MICROSECONDS + 5


async def test_sums_are_those_of_the_rows(
    database: Database, new_account: Callable[..., str], make_settlement: Callable[..., Any]
) -> None:
    """Whatever the range, however often it is asked, and with calls that end late."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    account, other = new_account(), new_account()
    pattern = make_settlement("r", account).row
    rows = [
        replace(
            pattern,
            request_id=f"r{number}",
            account_id=chance.choice([account, other]),
            created=NOW - chance.randrange(20 * DAY_MICROSECONDS),
            key_id=chance.choice(["key_1", "key_2"]),
            model=chance.choice(["a", "b", None]),
            mode=chance.choice(["standard", "byok"]),
            prompt_tokens=chance.randrange(100),
            provider_cost=chance.randrange(100),
            cost=chance.randrange(10**12),
        )
        for number in range(300)
    ]
    late = [row for row in rows if row.created >= open_since(NOW) * DAY_MICROSECONDS][::2]
    with database.session() as connection:
        insert_calls(connection, [(row, (), 0) for row in rows if row not in late])
    sums = UsageSums(database)
    await sums.find(account, TODAY - 25, TODAY + 1, NOW)
    with database.session() as connection:
        insert_calls(connection, [(row, (), 0) for row in late])

    for _ in range(20):
        first = TODAY - chance.randrange(25)
        end = first + chance.randrange(1, 27)
        used = await sums.find(account, first, end, NOW)
        chosen = [
            row
            for row in rows
            if row.account_id == account and first * DAY_MICROSECONDS <= row.created < end * DAY_MICROSECONDS
        ]
        assert (len(chosen), sum(row.cost for row in chosen)) == (
            sum(one.calls for one in used),
            sum(one.cost for one in used),
        )
        for one in used:
            alike = [
                row
                for row in chosen
                if (row.created // DAY_MICROSECONDS, row.model, row.key_id, row.mode)
                == (one.day, one.model, one.key_id, one.mode)
            ]
            assert (sum(row.prompt_tokens for row in alike), sum(row.provider_cost for row in alike)) == (
                one.prompt_tokens,
                one.provider_cost,
            )


async def test_a_final_day_is_read_once(
    sqlite_database: Database, account_maker_for: Callable[[Database], Callable[..., str]], monkeypatch: Any
) -> None:
    """A year is read week by week the first time; afterwards only the days that are still open."""
    account = account_maker_for(sqlite_database)()
    sums = UsageSums(sqlite_database)
    reads: list[tuple[int, int]] = []
    read = sqlite_database.read

    async def count(query: Any, *arguments: Any) -> Any:
        reads.append((arguments[1], arguments[2]))
        return await read(query, *arguments)

    monkeypatch.setattr(sqlite_database, "read", count)

    await sums.find(account, TODAY - 364, TODAY + 1, NOW)
    first, reads = reads, []
    await sums.find(account, TODAY - 364, TODAY + 1, NOW)
    again, reads = reads, []
    await sums.find(account, TODAY - 366, TODAY - 360, NOW)

    assert 53 == len(first)
    assert 7 >= max(end - start for start, end in first)
    assert [(open_since(NOW), TODAY + 1)] == again
    assert [(TODAY - 366, TODAY - 364)] == reads
