"""One seed, one story: processes, callers, providers, payments, faults and deaths on virtual time, and the verdict at the end."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from aiohttp import web, web_app

from proxy.app import Gateway
from proxy.front import Front, FrontRunner
from proxy.shortcut import take_shortcut
from storage.accounts import create_account, set_status
from storage.audit import audit
from storage.connection import StorageUnavailable
from storage.database import open_database
from storage.identifiers import now_microseconds
from storage.keys import create_key
from storage.postings import post_credit
from tests.gateway import ALPHA_KEY, PATH, book, empty_books, http_request, quick_settings
from tests.simulation.books import Faults, open_books
from tests.simulation.callers import Caller, Wire
from tests.simulation.clock import Process, VirtualLoop, simulated
from tests.simulation.judgement import judge
from tests.simulation.upstreams import Upstreams
from tests.simulation.witness import Witness

BUSY_SECONDS = 25.0
"""Callers come in this time; afterwards nothing fails any more, and within a minute and a half all must be settled."""
REST_SECONDS = 95.0
ROUTING = {
    "backoff_seconds": [0.5, 1, 2],
    "timeout_seconds": 8,
    "first_content_timeout_seconds": 8,
    "silence_timeout_seconds": 4,
    "candidate_first_content_seconds": 3,
    "candidate_plain_seconds": 3,
    "disconnect_drain_seconds": 4,
}
CREDITS = (0, 8_000, 30_000, 200_000, 10**7, 10**9, 10**9)


class Node(Gateway):
    """A gateway as `serve` runs it, on wires in memory."""

    process: Process
    faults: Faults
    server: Any

    async def _listen(
        self, application: web.Application, address: str, *, share_port: bool = False, front: Front | None = None
    ) -> str:
        """No port is opened: callers reach `server` by bytes."""
        if not hasattr(self, "server"):
            assert front is not None, "the public port comes first"
            runner = FrontRunner(application, front, access_log=None, handler_cancellation=True, auto_decompress=False)
            await runner.setup()
            take_shortcut(runner)
            self.server = runner.server
        return address


class World:
    """Everything of one seed."""

    def __init__(self, seed: int, folder: Path, loop: VirtualLoop) -> None:
        self.dice = random.Random(seed)
        self.loop = loop
        self.bad_day = self.dice.random() < 0.2
        """One process, one model, and its provider is away: its circuit opens, and calls hold without ever trying."""
        self.path = folder / "books.db"
        self.path.write_bytes(empty_books())
        self.url = f"sqlite:///{self.path}"
        self.trace: list[str] = []
        self.witness = Witness(self.path)
        self.upstreams = Upstreams(random.Random(seed + 1), loop.time, self.tell)
        self.nodes: list[Node] = []
        self.callers: list[Caller] = []
        self.payments: dict[str, tuple[str, int]] = {}
        self.paid: set[str] = set()
        self.accounts: list[str] = []
        self.tasks: list[asyncio.Task[Any]] = []
        """Kept, because nobody else holds on to what a dead process was doing."""
        if self.bad_day:
            self.upstreams.away = frozenset({"lonely"})
        drains = {"bills_cancelled": self.dice.random() < 0.5}
        self.catalogue = book("http://alpha", "http://beta", alpha=drains)
        free = self.dice.choice((0, 1, 3))
        self.free_limit = free
        self.settings = quick_settings(self.url, routing=ROUTING, billing={"byok_free_requests_per_month": free})

    def tell(self, what: str) -> None:
        """A line of the trace."""
        self.trace.append(f"{self.loop.time():.6f} {what}")

    @property
    def violations(self) -> list[str]:
        """What was found wrong."""
        return self.witness.violations

    def open_accounts(self) -> None:
        """Accounts with little or much on them, and a key for every call to come."""
        dice = self.dice
        with open_database(self.url).session() as connection:
            for number in range(dice.randint(1, 3)):
                account = create_account(connection, f"person{number}@example.com").id
                self.accounts.append(account)
                credit = dice.choice(CREDITS)
                if credit:
                    self.payments[f"gift:{account}"] = (account, credit)
                    self.paid.add(f"gift:{account}")
                    post_credit(connection, f"gift:{account}", account, credit, "promotion", "", now_microseconds())
            for number in range(dice.randint(6, 12)):
                account = dice.choice(self.accounts)
                record, key = create_key(connection, account, "call", "sk-ft_")
                self.callers.append(Caller(number, account, self._body(number), key, record.key_id))

    def _body(self, number: int) -> dict[str, Any]:
        dice = self.dice
        body: dict[str, Any] = {
            "model": "lonely"
            if self.bad_day
            else dice.choice(("standard", "standard", "lonely", "alternative", "dear")),
            "messages": [{"role": "user", "content": f"call {number} {'x' * dice.randint(0, 60)}"}],
            "stream": dice.random() < 0.65,
        }
        if dice.random() < 0.8:
            body["max_tokens"] = dice.randint(2, 80)
        if body["stream"] and dice.random() < 0.5:
            body["stream_options"] = {"include_usage": True}
        if body["model"] in ("standard", "lonely") and dice.random() < 0.35:
            body["provider_key"] = {"provider": "alpha", "api_key": ALPHA_KEY}
        return body

    def start_node(self, name: str) -> Node:
        """Make a process; `begin` of it runs in its own context."""
        process = Process(name)
        faults = Faults(random.Random(self.dice.random()), process, self.loop)

        def die() -> None:
            self.kill(node)

        def committed(lost: bool) -> None:
            self.tell(f"{name} commits {self.witness.check(lost)}")

        node = Node(self.settings, self.catalogue, open_books(self.path, faults, die, committed))
        node.process, node.faults = process, faults
        node._transport = self.upstreams  # type: ignore[assignment]
        node._health._clock = self.loop.time
        self.witness.owners[node._ledger._owner] = process
        self.nodes.append(node)
        return node

    def kill(self, node: Node) -> None:
        """The process is gone: its connections end, nothing of it runs any more."""
        if not node.process.dead:
            node.process.dead_at = self.loop.time()
            self.tell(f"{node.process.name} dies")
            for worker in (node._database._writer, node._database._reader):
                worker._disconnect()

    def in_process(self, node: Node, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task that dies with its process."""
        task = self.loop.create_task(work, context=node.process.context.copy())  # type: ignore[call-arg]
        self.tasks.append(task)
        return task

    async def run(self) -> None:
        """The story."""
        dice = self.dice
        self.open_accounts()
        self.witness.check(False)
        for number in range(1 if self.bad_day else dice.randint(1, 3)):
            node = self.start_node(f"node{number}")
            await self.in_process(node, node.start())
        for node in self.nodes:
            self._plan_faults(node)
        for caller in self.callers:
            self.loop.call_later(dice.choice((0.0, 0.0, 0.5, dice.uniform(0, BUSY_SECONDS))), self._dial, caller)
        for number in range(dice.randint(0, 3)):
            account, amount = dice.choice(self.accounts), dice.randint(1, 300_000)
            self.payments[f"pi_{number}"] = (account, amount)
            for _ in range(dice.randint(1, 4)):
                self.loop.call_later(dice.uniform(0, BUSY_SECONDS), self._deliver, f"pi_{number}")
        if dice.random() < 0.2:
            self.loop.call_later(dice.uniform(0, BUSY_SECONDS), self._deactivate, dice.choice(self.accounts))
        await asyncio.sleep(BUSY_SECONDS)
        await self._calm_down()
        judge(self)

    def _plan_faults(self, node: Node) -> None:
        dice, faults = self.dice, node.faults
        faults.slow = dice.choice((0.0, 0.0, 0.03))
        faults.lost = dice.choice((0.0, 0.0, 0.1))
        faults.failing = dice.choice((0.0, 0.0, 0.1, 0.3))
        if dice.random() < 0.3:
            away = dice.uniform(0, BUSY_SECONDS - 13)
            self.loop.call_later(away, self._take_away, dice.choice((0.3, 3.0, 12.0)))
        fate = dice.random()
        if fate < 0.15:
            self.loop.call_later(dice.uniform(0, BUSY_SECONDS), self.kill, node)
        elif fate < 0.3:
            faults.die_at_statement = dice.randint(20, 120)
        elif fate < 0.45:
            faults.die_at_commit = (dice.randint(3, 30), dice.choice(("die", "die after")))

    def _take_away(self, seconds: float) -> None:
        for node in self.nodes:
            node.faults.away_until = self.loop.time() + seconds

    def _living(self) -> list[Node]:
        return [node for node in self.nodes if not node.process.dead]

    def _dial(self, caller: Caller) -> None:
        living = self._living()
        if not living:
            return
        node = self.dice.choice(living)
        caller.process = node.process
        caller.wire = wire = Wire(self.loop, node.process, lambda: self._told(caller))
        self.tell(f"call {caller.number} at {node.process.name}")
        request = http_request(json.dumps(caller.body).encode(), caller.key, path=PATH, head="Connection: close\r\n")

        def arrive() -> None:
            wire.protocol = node.server()
            wire.protocol.connection_made(wire)
            wire.protocol.data_received(request)

        self.loop.call_in(node.process, arrive)
        if self.dice.random() < 0.35:
            self.loop.call_later(self.dice.choice((0.001, 0.05, 0.5, 1.0, 1.5, 2.0, 5.0)), self._leave, caller)

    def _leave(self, caller: Caller) -> None:
        wire = caller.wire
        if wire is not None and not wire.is_closing() and caller.process is not None and not caller.process.dead:
            caller.left_at = self.loop.time()
            self.tell(f"call {caller.number} leaves")
            self.loop.call_in(caller.process, wire.hang_up)

    def _told(self, caller: Caller) -> None:
        """Something was told: a cost that is told stands in the books already."""
        assert caller.wire is not None
        self.tell(f"told {caller.number} {len(caller.wire.received)}")
        cost, row = caller.cost, self.witness.rows.get(caller.key_id)
        if cost and (row is None or row[2] != cost):
            self.violations.append(f"call {caller.number} is told {cost} before the books say so: {row}")

    def _deliver(self, payment: str) -> None:
        """A webhook: any process, again and again until one could write it."""
        living = self._living()
        if living:
            node = self.dice.choice(living)
            self.in_process(node, self._credit(node, payment))

    async def _credit(self, node: Node, payment: str) -> None:
        account, amount = self.payments[payment]
        try:
            await node._ledger.credit(payment, account, amount, source="stripe:clearing", reason="")
        except StorageUnavailable:
            self.loop.call_later(0.5, self._deliver, payment)
            return
        self.paid.add(payment)

    def _deactivate(self, account: str) -> None:
        with open_database(self.url).session() as connection:
            set_status(connection, account, "deactivated")
        self.witness.inactive.add(account)
        self.tell(f"{account} is deactivated")

    async def _calm_down(self) -> None:
        """Nothing fails any more, one process lives, and time passes."""
        self.upstreams.calm = True
        for node in self.nodes:
            node.faults.healthy()
        if not self._living():
            node = self.start_node("successor")
            await self.in_process(node, node.start())
        await asyncio.sleep(REST_SECONDS)

    def audit(self) -> list[Any]:
        """What storage/audit.py finds."""
        with open_database(self.url).session(snapshot=True) as connection:
            return list(audit(connection))


