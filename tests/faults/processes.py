"""Gateways as processes, several at once: the installed command, and the one that dies at a point.

What an operator has is written into a folder: the shipped catalogue at the simulator's addresses, and settings. The
providers' keys are in the environment.
"""

from __future__ import annotations

import asyncio
import importlib.resources
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from providers.catalogue import load_shipped
from simulator.facts import KEYS, base_url
from tests.journeys.mix import SECTIONS, settings_text

ROOT = Path(__file__).parents[2]
COMMAND = (str(Path(sys.executable).with_name("find-token")),)
DYING = (sys.executable, "-m", "tests.faults.dying")
READY_SECONDS = 90
STOP_SECONDS = 30
SERVER: Mapping[str, Any] = {
    "listen": "127.0.0.1:0",
    "admin_listen": "127.0.0.1:0",
    "shutdown_seconds": 5,
    # A machine that is busy with other tests is no overload of ours.
    "overload_lag_seconds": 10,
}
PATIENT: Mapping[str, Any] = {
    "backoff_seconds": [0.02, 0.04, 0.08],
    "timeout_seconds": 60,
    "first_content_timeout_seconds": 60,
    "silence_timeout_seconds": 60,
    "candidate_first_content_seconds": 60,
    "candidate_plain_seconds": 60,
    "wallet_seconds": 0,
}
"""Times of routing under which nothing fails for being slow on a busy machine."""
ENVIRONMENT: Mapping[str, str] = {
    **os.environ,
    **{f"{name.upper()}_API_KEY": key for name, key in KEYS.items()},
    "PYTHONPATH": str(ROOT),
}


@dataclass(frozen=True, slots=True)
class Running:
    """A command that runs until it is told to stop, or dies."""

    process: asyncio.subprocess.Process
    told: Mapping[str, str]
    """The JSON it printed when it was ready."""
    log: Path
    """What it writes to standard error."""

    @property
    def url(self) -> str:
        """The address of the API."""
        return self.told["url"]

    async def died(self) -> int:
        """Wait until it has ended by itself; the exit code, negative for a signal. AssertionError where it lives on."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                return await self.process.wait()
        except TimeoutError:
            raise AssertionError(f"lives on after {STOP_SECONDS} s; it said: {self.log.read_text()[-2000:]}") from None

    async def stop(self) -> int:
        """Tell it to stop and wait; the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await self.died()


@asynccontextmanager
async def started(
    folder: Path,
    *arguments: str,
    program: tuple[str, ...] = COMMAND,
    errors_to: int | None = None,
) -> AsyncIterator[Running]:
    """`find-token` with ``arguments``, ready; killed at the end if it is still there. ``errors_to`` is a file descriptor for
    its standard error, which goes into a file otherwise."""
    log = folder / f"stderr-{len(list(folder.glob('stderr-*')))}.txt"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *program,
            *arguments,
            "--json",
            stdout=asyncio.subprocess.PIPE,
            stderr=errors if errors_to is None else errors_to,
            cwd=folder,
            env=ENVIRONMENT,
        )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(READY_SECONDS):
            line = await process.stdout.readline()
        assert line, f"ended before it was ready: {log.read_text()}"
        yield Running(process, json.loads(line), log)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def run(folder: Path, *arguments: str, program: tuple[str, ...] = COMMAND) -> tuple[int, bytes, bytes]:
    """A command to its end: exit code, what it printed, and what it complained of."""
    process = await asyncio.create_subprocess_exec(
        *program,
        *arguments,
        "--json",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env=ENVIRONMENT,
    )
    async with asyncio.timeout(READY_SECONDS):
        printed, complained = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed, complained


async def answer(folder: Path, *arguments: str) -> Any:
    """What a command that must end well says."""
    code, printed, complained = await run(folder, *arguments)
    assert 0 == code, complained.decode() + printed.decode()
    return json.loads(printed)


def write_files(folder: Path, database_url: str, simulator_url: str, **sections: Mapping[str, Any]) -> Path:
    """Catalogue and settings in ``folder``; ``sections`` are laid over those of the mix. The path of the settings."""
    catalogue = importlib.resources.files("providers").joinpath("catalogue.toml").read_text(encoding="utf-8")
    for name, provider in load_shipped()["providers"].items():
        assert 1 == catalogue.count(f'"{provider["base_url"]}"')
        catalogue = catalogue.replace(f'"{provider["base_url"]}"', f'"{base_url(simulator_url, name)}"')
    (folder / "catalogue.toml").write_text(catalogue, encoding="utf-8")
    settings = folder / "find-token.toml"
    merged = {"server": SERVER, **SECTIONS, **sections}
    settings.write_text('catalogue = "catalogue.toml"\n\n' + settings_text(database_url, **merged), encoding="utf-8")
    return settings
