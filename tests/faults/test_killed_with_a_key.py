"""A gateway is killed while it makes a call with an Idempotency-Key: who tries again pays once at most.

Real processes on one database. Nobody waits for the dead to be believed dead: its heartbeat is set back, and the sweep told.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from billing.money import UNITS_PER_USD
from storage.ledger import Ledger
from tests.faults.processes import DYING, PATIENT, started, write_files
from tests.journeys.books import Books
from tests.journeys.mix import simulated_providers

SECURITY = {"secret_key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}
FREE, LOST = "made again", "named and not made again"
POINTS = {
    "hold:before-submit": FREE,
    "hold:answered": FREE,
    "attempt:request-sent": FREE,
    "answer:whole": FREE,
    "settle:before-commit": FREE,
    "settle:after-commit": LOST,
    "answer:before-last-bytes": LOST,
    "answer:after-last-bytes": LOST,
}
"""Where the process dies, and what becomes of the key: free while nothing is charged, lost once something is."""
EXAM = os.environ.get("FIND_TOKEN_EXAM") == "1"
TRIED = list(POINTS) if EXAM else ["attempt:request-sent", "answer:after-last-bytes"]


async def ask(url: str, key: str, *, streamed: bool) -> tuple[int, dict[str, str], bytes]:
    """The call, with its key: status, headers and body; 0 where the connection ended without an answer."""
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "the one"}
    body = {"model": "deepseek-chat", "messages": [{"role": "user", "content": "Hello"}], "stream": streamed}
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response,
        ):
            return response.status, dict(response.headers), await response.read()
    except aiohttp.ClientError:
        return 0, {}, b""


async def bury(books: Books) -> None:
    """The dead are dead: as if half a minute had passed for them, and the sweep had come by."""
    with books.database.session() as connection:
        connection.execute("UPDATE process SET heartbeat = heartbeat - 60000000")
    await books.database.start()
    ledger = Ledger(books.database, owner="another process")
    await ledger.heartbeat()
    await ledger.sweep()
    await books.database.close()


@pytest.mark.parametrize("point", TRIED)
async def test_a_key_outlives_the_process_that_took_it(
    point: str, new_database: Callable[[], str], tmp_path: Path
) -> None:
    """The call is made again if it was free; if it was charged its id is named, and nobody calls or charges a second time."""
    streamed = list(POINTS).index(point) % 2 == 1
    url = new_database()
    books = Books(url)
    [(_, key)] = books.open_account(10 * UNITS_PER_USD)
    async with simulated_providers() as simulator:
        settings = write_files(tmp_path, url, simulator.url, security=SECURITY, routing=PATIENT)
        serve = ("serve", "--config", str(settings))
        operation = "streamed" if streamed else "plain"
        async with started(tmp_path, "die", point, operation, "1", *serve, program=DYING) as first:
            await ask(first.url, key, streamed=streamed)
            assert -signal.SIGKILL == await first.died()
        charged = [row.request_id for row in books.rows()]
        asked = len(simulator.state.journal.calls())
        await bury(books)
        async with started(tmp_path, *serve) as second:
            status, headers, body = await ask(second.url, key, streamed=streamed)
            again = await ask(second.url, key, streamed=streamed)
            assert 0 == await second.stop(), second.log.read_text()

        assert ([1] if POINTS[point] == LOST else []) == [1 for _ in charged]
        rows = [row for row in books.rows() if row.cost]
        assert 1 == len(rows)
        if POINTS[point] == LOST:
            assert (409, asked) == (status, len(simulator.state.journal.calls()))
            assert b"idempotency_answer_lost" in body
            assert charged[0].encode() in body
            assert (status, True) == (again[0], charged[0].encode() in again[2])
        else:
            assert (200, rows[0].request_id) == (status, headers["X-FindToken-Request-Id"])
            assert (200, body, "true") == (again[0], again[2], again[1]["X-FindToken-Replayed"])
            assert asked + 1 == len(simulator.state.journal.calls())
    books.prove()
