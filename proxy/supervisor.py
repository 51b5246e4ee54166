"""Several gateways on one port: one process that starts them, watches over them, and speaks for them to the operator.

Each worker is a whole gateway with its own listening socket on the same port (SO_REUSEPORT: the system spreads
connections over them) and its own thread that writes to the books. A worker that dies is started again, later and later
if it dies at once; what it held is given back by the others. The admin address belongs to the supervisor: metrics are
those of all workers together, and it is ready while one of them is.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from metrics.merging import merge

logger = logging.getLogger("find-token.supervisor")

READY_SECONDS: Final = 60.0
"""How long a worker may take to listen."""
ASK_SECONDS: Final = 5.0
RELOAD_SECONDS: Final = 30.0
FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 10.0
STEADY_SECONDS: Final = 30.0
"""A worker that has lived for so long is started again at once when it dies."""
GRACE_SECONDS: Final = 30.0
"""Beyond the time that calls have to finish: settling, closing. Who is still there then is killed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the supervisor is told."""

    workers: int
    host: str
    port: int
    shutdown_seconds: float
    command: Callable[[int, str, Path], Sequence[str]]
    """The command line of a worker: its number, the public address, and the socket of its admin listener."""


class WorkersFailed(Exception):
    """The workers could not be started."""


class Supervisor:
    """The workers of one gateway, and their admin listener as one."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        """``folder`` is for the workers' admin sockets: short, and nobody else's."""
        self._plan = plan
        self._folder = folder
        self._workers = [_Worker(number, folder / f"worker-{number}.sock") for number in range(plan.workers)]
        self._keepers: list[asyncio.Task[None]] = []
        self._reloads: set[asyncio.Task[list[tuple[int, Any]]]] = set()
        self._stopping = False
        self.url = ""
        """The public address, once all workers listen."""

    async def start(self) -> None:
        """Start the workers and wait until all listen. Raises WorkersFailed, and OSError for a port that is taken."""
        with _reserved(self._plan.host, self._plan.port) as port:
            host = f"[{self._plan.host}]" if ":" in self._plan.host else self._plan.host
            address = f"{host}:{port}"
            self._keepers = [asyncio.create_task(self._keep(worker, address)) for worker in self._workers]
            all_listen = asyncio.create_task(self._all_listen())
            done, _ = await asyncio.wait(
                {all_listen, *self._keepers}, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if all_listen not in done:
                all_listen.cancel()
                await self.stop()
                raise WorkersFailed("a worker ended before it listened; what it said is above")
        self.url = f"http://{address}"

    async def _all_listen(self) -> None:
        for worker in self._workers:
            await worker.listening.wait()

    async def stop(self) -> None:
        """Tell the workers to stop, and wait until they have finished their calls; kill whoever stays."""
        self._stopping = True
        await asyncio.gather(*[worker.stop(self._plan.shutdown_seconds + GRACE_SECONDS) for worker in self._workers])
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    def application(self) -> web.Application:
        """The operating plane of all workers."""
        application = web.Application()
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_post("/-/reload", self._reload)
        application.router.add_get("/-/settings", self._settings)
        return application

    async def reload(self) -> list[tuple[int, Any]]:
        """Tell every worker to take the files anew: each one's status and answer."""
        return await self._ask_all("POST", "/-/reload", RELOAD_SECONDS)

    def reload_in_background(self) -> None:
        """For a signal, which has nobody to tell: each worker logs what it found."""
        self._reloads.add(task := asyncio.get_running_loop().create_task(self.reload()))
        task.add_done_callback(self._reloads.discard)

    async def _keep(self, worker: _Worker, address: str) -> None:
        """Start a worker again whenever it has ended. Ends when we stop, or when it never came to listen."""
        pause = FIRST_PAUSE_SECONDS
        while not self._stopping:
            began = time.monotonic()
            code = await worker.live(self._plan.command(worker.number, address, worker.socket))
            if self._stopping or not worker.listening.is_set():
                return
            logger.error("worker %d ended with code %s and is started again", worker.number, code)
            lived = time.monotonic() - began
            pause = FIRST_PAUSE_SECONDS if lived > STEADY_SECONDS else min(2 * pause, LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause)

    async def _ask_all(self, method: str, path: str, seconds: float = ASK_SECONDS) -> list[tuple[int, Any]]:
        answers = await asyncio.gather(*[worker.ask(method, path, seconds) for worker in self._workers])
        return [answer for answer in answers if answer is not None]

    async def _healthz(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response({"status": "ok", "workers": sum(worker.alive for worker in self._workers)})

    async def _readyz(self, _request: web.Request) -> web.StreamResponse:
        answers = await self._ask_all("GET", "/readyz")
        ready = sum(status == 200 for status, _ in answers)
        missing = sorted({name for _, text in answers for name in json.loads(text).get("missing", ())})
        if self._stopping or not ready:
            missing = missing or ["stopping" if self._stopping else "workers"]
            return web.json_response({"status": "not ready", "missing": missing}, status=503)
        return web.json_response({"status": "ready", "workers": ready})

    async def _metrics(self, _request: web.Request) -> web.StreamResponse:
        pages = [text for status, text in await self._ask_all("GET", "/metrics") if status == 200]
        merged = await asyncio.to_thread(merge, pages)
        return web.Response(body=merged, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def _reload(self, _request: web.Request) -> web.StreamResponse:
        answers = await self.reload()
        refused = [(status, text) for status, text in answers if status != 200]
        status, text = (refused or answers or [(503, '{"ok": false, "error": "no worker answers"}')])[0]
        return web.Response(status=status, text=text, content_type="application/json")

    async def _settings(self, _request: web.Request) -> web.StreamResponse:
        answers = await self._ask_all("GET", "/-/settings")
        status, text = (answers or [(503, '{"ok": false, "error": "no worker answers"}')])[0]
        return web.Response(status=status, text=text, content_type="application/json")


class _Worker:
    """One worker process after another, under one number."""

    def __init__(self, number: int, admin_socket: Path) -> None:
        self.number = number
        self.socket = admin_socket
        self.listening = asyncio.Event()
        """Set once a process of this number has listened for the first time."""
        self._process: asyncio.subprocess.Process | None = None

    @property
    def alive(self) -> bool:
        """Whether a process runs."""
        return self._process is not None and self._process.returncode is None

    async def live(self, command: Sequence[str]) -> int:
        """Start a process and wait for its end; its exit code.

        It holds our end of its standard input: should we be killed, it sees the end of it and stops by itself.
        """
        self.socket.unlink(missing_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        if await self._process.stdout.readline():
            self.listening.set()
        return await self._process.wait()

    async def stop(self, seconds: float) -> None:
        """SIGTERM, and SIGKILL to a process that is still there after so long."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            logger.error("worker %d did not end in %g seconds and is killed", self.number, seconds)
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def ask(self, method: str, path: str, seconds: float) -> tuple[int, str] | None:
        """What its admin listener answers; None if it does not."""
        if not self.alive:
            return None
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(path=str(self.socket)),
                    timeout=aiohttp.ClientTimeout(total=seconds),
                ) as session,
                session.request(method, f"http://worker{path}") as reply,
            ):
                return reply.status, await reply.text()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None


class _reserved:  # noqa: N801 - reads as a word in `with`
    """A port that is ours while the workers begin to listen: bound and never listening, so it takes no connection."""

    def __init__(self, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._address = (host, port)

    def __enter__(self) -> int:
        self._socket.bind(self._address)
        return int(self._socket.getsockname()[1])

    def __exit__(self, *_error: object) -> None:
        self._socket.close()


def worker_command(arguments: Sequence[str]) -> Callable[[int, str, Path], Sequence[str]]:
    """Command lines that run this program as a worker, with these global options."""

    def command(_number: int, address: str, admin_socket: Path) -> Sequence[str]:
        return [
            # -P: a folder called proxy where the operator happens to stand must not take our place.
            *(sys.executable, "-P", "-c", "from proxy.cli import main; main()", *arguments, "serve"),
            *("--worker-listen", address, "--worker-admin", str(admin_socket), "--json"),
        ]

    return command
