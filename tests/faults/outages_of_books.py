"""Calls at a steady pace to a gateway whose books go away and come back, and what must be true of all of them afterwards."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from billing.money import Money, parse_usd
from storage.audit import audit
from storage.calls import LARGEST_PAGE, CallRow, list_calls
from storage.connection import Connection
from storage.database import open_database
from tests.faults.pace import EXAM
from tests.faults.serving import CREDIT, MODEL, Serving

PER_SECOND = 20
BEFORE_SECONDS = 0.5
AFTER_SECONDS = 7.0 if EXAM else 1.5
WAIT_SECONDS = 120
"""How long a caller waits for the next thing to come; nobody may have to wait so long."""


@dataclass(frozen=True, slots=True)
class Told:
    """A call: when it began and ended on the loop's clock, and what its caller was told."""

    began: float
    ended: float
    status: int
    request_id: str
    cost: Money | None
    """Of the header or, for a stream, of the comment at its end; None where neither came."""
    code: str
    """Of the error; empty for a good answer."""
    whole: bool
    """Whether all the content of a good answer came."""

    @property
    def seconds(self) -> float:
        """How long its caller waited."""
        return self.ended - self.began


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who calls a gateway, looks at its health, and proves its books."""

    serving: Serving
    session: aiohttp.ClientSession
    database_url: str

    async def call(self, text: str = "Hello pieces=2", **fields: Any) -> Told:
        """One call of one provider alone, a short answer unless `text` says otherwise."""
        loop = asyncio.get_running_loop()
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": text}],
            "provider": {"allow_fallbacks": False},
            "max_tokens": 500,
        }
        began = loop.time()
        async with self.session.post(
            f"{self.serving.running.url}/v1/chat/completions",
            json=body | fields,
            headers={"Authorization": f"Bearer {self.serving.key}"},
            timeout=aiohttp.ClientTimeout(total=None, sock_read=WAIT_SECONDS),
        ) as reply:
            said = await reply.text()
            cost = reply.headers.get("X-FindToken-Cost")
            if cost is None and (found := re.search(r"^: findtoken cost=(\S+)", said, re.MULTILINE)):
                cost = found[1]
            good = reply.status == 200
            return Told(
                began=began,
                ended=loop.time(),
                status=reply.status,
                request_id=reply.headers["X-FindToken-Request-Id"],
                cost=None if cost is None else parse_usd(cost),
                code="" if good else json.loads(said)["error"]["code"],
                whole=good and re.search(r'"finish_reason": ?"stop"', said) is not None,
            )

    async def ready(self) -> tuple[int, float]:
        """What readiness says, and how long it took to say it."""
        return await self._asked("/readyz")

    async def until_ready_is(self, status: int) -> None:
        """Wait until readiness says so: within a heartbeat, and the moment that it may be late."""
        async with asyncio.timeout(10):
            while status != (await self.ready())[0]:
                await asyncio.sleep(0.1)

    async def alive(self) -> tuple[int, float]:
        """The same of the process itself."""
        return await self._asked("/healthz")

    async def _asked(self, path: str) -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with self.session.get(self.serving.running.told["admin_url"] + path) as reply:
            return reply.status, loop.time() - began

    async def through(self, outage: Callable[[], Awaitable[None]], *others: Awaitable[Told]) -> Through:
        """Calls before, during and after an outage, with those of `others` beside them; all are waited for."""
        loop = asyncio.get_running_loop()
        made = [asyncio.ensure_future(other) for other in others]
        over: list[float] = []

        async def keep_calling() -> None:
            start = loop.time()
            while not over or loop.time() < over[0] + AFTER_SECONDS:
                made.append(asyncio.ensure_future(self.call()))
                await asyncio.sleep(max(0.0, start + len(made) / PER_SECOND - loop.time()))

        calling = asyncio.create_task(keep_calling())
        await asyncio.sleep(BEFORE_SECONDS)
        began = loop.time()
        await outage()
        over.append(loop.time())
        await calling
        return Through(began, over[0], await asyncio.gather(*made))

    def rows(self) -> dict[str, CallRow]:
        """The billing log by request id."""
        return self._read(_rows)

    async def prove(self, told: Sequence[Told]) -> None:
        """Nothing is held, nothing is charged that was not told, nothing delivered is free, and the sums agree."""
        async with asyncio.timeout(30):
            while self._read(lambda connection: connection.execute("SELECT request_id FROM hold LIMIT 1").fetchone()):
                await asyncio.sleep(0.1)
        rows = self.rows()
        for one in told:
            row = rows.get(one.request_id)
            if one.status != 200:
                assert row is None or 0 == row.cost, (one, row)
            elif one.whole:
                assert row is not None, one
                assert 0 < row.cost == (row.cost if one.cost is None else one.cost), (one, row)
        spent = sum(row.cost for row in rows.values())
        assert [] == self._read(audit)
        balance = self._read(lambda connection: connection.execute("SELECT balance, held FROM account").fetchone())
        assert (CREDIT - spent, 0) == balance

    def _read(self, look: Callable[[Connection], Any]) -> Any:
        with open_database(self.database_url).session(snapshot=True) as connection:
            return look(connection)


@dataclass(frozen=True, slots=True)
class Through:
    """An outage and the calls around it."""

    began: float
    over: float
    told: Sequence[Told]

    def after(self, seconds: float = 0.0) -> list[Told]:
        """The calls that began so long after it was over."""
        return [one for one in self.told if one.began >= self.over + seconds]

    def statuses(self) -> set[tuple[int, str]]:
        """How callers were answered: status and code."""
        return {(one.status, one.code) for one in self.told}


def _rows(connection: Connection) -> dict[str, CallRow]:
    [(account_id,)] = connection.execute("SELECT id FROM account").fetchall()
    rows, cursor = [], None
    while True:
        page, cursor = list_calls(connection, account_id, limit=LARGEST_PAGE, cursor=cursor)
        rows += page
        if cursor is None:
            return {row.request_id: row for row in rows}
