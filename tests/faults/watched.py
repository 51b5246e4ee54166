"""`find-token` as it is, in a process that watches its own event loop.

    python -m tests.faults.watched FILE serve --config …

A tick every few milliseconds measures how late it comes and how much CPU time the loop's thread took since the last one: the
first is what a caller may notice, the second cannot be the fault of other processes. SIGUSR1 writes the worst of both into
FILE, as JSON, and begins anew.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from proxy.app import Gateway

TICK_SECONDS = 0.005


class Watch:
    """The worst that happened to the loop of this process since it was last asked."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._late_seconds = self._busy_seconds = 0.0
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGUSR1, self._tell)
        self._mark()
        self._loop.call_later(TICK_SECONDS, self._tick)

    def _mark(self) -> None:
        self._at, self._cpu = self._loop.time(), time.thread_time()

    def _tick(self) -> None:
        self._late_seconds = max(self._late_seconds, self._loop.time() - self._at - TICK_SECONDS)
        self._busy_seconds = max(self._busy_seconds, time.thread_time() - self._cpu)
        self._mark()
        self._loop.call_later(TICK_SECONDS, self._tick)

    def _tell(self) -> None:
        found = {"late_seconds": self._late_seconds, "busy_seconds": self._busy_seconds}
        written = self._file.with_suffix(".new")
        written.write_text(json.dumps(found))
        written.rename(self._file)
        self._late_seconds = self._busy_seconds = 0.0
        self._mark()


def main(words: list[str]) -> None:
    """Hang the watch into the start of the gateway, and become `find-token`."""
    start = Gateway.start

    async def start_watched(gateway: Gateway) -> None:
        await start(gateway)
        Watch(Path(words[0]))

    changed: Any = Gateway
    changed.start = start_watched
    sys.argv = ["find-token", *words[1:]]
    from proxy.cli import main as find_token

    find_token()


if __name__ == "__main__":
    main(sys.argv[1:])
