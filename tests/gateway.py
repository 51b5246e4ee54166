"""A whole gateway in this process for tests: on ports of the system's choice, with a database, an account, a key, a client.

`running_gateway` starts one over any catalogue; `book` is a small catalogue of two upstreams with round prices. The times of
routing are short, and limits are off, unless a test sets them. Nothing is replaced: the gateway is started as `serve` does.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDictProxy
from prometheus_client.parser import text_string_to_metric_families

from billing.money import UNITS_PER_USD, Money, parse_usd
from middlewares.observe import LogCall, utc_now
from providers.catalogue import Catalogue, build
from proxy.app import Gateway as Process
from proxy.settings import Settings
from storage.accounts import create_account
from storage.audit import audit
from storage.calls import CallRow, list_calls
from storage.database import Database, open_database
from storage.identifiers import now_microseconds
from storage.keys import create_key
from storage.ledger import Balance, find_balance, post_credit
from storage.migrating import migrate
from tests.fakes.raw_upstream import reset

# Keys of no known form: whatever keeps them from callers must know them, not guess them.
ALPHA_KEY = "canary/alpha/0123456789"
BETA_KEY = "canary/beta/0123456789"
CREDIT = 10 * UNITS_PER_USD
PATH = "/v1/chat/completions"

QUICK: Mapping[str, Mapping[str, Any]] = {
    "server": {
        "listen": "127.0.0.1:0",
        "admin_listen": "127.0.0.1:0",
        "shutdown_seconds": 2,
        "body_timeout_seconds": 10,
        "overload_lag_seconds": 10,
    },
    "security": {"secret_key": base64.b64encode(bytes(range(32))).decode()},
    "limits": {"requests_per_minute": 0},
    "routing": {
        "backoff_seconds": [0.02, 0.04, 0.08],
        "timeout_seconds": 10,
        "first_content_timeout_seconds": 10,
        "silence_timeout_seconds": 10,
        "candidate_first_content_seconds": 5,
        "candidate_plain_seconds": 5,
        "disconnect_drain_seconds": 5,
        "probe_seconds": 0,
        "wallet_seconds": 0,
    },
}
"""The settings of a test, section by section; what a test gives is laid over them."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came over the wire."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object of a refusal."""
        assert "application/json" == self.headers["Content-Type"].partition(";")[0]
        error: dict[str, Any] = self.json["error"]
        return error

    @property
    def code(self) -> tuple[int, str]:
        """Status and error code."""
        return self.status, self.error["code"]

    @property
    def events(self) -> list[str]:
        """The data of each event of a stream, `[DONE]` included, comments and the ids of resumable streams left out."""
        blocks = self.body.decode().replace("\r\n", "\n").split("\n\n")
        events = [block.removeprefix("data: ") for block in blocks if block.strip() and not block.startswith(":")]
        return [
            "\n".join(line for line in event.split("\n") if line[:4] != "id: " and line[:1] != ":") for event in events
        ]

    @property
    def comments(self) -> list[str]:
        """The comments of a stream."""
        return [line[1:].strip() for line in self.body.decode().split("\n") if line.startswith(":")]

    @property
    def chunks(self) -> list[Any]:
        """The JSON of each event but `[DONE]`."""
        return [json.loads(event) for event in self.events if event != "[DONE]"]

    @property
    def text(self) -> str:
        """What was said, plain or streamed."""
        if "event-stream" not in self.headers["Content-Type"]:
            return str(self.json["choices"][0]["message"]["content"])
        deltas = [choice["delta"] for chunk in self.chunks for choice in chunk["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas)

    def header(self, name: str) -> str | None:
        """One of our own headers, named without its prefix."""
        return self.headers.get(f"X-FindToken-{name}")

    def money(self, name: str) -> Money:
        """The amount in one of our own headers."""
        return parse_usd(self.headers[f"X-FindToken-{name}"])

    @property
    def bill(self) -> dict[str, str]:
        """What the comment before `[DONE]` says."""
        said = [comment for comment in self.comments if comment.startswith("findtoken ")]
        assert 1 == len(said), self.body
        return dict(part.split("=") for part in said[0].split()[1:])


class Caller:
    """A caller with a socket of its own, who can leave in the middle."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def read_until(self, text: bytes) -> bytes:
        """Everything up to and including ``text``."""
        async with asyncio.timeout(10):
            return await self.reader.readuntil(text)

    async def read_all(self) -> bytes:
        """Everything until the gateway closes the connection."""
        async with asyncio.timeout(10):
            return await self.reader.read()

    def hang_up(self, *, by_reset: bool) -> None:
        """Leave, politely or with a reset."""
        if self.writer.is_closing():
            return
        if by_reset:
            reset(self.writer)
        else:
            self.writer.close()


