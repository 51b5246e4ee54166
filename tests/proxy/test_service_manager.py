"""systemd is told when a gateway is ready and when it stops, on a real socket, and is not missed where there is none."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.service_manager import READY, notify
from tests.faults.processes import COMMAND, ENVIRONMENT

CONFIGURATION = '[server]\nlisten = "127.0.0.1:0"\nadmin_listen = "127.0.0.1:0"\n'


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd has: a datagram socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(60)
        yield listener


def test_a_state_is_one_datagram(manager: socket.socket) -> None:
    """Nothing before it and nothing after it."""
    notify(manager.getsockname(), READY)

    assert b"READY=1" == manager.recv(100)


def test_an_abstract_socket_is_named_with_an_at(tmp_path: Path) -> None:
    """As systemd names its own in containers."""
    name = f"find-token-{os.getpid()}-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        listener.settimeout(10)
        notify("@" + name, READY)

        assert b"READY=1" == listener.recv(100)


def test_nobody_who_listens_is_no_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without an address nothing is sent; a socket that is gone is logged."""
    notify("", READY)
    assert [] == caplog.records
    notify(str(tmp_path / "gone"), READY)
    assert ["the service manager could not be told"] == [record.getMessage()[:37] for record in caplog.records]


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_gateway_says_once_that_it_is_ready_and_that_it_stops(
    workers: int, tmp_path: Path, manager: socket.socket
) -> None:
    """Not before it listens, and by the process that was started, whoever works for it."""
    (tmp_path / "find-token.toml").write_text(CONFIGURATION)
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "serve", "--workers", str(workers), "--json"),
        cwd=tmp_path,
        env={**ENVIRONMENT, "NOTIFY_SOCKET": manager.getsockname()},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert b"READY=1" == await asyncio.to_thread(manager.recv, 100)
        process.send_signal(signal.SIGTERM)
        assert b"STOPPING=1" == await asyncio.to_thread(manager.recv, 100)
        async with asyncio.timeout(60):
            assert 0 == await process.wait()
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(100)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
