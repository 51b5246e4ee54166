"""What runs until it is told to stop: the gateway, the simulator, the demo.

SIGTERM and SIGINT (Ctrl-C) end each of them in order: calls in flight finish, then everything is closed. A second signal
ends the calls of a gateway at once, which settles them; nobody else waits for anything then.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from metrics.logs import JsonHandler, LineWriter, line_of
from proxy.app import Gateway
from proxy.checks import parse_listen
from proxy.config import Loaded, service_manager_socket
from proxy.demo import Demo, start_demo
from proxy.listening import listen
from proxy.memory import collect_garbage_rarely, give_memory_back
from proxy.open_files import allow_connections
from proxy.reloading import Reloading
from proxy.service_manager import STOPPING, notify
from proxy.supervisor import Plan, Supervisor, worker_command
from simulator.server import DEMO_SETTINGS
from simulator.server import start as start_simulator
from storage.database import Database

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def run_gateway(
    loaded: Loaded,
    database: Database,
    ready: Callable[[str, str], None],
    path: Path | None = None,
    *,
    as_worker: tuple[str, str] | None = None,
) -> None:
    """Serve until told to stop. ``ready`` is called with the public and the admin address once both are open.

    SIGHUP, or the admin listener, takes the files anew: ``path`` is the settings file, as `load` took it.
    ``as_worker``: listen at this public address, which other processes share, and at this admin address.
    """
    settings = loaded.settings
    if as_worker is not None:
        public, admin = as_worker
        server = settings.server.model_copy(update={"listen": public, "admin_listen": admin})
        settings = settings.model_copy(update={"server": server})
    with _logging_to(sys.stderr.fileno(), settings.logs.level) as lines:
        allow_connections(settings.server.max_connections)
        log = partial(log_call, lines) if settings.logs.calls else None
        gateway = Gateway(settings, loaded.catalogue, database, log=log, share_port=as_worker is not None)
        lines.on_dropped = gateway.instruments.log_lines_dropped.inc
        gateway.reloading = reloading = Reloading(path, loaded, gateway.apply, gateway.instruments)
        with _reloading_on_signal(reloading):
            await _serve(gateway, ready, as_worker=as_worker is not None)


async def _serve(gateway: Gateway, ready: Callable[[str, str], None], *, as_worker: bool) -> None:
    at_once = asyncio.Event()
    told_to_stop = stop_signal(at_once)
    if as_worker:
        _stop_with_the_supervisor(told_to_stop)
    keeping = None
    try:
        await gateway.start()
        collect_garbage_rarely()
        keeping = asyncio.create_task(give_memory_back())
        ready(gateway.url, gateway.admin_url)
        await told_to_stop.wait()
        if not as_worker:
            notify(service_manager_socket(), STOPPING)
        await gateway.say_farewell()
    finally:
        if keeping is not None:
            keeping.cancel()
        await gateway.close(at_once)


def _stop_with_the_supervisor(told_to_stop: asyncio.Event) -> None:
    """A supervisor that is killed can tell its workers nothing; but it holds the other end of their standard input."""
    loop = asyncio.get_running_loop()

    def look() -> None:
        if not os.read(0, 1024):
            loop.remove_reader(0)
            told_to_stop.set()

    loop.add_reader(0, look)


@contextmanager
def _reloading_on_signal(reloading: Reloading) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(reloading.reload_quietly())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


@contextmanager
def _logging_to(descriptor: int, level: str) -> Iterator[LineWriter]:
    """What is logged meanwhile goes to a descriptor, as JSON lines."""
    lines, root = LineWriter(descriptor), logging.getLogger()
    handler, before = JsonHandler(lines), root.level
    root.addHandler(handler)
    root.setLevel(level.upper())
    try:
        yield lines
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        lines.close()


def log_call(lines: LineWriter, facts: dict[str, Any]) -> None:
    """One line for one call."""
    lines.write(line_of("info", "call", facts))


async def run_supervisor(
    loaded: Loaded, workers: int, options: Sequence[str], ready: Callable[[str, str], None]
) -> None:
    """Run so many gateways on one port until told to stop. ``options`` are the global ones of the command line."""
    settings = loaded.settings
    host, port = parse_listen(settings.server.listen)
    with (
        _logging_to(sys.stderr.fileno(), settings.logs.level),
        tempfile.TemporaryDirectory(prefix="find-token-") as folder,
    ):
        plan = Plan(workers, host, port, settings.server.shutdown_seconds, worker_command(options))
        supervisor = Supervisor(plan, Path(folder))
        told_to_stop = stop_signal()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, supervisor.reload_in_background)
        admin, admin_url = await listen(
            supervisor.application(), settings.server.admin_listen, keepalive_seconds=75, shutdown_seconds=1
        )
        try:
            await supervisor.start()
            ready(supervisor.url, admin_url)
            await told_to_stop.wait()
            notify(service_manager_socket(), STOPPING)
        finally:
            await supervisor.stop()
            await admin.cleanup()


async def run_simulator(ready: Callable[[str], None], host: str, port: int) -> None:
    """Serve the simulated providers until told to stop. ``ready`` is called with their address."""
    told_to_stop = stop_signal()
    simulator = await start_simulator(
        host,
        port,
        latency_seconds=DEMO_SETTINGS.latency_seconds,
        pieces_per_second=DEMO_SETTINGS.pieces_per_second,
    )
    try:
        ready(simulator.url)
        await told_to_stop.wait()
    finally:
        await simulator.close()


async def run_demo(
    ready: Callable[[Demo], None], seconds: float | None, *, port: int, admin_port: int, simulator_port: int
) -> None:
    """Run the demo until told to stop, or for so many seconds. ``ready`` is called once it can be used."""
    told_to_stop = stop_signal()
    async with AsyncExitStack() as resources:
        demo = await start_demo(resources, port=port, admin_port=admin_port, simulator_port=simulator_port)
        ready(demo)
        try:
            await asyncio.wait_for(told_to_stop.wait(), seconds)
        except TimeoutError:
            pass  # The time that was asked for is over, which is a good end.


def stop_signal(again: asyncio.Event | None = None) -> asyncio.Event:
    """An event that is set by the first SIGTERM or SIGINT; the next one sets ``again``, if there is such, and the one after
    that has its usual effect."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()

    def tell() -> None:
        (again if again is not None and told.is_set() else told).set()
        if again is not None and not again.is_set():
            return
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, tell)
    return told