class BookLock:
    """Another process's write lock on a SQLite file: while it is taken, nothing can be held or settled."""

    def __init__(self, database_url: str) -> None:
        self._path = database_url.removeprefix("sqlite:///")
        self._connection: sqlite3.Connection | None = None

    def take(self) -> None:
        """Lock the books; nothing if they are locked."""
        if self._connection is None:
            self._connection = sqlite3.connect(self._path, isolation_level=None)
            self._connection.execute("BEGIN IMMEDIATE")

    def take_after_next_commit(self, database: Database) -> None:
        """Lock the books as soon as the next hold or settlement is durable, before whoever waits for it goes on."""
        told = database.on_commit

        def lock(seconds: float, jobs: int) -> None:
            database.on_commit = told
            self.take()
            if told is not None:
                told(seconds, jobs)

        database.on_commit = lock

    def release(self) -> None:
        """Give the lock back; nothing if it is not taken."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Gateway:
    """A gateway that runs, and everything a test wants to know of it."""

    def __init__(self, process: Process, database: Database, database_url: str, session: aiohttp.ClientSession) -> None:
        self.process = process
        self.database = database
        self.database_url = database_url
        self.session = session
        self.account_id, self.key = "", ""
        self._callers: list[Caller] = []

    @property
    def url(self) -> str:
        """The root of the public API."""
        return self.process.url

    def new_account(self, name: str = "person", *, credit: Money = CREDIT) -> tuple[str, str]:
        """Open an account with some credit; its id and a key."""
        with self.database.session() as connection:
            account = create_account(connection, f"{name}@example.com")
            if credit:
                post_credit(
                    connection, f"gift:{account.id}", account.id, credit, "promotion", "test", now_microseconds()
                )
            _, key = create_key(connection, account.id, "test", "sk-ft_")
        return account.id, key

    async def chat(
        self, text: str = "Hello", *, headers: Mapping[str, str] | None = None, path: str = PATH, **fields: Any
    ) -> Reply:
        """A call of the model `standard` unless ``fields`` of the body say otherwise."""
        return await self.send(json.dumps(chat_body(text, **fields)).encode(), headers=headers, path=path)

    async def send(
        self, body: bytes, *, headers: Mapping[str, str] | None = None, path: str = PATH, method: str = "POST"
    ) -> Reply:
        """Bytes of the test's own as the body; the account's key unless ``headers`` has another authorization."""
        sent = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json", **(headers or {})}
        sent = {name: value for name, value in sent.items() if value}
        async with self.session.request(method, self.url + path, data=body, headers=sent) as response:
            return Reply(response.status, response.headers, await response.read())

    async def get(self, path: str, *, admin: bool = False) -> Reply:
        """A page of the public or the admin port, without a key."""
        async with self.session.get((self.process.admin_url if admin else self.url) + path) as response:
            return Reply(response.status, response.headers, await response.read())

    async def dial(self, text: str = "Hello", **fields: Any) -> Caller:
        """A call on a socket of its own, its answer unread."""
        return await self.dial_raw(http_request(json.dumps(chat_body(text, **fields)).encode(), self.key))

    async def dial_raw(self, data: bytes) -> Caller:
        """Bytes on a socket of its own."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=2**26)
        caller = Caller(reader, writer)
        self._callers.append(caller)
        writer.write(data)
        await writer.drain()
        return caller

    def close_callers(self) -> None:
        """End every socket that a test dialled."""
        for caller in self._callers:
            caller.hang_up(by_reset=True)

    def balance(self, account_id: str = "") -> Balance:
        """What is in the books."""
        with self.database.session(snapshot=True) as connection:
            return find_balance(connection, account_id or self.account_id)

    def rows(self, account_id: str = "") -> list[CallRow]:
        """The billing log, oldest first."""
        with self.database.session(snapshot=True) as connection:
            return list_calls(connection, account_id or self.account_id, limit=1000)[0][::-1]

    def row(self) -> CallRow:
        """The only line of the billing log."""
        rows = self.rows()
        assert 1 == len(rows), rows
        return rows[0]

    async def settled(self, count: int, account_id: str = "") -> list[CallRow]:
        """Wait until the billing log has so many lines and nothing is held any more."""
        async with asyncio.timeout(10):
            while len(rows := self.rows(account_id)) < count or self.balance(account_id).held:
                await asyncio.sleep(0.01)
        assert count == len(rows), rows
        return rows

    def prove(self, account_id: str = "", *, credit: Money = CREDIT) -> None:
        """The books agree with themselves, and the balance is what was given less what the log says was taken."""
        with self.database.session(snapshot=True) as connection:
            assert [] == audit(connection)
        balance = self.balance(account_id)
        assert (credit - sum(row.cost for row in self.rows(account_id)), 0) == (balance.balance, balance.held)

    async def settled_balance(self, calls: int) -> None:
        """Wait until so many calls stand in the billing log, however many that are, and nothing is held."""
        async with asyncio.timeout(30):
            while self.logged()[0] < calls or self.balance().held:
                await asyncio.sleep(0.02)

    def logged(self) -> tuple[int, Money]:
        """How many calls the billing log has in all, and what they cost together."""
        with self.database.session(snapshot=True) as connection:
            count, cost = connection.execute("SELECT COUNT(*), COALESCE(SUM(cost), 0) FROM call").fetchone()
        return int(count), int(cost)

    def prove_balance(self, calls: int, *, credit: Money = CREDIT) -> None:
        """So many calls stand in the billing log, the books agree, and the balance is what was given less what they cost."""
        count, cost = self.logged()
        with self.database.session(snapshot=True) as connection:
            assert [] == audit(connection)
        balance = self.balance()
        assert (calls, credit - cost, 0) == (count, balance.balance, balance.held)

    async def metrics(self) -> list[tuple[str, dict[str, str], float]]:
        """Every sample of the metrics page: name, labels, value."""
        page = (await self.get("/metrics", admin=True)).body.decode()
        families = text_string_to_metric_families(page)
        return [(sample.name, dict(sample.labels), sample.value) for family in families for sample in family.samples]

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of one name that have these labels; the prefix is ours."""
        return sum(
            value
            for found, having, value in await self.metrics()
            if found == f"findtoken_{name}" and labels.items() <= having.items()
        )


@asynccontextmanager
async def running_gateway(
    catalogue: Catalogue,
    database_url: str,
    *,
    credit: Money = CREDIT,
    stall_seconds: float = 5.0,
    clock: Callable[[], datetime] = utc_now,
    log: LogCall | None = None,
    name: str = "ada",
    **sections: Mapping[str, Any],
) -> AsyncIterator[Gateway]:
    """Start a gateway with one account and a key; ``sections`` of settings are laid over QUICK.

    ``stall_seconds``: how long the database may be locked before work is refused.
    ``clock``: when calls come in. ``log``: takes the facts of each call.
    """
    place_empty_books(database_url)
    database = open_database(database_url, stall_seconds=stall_seconds)
    migrate(database)
    process = Process(quick_settings(database_url, **sections), catalogue, database, clock=clock, log=log)
    # A connection per call: a stream that broke ends its connection, and the next call must not meet it.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30)) as session:
        gateway = Gateway(process, database, database_url, session)
        gateway.account_id, gateway.key = gateway.new_account(name, credit=credit)
        try:
            await process.start()
            yield gateway
        finally:
            gateway.close_callers()
            await session.close()
            await process.close()


def place_empty_books(database_url: str) -> None:
    """Begin a SQLite file with the schema in place, unless it is there; nothing for PostgreSQL."""
    path = Path(database_url.removeprefix("sqlite:///"))
    if database_url.startswith("sqlite:") and not path.exists():
        path.write_bytes(empty_books())


@functools.cache
def empty_books() -> bytes:
    """A SQLite file with the schema and nothing else: copying one is much quicker than making one for each test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        migrate(open_database(f"sqlite:///{path}"))
        return path.read_bytes()