class SeedFailed(AssertionError):
    """A seed found something; says which, and how to see it again."""


class _Complaints(logging.Handler):
    """Whatever the gateway logs as an error is one."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        self._world.violations.append(f"logged: {record.getMessage()} {record.exc_info and record.exc_info[1]!r}")


def run_seed(seed: int) -> list[str]:
    """Play a seed; its trace. Raises SeedFailed with what was found and the end of the trace."""
    folder = Path(
        tempfile.mkdtemp(prefix="find-token-simulation-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    )
    loop = VirtualLoop()
    try:
        with simulated(loop, seed):
            world = World(seed, folder, loop)
            complaints = _Complaints(world)
            loop.set_exception_handler(lambda _loop, context: world.violations.append(f"loop: {context}"))
            logging.getLogger().addHandler(complaints)
            try:
                loop.run_until_complete(world.run())
            finally:
                logging.getLogger().removeHandler(complaints)
                found = list(world.violations)
                _bury(loop, world)
        if found:
            raise SeedFailed(_report(seed, found, world.trace))
        return world.trace
    finally:
        loop.close()
        # aiohttp remembers the last thousand handlers it put together, and with each a whole gateway.
        web_app._cached_build_middleware.cache_clear()
        shutil.rmtree(folder)


def _report(seed: int, found: list[str], trace: list[str]) -> str:
    lines = "\n".join(trace[-150:])
    return f"seed {seed}: {found[0]}\n(FIND_TOKEN_SIMULATION_SEED={seed} plays it again)\n{found[:5]}\n{lines}"


def _bury(loop: VirtualLoop, world: World) -> None:
    """End every task, those of the dead too, now that nothing is looked at any more."""
    loop.set_exception_handler(lambda _loop, _context: None)
    logging.disable(logging.CRITICAL)
    for node in world.nodes:
        node.process.dead_at = None
        for handle in node.process.frozen:
            loop._ready.append(handle)  # type: ignore[attr-defined]
        node.faults.away_until = float("inf")
        node._database._writer._open = node._database._reader._open = False
    for _ in range(50):
        tasks = asyncio.all_tasks(loop)
        if not tasks:
            break
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks, timeout=1))
    for node in world.nodes:
        for worker in (node._database._writer, node._database._reader):
            worker._disconnect()
    world.witness.connection.close()
    logging.disable(logging.NOTSET)