@asynccontextmanager
async def serving(application: web.Application) -> AsyncIterator[str]:
    """Serve an application of the test's own as the gateway serves its own; its URL."""
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def quick_settings(database_url: str, **sections: Mapping[str, Any]) -> Settings:
    """QUICK with ``sections`` laid over it."""
    names = QUICK.keys() | sections.keys()
    merged: dict[str, Any] = {
        name: {**QUICK.get(name, {}), **sections.get(name, {})} for name in names - {"middlewares"}
    }
    if "middlewares" in sections:
        merged["middlewares"] = sections["middlewares"]
    merged["storage"] = {"database": database_url, **sections.get("storage", {})}
    return Settings.model_validate(merged)


def chat_body(text: str = "Hello", **fields: Any) -> dict[str, Any]:
    """The body of a call."""
    return {"model": "standard", "messages": [{"role": "user", "content": text}], **fields}


def http_request(body: bytes, key: str, *, head: str = "", path: str = PATH) -> bytes:
    """A request as bytes; ``head`` is further header lines, each with its line end."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        f"{head}Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def price(input: str, output: str, cached_input: str | None = None) -> list[dict[str, Any]]:
    """One price row, in force since 2026; USD per million tokens."""
    row = {"from": "2026-01-01T00:00:00Z", "input": Decimal(input), "output": Decimal(output)}
    return [row if cached_input is None else {**row, "cached_input": Decimal(cached_input)}]


def model(provider: str, prices: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """One model of a catalogue; without equivalents unless given."""
    plain = {"context": 131_072, "max_output": 8_192, "capabilities": ["tools", "n", "json_object"]}
    return {"provider": provider, "prices": prices, **plain, **fields}


def book(alpha_url: str, beta_url: str, **providers: Mapping[str, Any]) -> Catalogue:
    """Two upstreams: alpha serves `standard`, `lonely` and `dear`, beta serves `alternative`, which may stand in for
    `standard`. ``providers`` changes fields of a provider: ``alpha={"bills_cancelled": True}``."""
    plain: dict[str, dict[str, Any]] = {
        "alpha": {"dialect": "openai", "base_url": alpha_url, "keys": [ALPHA_KEY]},
        "beta": {"dialect": "openai", "base_url": beta_url, "keys": [BETA_KEY]},
    }
    cheap = price("0.14", "0.28", "0.014")
    return build(
        {
            "providers": {name: {**row, **providers.get(name, {})} for name, row in plain.items()},
            "models": {
                "standard": model(
                    "alpha",
                    cheap,
                    upstream_model="standard-upstream",
                    equivalents=["alternative"],
                    aliases=["vendor/standard"],
                ),
                "alternative": model("beta", price("1", "2"), upstream_model="alternative-upstream"),
                "lonely": model("alpha", cheap, upstream_model="lonely-upstream"),
                "dear": model("alpha", price("10", "30"), upstream_model="dear-upstream", max_output=100_000),
            },
        }
    )
